import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { largestTarget, measureBaseline } from '../../../../coordinator/training/baseline.ts';
import { prepareRun } from '../../../../coordinator/training/prepare.ts';
import { configSchema, type ConfigInput } from '../../../../src/config/schema.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

/** A run on tables that are divided already; the validation table is that of the training. */
async function prepared(
  tables: Readonly<Record<'train' | 'test', string>>,
  values: Omit<ConfigInput, 'name' | 'data' | 'model'> & Pick<ConfigInput, 'data'> & { units: number },
) {
  const directory = temporaryDirectory();
  const file = (name: string, text: string): string => {
    fs.writeFileSync(path.join(directory, name), text);
    return path.join(directory, name);
  };
  const { units, data, ...rest } = values;
  const train = file('train.csv', tables.train);
  const config = configSchema.parse({
    name: 'table',
    data: { train, validation: train, test: file('test.csv', tables.test), ...data },
    model: { layers: [{ kind: 'dense', units }] },
    batchSize: 1,
    shards: 1,
    ...rest,
  });
  return prepareRun(config, () => undefined);
}

const NUMBERS = { train: 'x,y\n1,10\n2,20\n3,60\n', test: 'x,y\n1,20\n2,50\n' };

test('the baseline of numbers is the mean of the training targets, in their own unit', async () => {
  for (const targetTransform of [[], ['log', 'standardize']] as const) {
    const data = { target: 'y', targetTransform: [...targetTransform] };
    const run = await prepared(NUMBERS, { data, loss: 'mse', units: 1 });
    // The mean is 30; the test targets, 20 and 50, are 10 and 20 from it, and 15 from their own mean.
    expect(measureBaseline(run)).toEqual({
      kind: 'mean',
      rmse: Math.sqrt(250),
      mae: 15,
      r2: 1 - 500 / 450,
    });
  }
});

test('the baseline of numbers counts rows by their weights', async () => {
  const tables = { train: 'x,y,w\n1,10,3\n2,20,0\n3,50,1\n', test: 'x,y,w\n1,20,1\n2,50,0\n' };
  const run = await prepared(tables, { data: { target: 'y', weights: 'w' }, loss: 'mse', units: 1 });
  expect(measureBaseline(run)).toEqual({ kind: 'mean', rmse: 0, mae: 0, r2: 1 });
});

test('the baseline of classes is the class that is most frequent in the training split', async () => {
  const tables = { train: 'x,y\n1,a\n2,b\n3,b\n', test: 'x,y\n1,a\n2,a\n3,b\n' };
  const run = await prepared(tables, { data: { target: 'y' }, loss: 'crossEntropy', units: 2 });
  expect(measureBaseline(run)).toEqual({ kind: 'majority', className: 'b', accuracy: 1 / 3 });
});

test('the baseline of several labels predicts each by itself', async () => {
  const tables = { train: 'x,p,q\n1,0,1\n2,0,1\n3,1,0\n', test: 'x,p,q\n1,0,1\n2,1,1\n' };
  const run = await prepared(tables, {
    data: { target: ['p', 'q'] },
    loss: 'binaryCrossEntropy',
    units: 2,
  });
  expect(measureBaseline(run)).toEqual({ kind: 'majority', accuracy: 0.75 });
});

test('the baseline of a sequence counts every position', async () => {
  const directory = temporaryDirectory();
  fs.writeFileSync(path.join(directory, 'text.txt'), 'aab'.repeat(100));
  fs.writeFileSync(path.join(directory, 'test.txt'), 'aaaab');
  const config = configSchema.parse({
    name: 'text',
    data: {
      train: { text: path.join(directory, 'text.txt') },
      test: { text: path.join(directory, 'test.txt') },
      split: { validation: 0 },
      context: 4,
    },
    model: {
      layers: [
        { kind: 'embedding', vocabulary: 256, units: 8 },
        { kind: 'dense', units: 256 },
      ],
    },
    loss: 'crossEntropy',
    batchSize: 1,
    shards: 1,
  });
  const run = await prepareRun(config, () => undefined);
  expect(measureBaseline(run)).toEqual({ kind: 'majority', className: '97', accuracy: 0.75 });
});

test('a run without a test split has no baseline', async () => {
  const directory = temporaryDirectory();
  const file = path.join(directory, 'table.csv');
  fs.writeFileSync(file, NUMBERS.train);
  const config = configSchema.parse({
    name: 'table',
    data: { file, target: 'y', split: { validation: 0, test: 0 } },
    model: { layers: [{ kind: 'dense', units: 1 }] },
    loss: 'mse',
    batchSize: 1,
    shards: 1,
  });
  expect(measureBaseline(await prepareRun(config, () => undefined))).toBeUndefined();
});

test('the largest target is told in the units that are trained on, and classes have none', async () => {
  const tables = { train: 'x,y,z\n1,3,0\n2,4,1\n', test: 'x,y,z\n1,3,0\n' };
  const data = { target: ['y', 'z'] };
  const raw = await prepared(tables, { data, loss: 'mse', units: 2 });
  expect(largestTarget(raw)).toEqual({ name: 'y', size: Math.sqrt(12.5) });
  const scaled = await prepared(tables, {
    data: { ...data, targetTransform: ['standardize'] },
    loss: 'mse',
    units: 2,
  });
  expect(largestTarget(scaled)?.size).toBe(1);
  const classes = { train: 'x,y\n1,a\n2,b\n', test: 'x,y\n1,a\n' };
  const labels = await prepared(classes, { data: { target: 'y' }, loss: 'crossEntropy', units: 2 });
  expect(largestTarget(labels)).toBeUndefined();
});
