// When an epoch is the best, and when improvement has stopped.
import { describe, expect, it } from 'vitest';
import { NO_IMPROVEMENT, afterEpoch, monitoredValue } from '../../coordinator/early-stopping.ts';
import { LockstepError } from '../../src/errors.ts';

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
    ['loss', 'max', true],
    ['accuracy', 'min', false],
  ] as const)('with more %s, mode %s, is better: %s', (monitor, mode, isBest) => {
    expect(judge([0.5, 0.6], { monitor, mode, minDelta: 0 })[1]).toEqual([isBest, isBest ? 0 : 1]);
  });
});

describe('the monitored value', () => {
  const metrics = { loss: 0.5, rmse: 3, mae: 2, r2: 0.9, transformed: { rmse: 0.3, mae: 0.2, r2: 0.8 } };

  it('is the loss unless another metric is named', () => {
    expect(monitoredValue(metrics)).toBe(0.5);
    expect(monitoredValue(metrics, { monitor: 'transformed/r2', minDelta: 0 })).toBe(0.8);
  });

  it('is refused where the split has no such metric', () => {
    const measure = (): number => monitoredValue(metrics, { monitor: 'accuracy', minDelta: 0 });
    expect(measure).toThrow(LockstepError);
    expect(measure).toThrow('earlyStopping.monitor: validation measures no "accuracy"');
  });
});
