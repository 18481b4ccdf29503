import { describe, expect, test } from 'vitest';
import { calibrate } from '../../../../src/metrics/calibration.ts';
import { precisionRecall } from '../../../../src/metrics/precision-recall.ts';

describe('the precision-recall curve', () => {
  test('average precision is that of scikit-learn', () => {
    // average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    const labels = [0, 0, 1, 1];
    const curve = precisionRecall(Float64Array.of(0.1, 0.4, 0.35, 0.8), (row) => labels[row] === 1);
    expect(curve?.recalls).toEqual([0.5, 0.5, 1, 1]);
    expect(curve?.precisions).toEqual([1, 1 / 2, 2 / 3, 1 / 2]);
    expect(curve?.averagePrecision).toBe(0.8333333333333333);
  });

  test('rows of equal score share one point of the precision-recall curve', () => {
    const curve = precisionRecall(Float64Array.of(1, 1, 0), (row) => row > 0);
    expect(curve).toEqual({
      recalls: [0.5, 1],
      precisions: [1 / 2, 2 / 3],
      averagePrecision: 0.5833333333333333,
    });
  });

  test('a row of weight 2 counts twice in precision and recall, and one of weight 0 not at all', () => {
    const weighted = precisionRecall(
      Float64Array.of(3, NaN, 2, 1),
      (row) => row !== 2,
      Float32Array.of(2, 0, 1, 1),
    );
    const repeated = precisionRecall(Float64Array.of(3, 3, 2, 1), (row) => row !== 2);
    expect(weighted).toEqual(repeated);
  });

  test('a class without rows has no precision-recall curve', () => {
    expect(precisionRecall(Float64Array.of(1, 2), () => false)).toBeUndefined();
  });
});

describe('calibration', () => {
  test('probabilities are compared with what came true, tenth by tenth', () => {
    const { bins, error } = calibrate(Float64Array.of(0.05, 0.25, 0.75, 0.75, 1), (row) => row >= 2);
    expect(bins).toEqual([
      { from: 0, to: 0.1, share: 0.2, expected: 0.05, observed: 0 },
      { from: 0.2, to: 0.3, share: 0.2, expected: 0.25, observed: 0 },
      { from: 0.7, to: 0.8, share: 0.4, expected: 0.75, observed: 1 },
      { from: 0.9, to: 1, share: 0.2, expected: 1, observed: 1 },
    ]);
    expect(error).toBeCloseTo(0.2 * 0.05 + 0.2 * 0.25 + 0.4 * 0.25, 15);
  });

  test('rows of weight 0 and probabilities that are not numbers do not count in calibration', () => {
    const { bins } = calibrate(Float64Array.of(0.5, 0.5, NaN), () => true, Float32Array.of(1, 0, 1));
    expect(bins).toEqual([{ from: 0.5, to: 0.6, share: 1, expected: 0.5, observed: 1 }]);
  });
});
