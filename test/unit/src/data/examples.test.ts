// The data of the examples: real files, checked once as a whole.
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { targetView } from '../../../../src/data/dataset/packed-dataset.ts';
import { configOf, load, modelOf } from './fixtures.ts';

function example(name: string): string {
  return fileURLToPath(new URL(`../../../../examples/${name}`, import.meta.url));
}

describe('the house sales', () => {
  const SPLIT = { train: 0.8, validation: 0.1, test: 0.1 };
  const data = { file: example('house/house.csv.gz'), target: 'price', split: SPLIT };

  test('the house sales are 25,357 rows of 14 numbers and 3 texts, which have 18 kinds together', async () => {
    const { dataset, splits, featureNames, targetNames, warnings } = await load(configOf(data));
    expect(dataset.layout).toMatchObject({ numRows: 25_357, featureShape: [32], targetWidth: 1 });
    expect([splits.train, splits.validation, splits.test].map((rows) => rows.length)).toEqual([
      20_285, 2536, 2536,
    ]);
    expect(featureNames.filter((name) => name.includes('='))).toHaveLength(18);
    expect(targetNames).toEqual(['price']);
    expect(warnings).toEqual([
      'column "stories": 2 rows with a value that training never saw; encoded as zeros',
    ]);
  });

  test('the house sales are standardised on the training rows only', async () => {
    const { dataset, splits, featureNames } = await load(configOf(data));
    const { featureShape, numRows } = dataset.layout;
    const [featureWidth = 0] = featureShape;
    const rows = new Float32Array(dataset.blob.buffer, 0, numRows * featureWidth);
    const area = featureNames.indexOf('TLA');
    const meanOf = (indices: Uint32Array) =>
      indices.reduce((sum, row) => sum + (rows[row * featureWidth + area] as number), 0) / indices.length;
    expect(Math.abs(meanOf(splits.train))).toBeLessThan(1e-6);
    expect(Math.abs(meanOf(splits.test))).toBeGreaterThan(1e-4);
  });

  test('the house sales are packed to the same bytes on every machine', async () => {
    // Without log, which the tests take from the host. The hash agrees with a separate program in Python.
    const { dataset } = await load(configOf({ ...data, targetTransform: ['standardize'] }));
    expect(dataset.sha256).toBe('d5d80ef6e33ceeddf65ea1db1917d784d23b1e6fed04d65de07e8262d1551060');
  });

  test('the house sales have the standardized logarithm of the price as their target', async () => {
    const { dataset, splits } = await load(configOf({ ...data, targetTransform: ['log', 'standardize'] }));
    const prices = targetView(dataset);
    const mean = splits.train.reduce((sum, row) => sum + (prices[row] as number), 0) / splits.train.length;
    expect(Math.abs(mean)).toBeLessThan(1e-6);
  });
});

test('the text is 1,115,394 bytes of plays, of which all but the last few are predicted once', async () => {
  const data = { train: { text: example('text/shakespeare.txt.gz') }, context: 64 };
  const split = { validation: 0.05, test: 0.05 };
  const { dataset, splits, warnings } = await load(
    configOf({ ...data, split }, { loss: 'crossEntropy', model: modelOf(256) }),
  );
  const { train, validation, test: tested } = splits;
  expect([train, validation, tested].map((rows) => rows.length)).toEqual([15_686, 871, 871]);
  expect(dataset.layout.numRows).toBe(Math.floor((1_115_394 - 1) / 64));
  expect(Buffer.from(dataset.blob.subarray(0, 14)).toString()).toBe('First Citizen:');
  // The hash agrees with a separate program in Python.
  expect(dataset.sha256).toBe('e91e0c75ad6cfa2962af9b3c13831ee920c6fedce2809f2f5cfae3c90e498f13');
  expect(warnings).toEqual([]);
});

test('the fashion subset has 1,000 training and 200 test images of each class', async () => {
  const files = (set: string) => ({
    images: example(`fashion/${set}-images-idx3-ubyte.gz`),
    labels: example(`fashion/${set}-labels-idx1-ubyte.gz`),
  });
  const data = { train: files('train'), test: files('test'), classes: 10, split: { validation: 0 } };
  const { dataset, splits, warnings } = await load(
    configOf(data, { loss: 'crossEntropy', model: modelOf(10) }),
  );
  const labels = targetView(dataset);
  const count = (rows: Uint32Array, label: number) => rows.filter((row) => labels[row] === label).length;
  const classes = Array.from({ length: 10 }, (_, label) => label);
  expect(classes.map((label) => count(splits.train, label))).toEqual(classes.map(() => 1000));
  expect(classes.map((label) => count(splits.test, label))).toEqual(classes.map(() => 200));
  expect(dataset.layout).toMatchObject({ featureType: 'u8', featureShape: [1, 28, 28], numClasses: 10 });
  expect(dataset.sha256).toBe('6397e4fabc354eaa1603859283df8c70db94b8c948c1eb8abf124fd165ad4bc8');
  expect(warnings).toEqual([]);
});
