import { expect, test } from 'vitest';
import { measureImportance } from '../../../../coordinator/output/importance.ts';
import { saveRun, type SavedRun } from '../../../helpers/saved-run.ts';

const DENSE = { layers: [{ kind: 'dense' as const, units: 1 }] };

/** Rows whose columns `wall` and `size` are features, `same` is a constant, and `price` is the target. */
function houses(): string {
  const rows = Array.from({ length: 400 }, (_, row) => {
    const wall = ['brick', 'wood', 'clay'][row % 3]!;
    return `${wall},${(row * 37) % 101},5,${row % 17}`;
  });
  return ['wall,size,same,price', ...rows, ''].join('\n');
}

function measure({ directory, prepared }: SavedRun) {
  const { numParameters } = prepared.model;
  return measureImportance({ ...prepared, numParameters, modelPath: `${directory}/model` });
}

test('the importance of a column is that of all its features, and of a constant column 0', async () => {
  const run = await saveRun(
    { 'houses.csv': houses() },
    {
      data: { file: 'houses.csv', target: 'price', targetUnit: 'EUR' },
      model: DENSE,
      loss: 'mse',
      batchSize: 8,
      epochs: 1,
    },
  );
  const found = await measure(run);
  expect(found).toMatchObject({ measure: 'RMSE (price in EUR)', rows: 40, allRows: 40 });
  const { columns = [] } = found ?? {};
  expect(columns.map(({ name }) => name).sort()).toEqual(['same', 'size', 'wall']);
  expect(columns.find(({ name }) => name === 'same')?.increase).toBe(0);
  expect(columns.every(({ increase }, i) => i === 0 || increase <= columns[i - 1]!.increase)).toBe(true);
});

test('the importance of columns is the same each time it is measured', async () => {
  const run = await saveRun(
    { 'houses.csv': houses() },
    {
      data: { file: 'houses.csv', target: 'wall' },
      model: { layers: [{ kind: 'dense', units: 3 }] },
      loss: 'crossEntropy',
      batchSize: 8,
      epochs: 1,
    },
  );
  const found = await measure(run);
  expect(found?.measure).toBe('log loss');
  expect(await measure(run)).toEqual(found);
});

test('the importance of columns is the same where features are streamed from a file', async () => {
  const config = {
    data: { file: 'houses.csv', target: 'price' },
    model: DENSE,
    loss: 'mse' as const,
    batchSize: 8,
    epochs: 1,
  };
  const inMemory = await saveRun({ 'houses.csv': houses() }, config);
  const data = { ...config.data, stream: true };
  const streamed = await saveRun({ 'houses.csv': houses() }, { ...config, data });
  expect(streamed.prepared.data.dataset.file).toBeDefined();
  expect(await measure(streamed)).toEqual(await measure(inMemory));
});

test('data without columns, and a table with too few rows to validate with, have no importance', async () => {
  const table = {
    data: { file: 'houses.csv', target: 'price' },
    model: DENSE,
    loss: 'mse' as const,
    batchSize: 8,
    epochs: 1,
  };
  const few = await saveRun({ 'houses.csv': houses().split('\n').slice(0, 100).join('\n') }, table);
  expect(await measure(few)).toBeUndefined();
  const text = await saveRun(
    { 'a.txt': 'to be or not to be '.repeat(60) },
    {
      data: { train: { text: 'a.txt' }, context: 4 },
      model: {
        layers: [
          { kind: 'embedding', vocabulary: 256, units: 4 },
          { kind: 'dense', units: 256 },
        ],
      },
      loss: 'crossEntropy',
      batchSize: 8,
      epochs: 1,
    },
  );
  expect(await measure(text)).toBeUndefined();
});
