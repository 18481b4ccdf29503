// Expected values: the worked example of classification_report in scikit-learn's own documentation,
// extended to full precision by hand; the fractions stand beside them.
import { describe, expect, test } from 'vitest';
import {
  binaryMetrics,
  classificationMetrics,
  MAX_CONFUSION_CLASSES,
} from '../../../../src/metrics/classification.ts';
import { rocCurve } from '../../../../src/metrics/roc.ts';

describe('classificationMetrics', () => {
  /** One-hot outputs of the given predictions. */
  function outputsOf(predicted: readonly number[], numClasses: number): Float32Array {
    const outputs = new Float32Array(predicted.length * numClasses);
    predicted.forEach((label, row) => (outputs[row * numClasses + label] = 1));
    return outputs;
  }

  test('classificationMetrics agrees with scikit-learn, 0 / 0 counting as 0', () => {
    const metrics = classificationMetrics({
      outputs: outputsOf([0, 0, 2, 2, 1], 4),
      labels: Uint32Array.of(0, 1, 2, 2, 2),
      loss: 0.5,
    });
    expect(metrics).toEqual({
      loss: 0.5,
      accuracy: 0.6,
      perClass: [
        { precision: 0.5, recall: 1, f1: 2 / 3, support: 1 },
        { precision: 0, recall: 0, f1: 0, support: 1 },
        { precision: 1, recall: 2 / 3, f1: 0.8, support: 3 },
        { precision: 0, recall: 0, f1: 0, support: 0 },
      ],
      // Class 3 occurs nowhere, so scikit-learn does not know of it.
      macro: { precision: 1.5 / 3, recall: (1 + 2 / 3) / 3, f1: (2 / 3 + 0.8) / 3 },
      confusion: [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 2, 0],
        [0, 0, 0, 0],
      ],
    });
  });

  test('classificationMetrics lets the lowest class win a tie', () => {
    const metrics = classificationMetrics({
      outputs: Float32Array.of(0, 3, 3, -1, -1, -1),
      labels: Uint32Array.of(1, 0),
      loss: 0,
    });
    expect(metrics.accuracy).toBe(1);
  });

  test('classificationMetrics leaves out a confusion matrix that is too large to read', () => {
    const numClasses = MAX_CONFUSION_CLASSES + 1;
    const metrics = classificationMetrics({
      outputs: outputsOf([numClasses - 1], numClasses),
      labels: Uint32Array.of(numClasses - 1),
      loss: 0,
    });
    expect(metrics.confusion).toBeUndefined();
    expect(metrics.perClass.at(-1)).toEqual({ precision: 1, recall: 1, f1: 1, support: 1 });
  });
});

describe('rows with weights', () => {
  const sampleWeights = Float32Array.of(1, 0, 2);

  test('a row counts as often as it weighs in a classification, but once in counts of rows', () => {
    const outputs = Float32Array.of(1, 0, 0, 1, 1, 0);
    const labels = Uint32Array.of(0, 0, 1);
    const { support, confusion, ...rest } = counted({ outputs, labels, sampleWeights, loss: 1 });
    const repeated = counted({
      outputs: Float32Array.of(1, 0, 1, 0, 1, 0),
      labels: Uint32Array.of(0, 1, 1),
      loss: 1,
    });
    expect(rest).toEqual({ ...repeated, support: undefined, confusion: undefined });
    expect(support).toEqual([1, 1]);
    expect(confusion).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });

  /** Splits metrics into ratios and counts of rows. */
  function counted(outcome: Parameters<typeof classificationMetrics>[0]) {
    const { perClass, confusion, ...rest } = classificationMetrics(outcome);
    const ratios = perClass.map(({ precision, recall, f1 }) => ({ precision, recall, f1 }));
    return { ...rest, ratios, support: perClass.map(({ support }) => support), confusion };
  }
});

describe('rocCurve', () => {
  test('a ROC curve has an area of 1 for a perfect order, 0 for its reverse and a half for equal scores', () => {
    const area = (scores: number[]) => rocCurve(Float64Array.from(scores), [0, 0, 1, 1])?.area;
    expect([area([1, 2, 3, 4]), area([4, 3, 2, 1]), area([7, 7, 7, 7])]).toEqual([1, 0, 0.5]);
  });

  test('a ROC curve gives rows of equal score one point', () => {
    const curve = rocCurve(Float64Array.of(3, 2, 2, 1), [1, 0, 1, 0]);
    expect(curve).toEqual({
      falsePositiveRates: [0, 0, 0.5, 1],
      truePositiveRates: [0, 0.5, 1, 1],
      area: 0.875,
    });
  });

  test('a ROC curve does not exist if only one class has weight', () => {
    expect(rocCurve(Float64Array.of(1, 2), [1, 1])).toBeUndefined();
    expect(rocCurve(Float64Array.of(1, 2), [0, 1], Float32Array.of(0, 1))).toBeUndefined();
  });
});

describe('binaryMetrics', () => {
  test('binaryMetrics treats one column as a classification into two classes', () => {
    const scores = [-1, 2, 0.5, -3];
    const [targets, labels] = [Float32Array.of(0, 1, 0, 1), Uint32Array.of(0, 1, 0, 1)];
    const binary = binaryMetrics({ outputs: Float32Array.from(scores), targets, numColumns: 1, loss: 0.7 });
    const outputs = Float32Array.from(scores.flatMap((score) => [0, score]));
    expect(binary).toEqual(classificationMetrics({ outputs, labels, loss: 0.7 }));
  });

  test('binaryMetrics reports the log loss of two classes beside another loss', () => {
    const scores = [-1, 2, 0.5, -3, 40];
    const sampleWeights = Float32Array.of(1, 2, 0, 0.5, 1);
    const [targets, labels] = [Float32Array.of(0, 1, 0, 1, 1), Uint32Array.of(0, 1, 0, 1, 1)];
    const rest = { sampleWeights, loss: 0.7, math: Math };
    const binary = binaryMetrics({ outputs: Float32Array.from(scores), targets, numColumns: 1, ...rest });
    const outputs = Float32Array.from(scores.flatMap((score) => [0, score]));
    expect(binary.logLoss).toBeCloseTo(
      classificationMetrics({ outputs, labels, ...rest }).logLoss as number,
      14,
    );
  });

  test('binaryMetrics treats each of several columns as a label of its own', () => {
    const metrics = binaryMetrics({
      outputs: Float32Array.of(1, -1, 1, 1, -1, 1),
      targets: Float32Array.of(1, 0, 1, 1, 0, 0),
      numColumns: 2,
      loss: 0.4,
    });
    const perfect = { precision: 1, recall: 1, f1: 1, support: 2 };
    expect(metrics).toEqual({
      loss: 0.4,
      accuracy: (1 + 2 / 3) / 2,
      perClass: [perfect, { precision: 0.5, recall: 1, f1: 2 / 3, support: 1 }],
      macro: { precision: 0.75, recall: 1, f1: (1 + 2 / 3) / 2 },
      rocAuc: (1 + 0.75) / 2,
    });
  });
});
