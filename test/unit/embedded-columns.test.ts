// Tables whose columns have learned vectors, as runs: the layer that holds them comes by itself, and stays
// out of the config.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { evaluate } from '../../api/model.ts';
import type { TrainConfig } from '../../api/train.ts';
import { runIdentity } from '../../coordinator/persistence/run-identity.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import { errorText, saveRun, type SavedRun } from '../helpers/saved-run.ts';
import { moveWeights } from '../helpers/saved-weights.ts';

const ROWS = Array.from({ length: 40 }, (_, row) => ({
  size: (row * 7) % 13,
  town: row === 39 ? 'Once' : row % 2 ? 'Rome' : 'Oslo',
  rooms: row % 5,
  price: 10 + ((row * 11) % 17),
}));

function tableOf(rows: readonly object[]): string {
  return [Object.keys(rows[0] as object), ...rows.map((row): unknown[] => Object.values(row))]
    .map((cells) => `${cells.join()}\n`)
    .join('');
}

function runOf(layers: TrainConfig['model']['layers'] = [{ kind: 'dense', units: 1 }]): Promise<SavedRun> {
  return saveRun(
    { 'table.csv': tableOf(ROWS) },
    {
      data: {
        file: 'table.csv',
        target: 'price',
        columns: { town: { kind: 'embedding', units: 3 } },
        split: { validation: 0, test: 0.25 },
        shuffle: false,
      },
      model: { layers },
      loss: 'mse',
      batchSize: 8,
    },
  );
}

it('an embedded column puts a layer before those of the config', async () => {
  const { directory, prepared } = await runOf();
  const { layers, transforms } = (await loadModel(directory)).description;
  const columns = [{ place: 1, vocabulary: 3, units: 3 }];
  expect(layers).toMatchObject([
    { kind: 'columnEmbeddings', columns },
    { kind: 'dense', units: 1 },
  ]);
  // The first 30 rows are trained on.
  expect(transforms.features[1]).toMatchObject({ kind: 'embedding', texts: ['Oslo', 'Rome'] });
  expect(prepared.model.tensors.map(({ name, shape }) => [name, shape])).toEqual([
    ['0.tables.0.weight', [3, 3]],
    ['1.weight', [1, 5]],
    ['1.bias', [1]],
  ]);
  expect(prepared.config.model.layers).toHaveLength(1);
  // Other units are another run, though the encoded rows are the same.
  expect(runIdentity(prepared).config['layers']).toMatchObject([{ columns }, { kind: 'dense' }]);
});

it('texts have vectors of their own in predictions, and unknown ones share one', async () => {
  const { directory } = await runOf();
  await moveWeights(directory);
  const model = await loadModel(directory);
  const predict = (town: string) => model.predict([{ size: 4, town, rooms: 2 }]);
  expect(predict('Elsewhere')).toEqual(predict('Nowhere'));
  expect(predict('Rome')).not.toEqual(predict('Nowhere'));
  expect(predict('Rome')).not.toEqual(predict('Oslo'));
});

it('a run with embedded columns is evaluated as it was measured, and on rows with texts that it never saw', async () => {
  const run = await runOf();
  expect(await evaluate(run.directory)).toEqual(await run.measure('test'));
  fs.writeFileSync(path.join(run.cwd, 'new.csv'), tableOf(ROWS.map((row) => ({ ...row, town: 'Nowhere' }))));
  const metrics = await evaluate(run.directory, { data: 'new.csv', baseDirectory: run.cwd });
  expect(metrics.rmse).toBeGreaterThan(0);
});

it('an error of a layer names its place in the config', async () => {
  const text = await errorText('', () => runOf([{ kind: 'dense', units: 4 }, { kind: 'globalAvgPool2d' }]));
  expect(text).toContain('model.layers.1: globalAvgPool2d on 4: ');
});
