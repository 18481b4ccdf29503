// The common parts of all metrics: the order of sums, names of numbers, and values by numpy;
// and metrics of sequences.
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classificationMetrics } from '../../../../src/metrics/classification.ts';
import { regressionMetrics } from '../../../../src/metrics/regression.ts';
import { rocCurve } from '../../../../src/metrics/roc.ts';
import { sequenceMetrics } from '../../../../src/metrics/sequence.ts';
import { scalarMetrics } from '../../../../src/metrics/definitions.ts';
import { treeSum } from '../../../../src/tree.ts';

describe('treeSum', () => {
  test('treeSum is 0 for no values', () => {
    expect(treeSum([])).toBe(0);
  });

  test('treeSum adds neighbours level by level, and carries an odd one over', () => {
    // A lone 1 is lost beside 2^53, so each order of additions gives another sum.
    const [a, b, c, d, e] = [2 ** 53, 1, 1, 1, 2 ** 53] as const;
    expect(treeSum([a, b, c, d, e])).toBe(a + b + (c + d) + e);
    expect(treeSum([a, b, c])).toBe(2 ** 53);
    expect(treeSum([b, c, a])).toBe(2 ** 53 + 2);
  });

  test('treeSum of the whole equals the combined sums of aligned halves', () => {
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

  test('treeSum leaves its argument unchanged', () => {
    const values = Float64Array.of(1, 2, 3);
    treeSum(values);
    expect([...values]).toEqual([1, 2, 3]);
  });
});

describe('sequenceMetrics', () => {
  test('sequenceMetrics counts positions by their ranks, and ignores those of weight 0', () => {
    const metrics = sequenceMetrics({
      ranks: Float32Array.of(0, 4, 2, 0, 7, 1),
      sampleWeights: Float32Array.of(1, 0, 1, 1, 1, 1),
      loss: 2,
      topK: 3,
      exp: (x) => 10 * x,
    });
    expect(metrics).toEqual({ loss: 2, accuracy: 0.4, topK: { k: 3, accuracy: 0.8 }, perplexity: 20 });
  });

  test('sequenceMetrics compares classes as a classification of all positions, those of weight 0 left out', () => {
    const labels = Uint32Array.of(0, 2, 1, 0, 2, 1, 1, 0);
    const predicted = Uint32Array.of(0, 2, 1, 1, 0, 1, 0, 0);
    const sampleWeights = Float32Array.of(1, 1, 0, 1, 2, 1, 0.5, 1);
    const outputs = Float32Array.from({ length: 24 }, (_, at) =>
      Number(predicted[Math.floor(at / 3)] === at % 3),
    );
    const { perClass, macro, confusion } = classificationMetrics({ outputs, labels, sampleWeights, loss: 2 });
    const ranks = Float32Array.from(labels, (label, at) => Number(label !== predicted[at]));
    const counted = { labels, predicted, numClasses: 3 };
    expect(sequenceMetrics({ ranks, counted, sampleWeights, loss: 2, exp: (x) => x })).toEqual({
      ...{ loss: 2, perplexity: 2, accuracy: 4 / 7.5 },
      ...{ perClass, macro, confusion },
    });
  });

  test('sequenceMetrics reports the log loss and its perplexity beside another loss', () => {
    const metrics = sequenceMetrics({
      ranks: Float32Array.of(0, 1, 2, 0),
      sampleWeights: Float32Array.of(1, 0.5, 0.5, 1),
      logLosses: Float32Array.of(1.5, 3),
      loss: 2,
      exp: (x) => 10 * x,
    });
    expect(metrics).toEqual({ loss: 2, accuracy: 2 / 3, logLoss: 1.5, perplexity: 15 });
  });
});

describe('scalarMetrics', () => {
  test('scalarMetrics names every single number, and prefixes those of a group with the name of the group', () => {
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

describe('metrics by numpy', () => {
  const golden = JSON.parse(
    fs.readFileSync(path.resolve(import.meta.dirname, '../../../golden/metrics.json'), 'utf8'),
  ) as Golden;

  test.each(['plain', 'weighted'] as const)(
    'metrics of %s rows agree with their definitions in numpy',
    (kind) => {
      const sampleWeights = kind === 'weighted' ? Float32Array.from(golden.weight) : undefined;
      const { regression, classes, binary } = golden;
      const column = {
        predicted: Float64Array.from(regression.predicted),
        actual: Float64Array.from(regression.actual),
      };
      const measured = regressionMetrics({ columns: [column], sampleWeights, loss: 0 });
      expectClose(scalarMetrics(measured), regression[kind]);
      const labels = Uint32Array.from(classes.label);
      const outputs = Float32Array.from(classes.logits);
      const { macro, topK, ...rest } = classificationMetrics({
        ...{ outputs, labels, sampleWeights, loss: 0, topK: 3 },
        math: Math,
      });
      const { macro: expectedMacro, ...expected } = classes[kind];
      expectClose({ ...macro }, expectedMacro);
      expectClose({ accuracy: rest.accuracy, logLoss: rest.logLoss, top3: topK?.accuracy }, expected);
      const scores = Float64Array.from(binary.score);
      expectClose({ rocAuc: rocCurve(scores, binary.label, sampleWeights)?.area }, binary[kind]);
    },
  );

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
