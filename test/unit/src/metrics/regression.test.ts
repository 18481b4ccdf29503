// Expected values: the worked examples in scikit-learn's own documentation (r2_score,
// root_mean_squared_error, mean_absolute_error), extended to full precision by hand; the
// fractions stand beside them.
import { describe, expect, test } from 'vitest';
import { regressionMetrics, type TargetColumn } from '../../../../src/metrics/regression.ts';

/** Columns of numbers as `regressionMetrics` takes them. */
function columnOf(predicted: readonly number[], actual: readonly number[]): TargetColumn {
  return { predicted: Float64Array.from(predicted), actual: Float64Array.from(actual) };
}

describe('regressionMetrics', () => {
  test('regressionMetrics agrees with scikit-learn for one target', () => {
    const metrics = regressionMetrics({
      columns: [columnOf([2.5, 0, 2, 8], [3, -0.5, 2, 7])],
      loss: 0.375,
    });
    expect(metrics).toEqual({
      loss: 0.375,
      rmse: Math.sqrt(0.375),
      mae: 0.5,
      r2: 1 - 1.5 / 29.1875,
      mape: (0.5 / 3 + 0.5 / 0.5 + 0 / 2 + 1 / 7) / 4,
    });
  });

  test('regressionMetrics averages several targets uniformly, as scikit-learn does', () => {
    const metrics = regressionMetrics({
      columns: [columnOf([0, -1, 8], [0.5, -1, 7]), columnOf([2, 2, -5], [1, 1, -6])],
      loss: 0.7,
    });
    expect(metrics.loss).toBe(0.7);
    expect(metrics.mae).toBe(0.75);
    expect(metrics.rmse).toBeCloseTo((Math.sqrt(1.25 / 3) + 1) / 2, 15);
    expect(metrics.r2).toBeCloseTo((1 - 1.25 / (217 / 6) + (1 - 3 / (98 / 3))) / 2, 14);
  });

  test('regressionMetrics reports a transformed target in its own units and in the trained ones', () => {
    const metrics = regressionMetrics({
      columns: [columnOf([15, 25, 45], [15, 35, 45])],
      transformed: [columnOf([1, 2, 4], [1, 3, 4])],
      loss: 1 / 3,
    });
    expect(metrics.mae).toBeCloseTo(10 / 3, 14);
    expect(metrics.rmse).toBeCloseTo(10 / Math.sqrt(3), 14);
    expect(metrics.loss).toBe(1 / 3);
    expect(metrics.transformed?.mae).toBeCloseTo(1 / 3, 15);
    expect(metrics.transformed?.r2).toBeCloseTo(metrics.r2, 14);
  });

  test.each([
    { predicted: 0.1, r2: 1 },
    { predicted: 0.2, r2: 0 },
  ])(
    'a constant target of 0.1 scores the same as in scikit-learn when $predicted is predicted',
    ({ predicted, r2 }) => {
      const column = columnOf([predicted, predicted, predicted], [0.1, 0.1, 0.1]);
      expect(regressionMetrics({ columns: [column], loss: 0 }).r2).toBe(r2);
    },
  );

  test('targets whose squares about their mean underflow count as constant', () => {
    const column = columnOf([0, 0, 1e-200], [0, 1e-200, 0]);
    expect(regressionMetrics({ columns: [column], loss: 0 }).r2).toBe(1);
  });

  test('regressionMetrics refuses an empty split and unequal lengths', () => {
    expect(() => regressionMetrics({ columns: [columnOf([], [])], loss: 0 })).toThrow(
      new RangeError('metrics of 0 rows are undefined'),
    );
    expect(() => regressionMetrics({ columns: [columnOf([], [1])], loss: 0 })).toThrow(
      new RangeError('0 predictions for 1 targets'),
    );
  });
});

describe('rows with weights', () => {
  const sampleWeights = Float32Array.of(1, 0, 2);

  test.each([99, Infinity, NaN])(
    'a row counts as often as it weighs, and a row of weight 0 not at all: %d',
    (prediction) => {
      const weighted = regressionMetrics({
        columns: [columnOf([1, prediction, 3], [2, 0, 0.5])],
        sampleWeights,
        loss: 1,
      });
      const repeated = regressionMetrics({
        columns: [columnOf([1, 3, 3], [2, 0.5, 0.5])],
        loss: 1,
      });
      expect(weighted).toEqual(repeated);
    },
  );
});

describe('the mean absolute percentage error', () => {
  test('the mean absolute percentage error leaves targets of 0 out and counts them', () => {
    const { mape, mapeZeros } = regressionMetrics({
      columns: [columnOf([3, 1, 1], [2, 0, -0])],
      loss: 0,
    });
    expect({ mape, mapeZeros }).toEqual({ mape: 0.5, mapeZeros: 2 });
  });

  test('the mean absolute percentage error is absent if every target is 0', () => {
    const metrics = regressionMetrics({ columns: [columnOf([0, 0], [0, 0])], loss: 0 });
    expect(metrics).toEqual({ loss: 0, rmse: 0, mae: 0, r2: 1, mapeZeros: 2 });
  });
});
