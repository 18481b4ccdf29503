// When an epoch is the best, and when improvement has stopped.
import { describe, expect, it } from 'vitest';
import {
  NO_IMPROVEMENT,
  afterEpoch,
  monitoredValue,
} from '../../../../coordinator/training/early-stopping.ts';
import { LockstepError } from '../../../../src/errors.ts';

/** Of each epoch with these values: whether it is the best so far, and the epochs since the last improvement. */
function judge(values: readonly number[], watch?: Parameters<typeof afterEpoch>[2]): [boolean, number][] {
  let state = NO_IMPROVEMENT;
  return values.map((value) => {
    const judged = afterEpoch(state, value, watch);
    state = judged.state;
    return [judged.isBest, state.numWithout];
  });
}

describe('an epoch', () => {
  it('is the best if its loss is less than all before, the first of equal ones', () => {
    expect(judge([3, 2, 2, 2.5, 1])).toEqual([
      [true, 0],
      [true, 0],
      [false, 1],
      [false, 2],
      [true, 0],
    ]);
  });

  it('may be the best without being an improvement, and small ones add up', () => {
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
  ] as const)('with more %s, mode %s, is better: %s', (monitor, mode, isBest) => {
    expect(judge([0.5, 0.6], { monitor, mode, minDelta: 0 })[1]).toEqual([isBest, isBest ? 0 : 1]);
  });
});

describe('a value that is not finite', () => {
  it.each([NaN, Infinity, -Infinity])('is never better than a finite one: %d', (value) => {
    for (const mode of ['min', 'max'] as const) {
      expect(judge([1, value, 1], { monitor: 'r2', mode, minDelta: 0 })).toEqual([
        [true, 0],
        [false, 1],
        [false, 2],
      ]);
    }
  });

  it.each([NaN, Infinity, -Infinity])(
    'gives way to the first that is, and to later ones before: %d',
    (value) => {
      for (const mode of ['min', 'max'] as const) {
        expect(judge([value, value, 1, value], { monitor: 'r2', mode, minDelta: 0 })).toEqual([
          [true, 1],
          [true, 2],
          [true, 0],
          [false, 1],
        ]);
      }
    },
  );

  it('does not stay the best in a run that goes on from a checkpoint that has it so', () => {
    const watch = { monitor: 'r2', minDelta: 0 };
    const { isBest, state } = afterEpoch({ best: NaN, reference: Infinity, numWithout: 3 }, 0.5, watch);
    expect({ isBest, state }).toEqual({ isBest: true, state: { best: 0.5, reference: 0.5, numWithout: 0 } });
  });
});

describe('the monitored value', () => {
  const metrics = { loss: 0.5, rmse: 3, mae: 2, r2: 0.9, transformed: { rmse: 0.3, mae: 0.2, r2: 0.8 } };

  it('is the loss unless another metric is named', () => {
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
  ])('is not that of %s', (monitor, message, help) => {
    const attempt = (): number => monitoredValue({ ...metrics, mapeZeros: 2 }, { monitor, minDelta: 0 });
    expect(attempt).toThrow(
      new LockstepError({
        category: 'usage',
        code: 'E_MONITOR',
        message: `earlyStopping.monitor: ${message}`,
        help,
      }),
    );
  });
});
