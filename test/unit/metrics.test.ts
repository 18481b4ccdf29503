// Expected values: the worked examples in scikit-learn's own documentation (r2_score, root_mean_squared_error,
// mean_absolute_error, classification_report), extended to full precision by hand; the fractions stand beside them.
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  binaryMetrics,
  classificationMetrics,
  MAX_CONFUSION_CLASSES,
} from '../../src/metrics/classification.ts';
import { regressionMetrics } from '../../src/metrics/regression.ts';
import { rocCurve } from '../../src/metrics/roc.ts';
import { sequenceMetrics } from '../../src/metrics/sequence.ts';
import { scalarMetrics } from '../../src/metrics/split-metrics.ts';
import { treeSum } from '../../src/tree.ts';

describe('treeSum', () => {
  test('is 0 for nothing', () => {
    expect(treeSum([])).toBe(0);
  });

  test('adds neighbours level by level, an odd one left waiting', () => {
    // A lone 1 is lost beside 2^53, so each order of adding gives another sum.
    const [a, b, c, d, e] = [2 ** 53, 1, 1, 1, 2 ** 53] as const;
    expect(treeSum([a, b, c, d, e])).toBe(a + b + (c + d) + e);
    expect(treeSum([a, b, c])).toBe(2 ** 53);
    expect(treeSum([b, c, a])).toBe(2 ** 53 + 2);
  });

  test('sums of aligned halves combine to the sum of the whole', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 9, maxLength: 16 }),
        (values) => {
          expect(treeSum(values)).toBe(treeSum(values.slice(0, 8)) + treeSum(values.slice(8)));
        },
      ),
      { numRuns: 50 },
    );
  });

  test('leaves its argument alone', () => {
    const values = Float64Array.of(1, 2, 3);
    treeSum(values);
    expect([...values]).toEqual([1, 2, 3]);
  });
});

