// The choice of the best epoch, and the point at which improvement has stopped.
import { describe, expect, it } from 'vitest';
import {
  NO_IMPROVEMENT,
  afterEpoch,
  monitoredValue,
} from '../../../../coordinator/training/early-stopping.ts';
import { LockstepError } from '../../../../src/errors.ts';

/**
 * The verdict on each epoch with these values: best so far or not, and the epochs
 * since the last improvement.
 */
function judge(values: readonly number[], watch?: Parameters<typeof afterEpoch>[2]): [boolean, number][] {
  let state = NO_IMPROVEMENT;
  return values.map((value) => {
    const judged = afterEpoch(state, value, watch);
    state = judged.state;
    return [judged.isBest, state.numWithout];
  });
}

describe('an epoch', () => {
  it('an epoch is the best if its loss is less than all before it, and the first of equals stays the best', () => {
    expect(judge([3, 2, 2, 2.5, 1])).toEqual([
      [true, 0],
      [true, 0],
      [false, 1],
      [false, 2],
      [true, 0],
    ]);
  });

  it('an epoch may be the best without being an improvement, and small improvements add up', () => {
    expect(judge([1, 0.95, 0.91, 0.89, 0.85], { monitor: 'loss', minDelta: 0.1 })).toEqual([
      [true, 0],
      [true, 1],
      [true, 2],
      [true, 0],
      [true, 1],
    ]);
  });

  it.each([
    ['accuracy', undefined, true],
    ['r2', undefined, true],
    ['transformed/r2', undefined, true],
    ['loss', undefined, false],
    ['mae', undefined, false],
    ['transformed/rmse', undefined, false],
    ['mape', undefined, false],
    ['perplexity', undefined, false],
    ['logLoss', undefined, false],
    ['top5', undefined, true],
    ['loss', 'max', true],
    ['accuracy', 'min', false],
  ] as const)('an epoch with a higher %s, in mode %s, is the best: %s', (monitor, mode, isBest) => {
    expect(judge([0.5, 0.6], { monitor, mode, minDelta: 0 })[1]).toEqual([isBest, isBest ? 0 : 1]);
  });
});

describe('a monitored value that is not finite', () => {
  it.each([NaN, Infinity, -Infinity])('the value %d never beats a finite one', (value) => {
    for (const mode of ['min', 'max'] as const) {
      expect(judge([1, value, 1], { monitor: 'r2', mode, minDelta: 0 })).toEqual([
        [true, 0],
        [false, 1],
        [false, 2],
      ]);
    }
  });

  it.each([NaN, Infinity, -Infinity])('the value %d is the best only until the next value', (value) => {
    for (const mode of ['min', 'max'] as const) {
      expect(judge([value, value, 1, value], { monitor: 'r2', mode, minDelta: 0 })).toEqual([
        [true, 1],
        [true, 2],
        [true, 0],
        [false, 1],
      ]);
    }
  });

  it('a NaN that a checkpoint recorded as the best is beaten after the run is resumed', () => {
    const watch = { monitor: 'r2', minDelta: 0 };
    const { isBest, state } = afterEpoch({ best: NaN, reference: Infinity, numWithout: 3 }, 0.5, watch);
    expect({ isBest, state }).toEqual({ isBest: true, state: { best: 0.5, reference: 0.5, numWithout: 0 } });
  });
});

describe('the monitored value', () => {
  const metrics = { loss: 0.5, rmse: 3, mae: 2, r2: 0.9, transformed: { rmse: 0.3, mae: 0.2, r2: 0.8 } };

  it('the monitored value is the loss unless another metric is named', () => {
    expect(monitoredValue(metrics)).toBe(0.5);
    expect(monitoredValue(metrics, { monitor: 'transformed/r2', minDelta: 0 })).toBe(0.8);
  });

  it.each([
    [
      'accuracy',
      'validation measures no "accuracy", which needs classes',
      'it measures loss, rmse, mae, r2, transformed/rmse, transformed/mae, transformed/r2',
    ],
    [
      'accurcy',
      'validation measures no "accurcy"',
      'it measures loss, rmse, mae, r2, transformed/rmse, transformed/mae, transformed/r2',
    ],
    [
      'mapeZeros',
      'more of "mapeZeros" is neither better nor worse',
      'watch one of loss, rmse, mae, r2, transformed/rmse, transformed/mae, transformed/r2',
    ],
  ])(
    'the metric %s cannot be monitored, because it was not measured or has no better direction',
    (monitor, message, help) => {
      const attempt = (): number => monitoredValue({ ...metrics, mapeZeros: 2 }, { monitor, minDelta: 0 });
      expect(attempt).toThrow(
        new LockstepError({
          category: 'usage',
          code: 'E_MONITOR',
          message: `earlyStopping.monitor: ${message}`,
          help,
        }),
      );
    },
  );
});