describe('regressionMetrics', () => {
  test('agrees with scikit-learn for one target', () => {
    const metrics = regressionMetrics({
      predictions: Float32Array.of(2.5, 0, 2, 8),
      targets: Float32Array.of(3, -0.5, 2, 7),
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

  test('averages several targets uniformly, as scikit-learn does', () => {
    const metrics = regressionMetrics({
      predictions: Float32Array.of(0, 2, -1, 2, 8, -5),
      targets: Float32Array.of(0.5, 1, -1, 1, 7, -6),
      numColumns: 2,
      loss: 0.7,
    });
    expect(metrics.loss).toBe(0.7);
    expect(metrics.mae).toBe(0.75);
    expect(metrics.rmse).toBeCloseTo((Math.sqrt(1.25 / 3) + 1) / 2, 15);
    expect(metrics.r2).toBeCloseTo((1 - 1.25 / (217 / 6) + (1 - 3 / (98 / 3))) / 2, 14);
  });

  test('reports a transformed target in its own units, and in the trained ones beside them', () => {
    const metrics = regressionMetrics({
      predictions: Float32Array.of(1, 2, 4),
      targets: Float32Array.of(1, 3, 4),
      loss: 1 / 3,
      inverse: (_column, value) => 10 * value + 5,
    });
    expect(metrics.mae).toBeCloseTo(10 / 3, 14);
    expect(metrics.rmse).toBeCloseTo(10 / Math.sqrt(3), 14);
    expect(metrics.loss).toBe(1 / 3);
    expect(metrics.transformed?.mae).toBeCloseTo(1 / 3, 15);
    expect(metrics.transformed?.r2).toBeCloseTo(metrics.r2, 14);
  });

  test('gives each column its own inverse', () => {
    const metrics = regressionMetrics({
      predictions: Float32Array.of(0, 0, 0, 0),
      targets: Float32Array.of(1, 1, 1, 1),
      numColumns: 2,
      loss: 1,
      inverse: (column, value) => value * (column + 1),
    });
    expect(metrics.mae).toBe(1.5);
  });

  test.each([
    { predicted: 0.1, r2: 1 },
    { predicted: 0.2, r2: 0 },
  ])(
    'a constant target of 0.1 scores as scikit-learn has it when $predicted is predicted',
    ({ predicted, r2 }) => {
      const targets = new Float32Array(3).fill(0.1);
      const predictions = new Float32Array(3).fill(predicted);
      expect(regressionMetrics({ predictions, targets, loss: 0 }).r2).toBe(r2);
    },
  );

  test('refuses an empty split and unequal lengths', () => {
    const none = new Float32Array(0);
    expect(() => regressionMetrics({ predictions: none, targets: none, loss: 0 })).toThrow(
      new RangeError('metrics of 0 rows are undefined'),
    );
    expect(() => regressionMetrics({ predictions: none, targets: Float32Array.of(1), loss: 0 })).toThrow(
      new RangeError('0 predictions for 1 targets'),
    );
  });
});

describe('classificationMetrics', () => {
  /** One-hot outputs of the given predictions. */
  function outputsOf(predicted: readonly number[], numClasses: number): Float32Array {
    const outputs = new Float32Array(predicted.length * numClasses);
    predicted.forEach((label, row) => (outputs[row * numClasses + label] = 1));
    return outputs;
  }

  test('agrees with scikit-learn, 0 / 0 counting as 0', () => {
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

  test('lets the lowest class win a tie', () => {
    const metrics = classificationMetrics({
      outputs: Float32Array.of(0, 3, 3, -1, -1, -1),
      labels: Uint32Array.of(1, 0),
      loss: 0,
    });
    expect(metrics.accuracy).toBe(1);
  });

  test('leaves out a confusion matrix too large to be read', () => {
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
  const weights = Float32Array.of(1, 0, 2);

  test('count as often as they weigh in a regression, and a row of weight 0 not at all', () => {
    const weighted = regressionMetrics({
      predictions: Float32Array.of(1, 99, 3),
      targets: Float32Array.of(2, 0, 0.5),
      weights,
      loss: 1,
    });
    const repeated = regressionMetrics({
      predictions: Float32Array.of(1, 3, 3),
      targets: Float32Array.of(2, 0.5, 0.5),
      loss: 1,
    });
    expect(weighted).toEqual(repeated);
  });

  test('count as often as they weigh in a classification, but once in counts of rows', () => {
    const outputs = Float32Array.of(1, 0, 0, 1, 1, 0);
    const labels = Uint32Array.of(0, 0, 1);
    const { support, confusion, ...rest } = counted({ outputs, labels, weights, loss: 1 });
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

  /** Ratios and counts of rows apart. */
  function counted(outcome: Parameters<typeof classificationMetrics>[0]) {
    const { perClass, confusion, ...rest } = classificationMetrics(outcome);
    const ratios = perClass.map(({ precision, recall, f1 }) => ({ precision, recall, f1 }));
    return { ...rest, ratios, support: perClass.map(({ support }) => support), confusion };
  }
});

describe('the mean absolute percentage error', () => {
  test('leaves targets of 0 out and counts them', () => {
    const { mape, mapeZeros } = regressionMetrics({
      predictions: Float32Array.of(3, 1, 1),
      targets: Float32Array.of(2, 0, -0),
      loss: 0,
    });
    expect({ mape, mapeZeros }).toEqual({ mape: 0.5, mapeZeros: 2 });
  });

  test('is absent where every target is 0', () => {
    const zeros = new Float32Array(2);
    const metrics = regressionMetrics({ predictions: zeros, targets: zeros, loss: 0 });
    expect(metrics).toEqual({ loss: 0, rmse: 0, mae: 0, r2: 1, mapeZeros: 2 });
  });
});

describe('rocCurve', () => {
  test('has an area of 1 for a perfect order, 0 for its reverse and a half where all scores are equal', () => {
    const area = (scores: number[]) => rocCurve(Float64Array.from(scores), [0, 0, 1, 1])?.area;
    expect([area([1, 2, 3, 4]), area([4, 3, 2, 1]), area([7, 7, 7, 7])]).toEqual([1, 0, 0.5]);
  });

  test('gives rows of one score one point', () => {
    const curve = rocCurve(Float64Array.of(3, 2, 2, 1), [1, 0, 1, 0]);
    expect(curve).toEqual({
      falsePositiveRates: [0, 0, 0.5, 1],
      truePositiveRates: [0, 0.5, 1, 1],
      area: 0.875,
    });
  });

  test('does not exist where only one class has weight', () => {
    expect(rocCurve(Float64Array.of(1, 2), [1, 1])).toBeUndefined();
    expect(rocCurve(Float64Array.of(1, 2), [0, 1], Float32Array.of(0, 1))).toBeUndefined();
  });
});

describe('binaryMetrics', () => {
  test('of one column are those of a classification into two classes', () => {
    const scores = [-1, 2, 0.5, -3];
    const [targets, labels] = [Float32Array.of(0, 1, 0, 1), Uint32Array.of(0, 1, 0, 1)];
    const binary = binaryMetrics({ outputs: Float32Array.from(scores), targets, numColumns: 1, loss: 0.7 });
    const outputs = Float32Array.from(scores.flatMap((score) => [0, score]));
    expect(binary).toEqual(classificationMetrics({ outputs, labels, loss: 0.7 }));
  });

  test('of several columns take each as a label of its own', () => {
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

describe('sequenceMetrics', () => {
  test('count positions by their ranks, and those of weight 0 not at all', () => {
    const metrics = sequenceMetrics({
      ranks: Float32Array.of(0, 4, 2, 0, 7, 1),
      weights: Float32Array.of(1, 0, 1, 1, 1, 1),
      loss: 2,
      topK: 3,
      exp: (x) => 10 * x,
    });
    expect(metrics).toEqual({ loss: 2, accuracy: 0.4, topK: { k: 3, accuracy: 0.8 }, perplexity: 20 });
  });

  test('have no perplexity of a loss that is no log loss', () => {
    expect(sequenceMetrics({ ranks: Float32Array.of(0, 1), loss: 2 })).toEqual({ loss: 2, accuracy: 0.5 });
  });
});

describe('scalarMetrics', () => {
  test('names every number that stands by itself, and those of a group by its name', () => {
    expect(
      scalarMetrics({
        loss: 1,
        accuracy: 0.5,
        perClass: [],
        macro: { precision: 0.1, recall: 0.2, f1: 0.3 },
        topK: { k: 5, accuracy: 0.9 },
        rocAuc: undefined,
      }),
    ).toEqual({
      loss: 1,
      accuracy: 0.5,
      'macro/precision': 0.1,
      'macro/recall': 0.2,
      'macro/f1': 0.3,
      top5: 0.9,
    });
  });
});

describe('metrics agree with their definitions in numpy', () => {
  const golden = JSON.parse(
    fs.readFileSync(path.resolve(import.meta.dirname, '../golden/metrics.json'), 'utf8'),
  ) as Golden;

  test.each(['plain', 'weighted'] as const)('for %s rows', (kind) => {
    const weights = kind === 'weighted' ? Float32Array.from(golden.weight) : undefined;
    const { regression, classes, binary } = golden;
    const measured = regressionMetrics({
      predictions: regression.predicted,
      targets: regression.actual,
      weights,
      loss: 0,
    });
    expectClose(scalarMetrics(measured), regression[kind]);
    const labels = Uint32Array.from(classes.label);
    const outputs = Float32Array.from(classes.logits);
    const { macro, topK, ...rest } = classificationMetrics({
      ...{ outputs, labels, weights, loss: 0, topK: 3 },
      math: Math,
    });
    const { macro: expectedMacro, ...expected } = classes[kind];
    expectClose({ ...macro }, expectedMacro);
    expectClose({ accuracy: rest.accuracy, logLoss: rest.logLoss, top3: topK?.accuracy }, expected);
    const scores = Float64Array.from(binary.score);
    expectClose({ rocAuc: rocCurve(scores, binary.label, weights)?.area }, binary[kind]);
  });

  /** Sums of 40 terms in another order. */
  function expectClose(actual: Record<string, number | undefined>, expected: Record<string, number>): void {
    for (const [name, value] of Object.entries(expected)) expect(actual[name], name).toBeCloseTo(value, 13);
  }
});

type Numbers = Record<string, number>;

interface Golden {
  readonly weight: number[];
  readonly regression: { actual: number[]; predicted: number[]; plain: Numbers; weighted: Numbers };
  readonly classes: {
    logits: number[];
    label: number[];
    plain: ClassNumbers;
    weighted: ClassNumbers;
  };
  readonly binary: { score: number[]; label: number[]; plain: Numbers; weighted: Numbers };
}

interface ClassNumbers {
  accuracy: number;
  top3: number;
  logLoss: number;
  macro: Numbers;
}
