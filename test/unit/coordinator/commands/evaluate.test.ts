// A finished run measured again: nothing is fitted to the data that it is measured on.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../../../api/model.ts';
import { scalarMetrics, type SplitMetrics } from '../../../../src/metrics/definitions.ts';
import type { ConfigInput } from '../../../../src/config/schema.ts';
import { loadModel } from '../../../../src/predict/load-model.ts';
import { errorText, saveRun, type SavedRun } from '../../../helpers/saved-run.ts';

const CLASSES = ['low', 'middle', 'high'] as const;
const ROWS = Array.from({ length: 40 }, (_, row) => ({
  x: (row * 7) % 13,
  kind: row % 4 === 0 ? 'a' : 'b',
  level: CLASSES[((row * row) % 7) % 3] as string,
}));

function tableOf(rows: readonly object[]): string {
  return [Object.keys(rows[0] as object), ...rows.map((row): unknown[] => Object.values(row))]
    .map((cells) => `${cells.join()}\n`)
    .join('');
}

function saveClasses(classWeights?: 'balanced'): Promise<SavedRun> {
  return saveRun(
    { 'table.csv': tableOf(ROWS) },
    {
      data: { file: 'table.csv', target: 'level', split: { validation: 0.25, test: 0.25 } },
      model: { layers: [{ kind: 'dense', units: 3 }] },
      loss: 'crossEntropy',
      batchSize: 4,
      shards: 2,
      ...(classWeights && { classWeights }),
    },
  );
}

/** Evaluates a run on new rows. */
function evaluateRows(run: SavedRun, rows: readonly object[]): ReturnType<typeof evaluate> {
  fs.writeFileSync(path.join(run.cwd, 'new.csv'), tableOf(rows));
  return evaluate(run.directory, { data: 'new.csv', baseDirectory: run.cwd, warn: () => undefined });
}

describe('an evaluation', () => {
  it.each<[string, Omit<ConfigInput, 'name' | 'data'> & { readonly data: object }]>([
    [
      'weights of rows and classes',
      {
        data: { target: 'level', weights: 'weight', drop: ['size'] },
        model: { layers: [{ kind: 'dense', units: 3 }] },
        loss: 'crossEntropy',
        classWeights: 'balanced',
      },
    ],
    [
      'labels that count nothing',
      {
        data: { target: 'rank', ignoreIndex: -1, drop: ['size'] },
        model: { layers: [{ kind: 'dense', units: 3 }] },
        loss: 'crossEntropy',
      },
    ],
    [
      'rows left out, and a transformed target',
      {
        data: { target: 'x', missing: 'drop-row', targetTransform: ['standardize'], categorical: ['rank'] },
        model: { layers: [{ kind: 'dense', units: 4 }, { kind: 'batchNorm' }, { kind: 'dense', units: 1 }] },
        loss: 'huber',
        numerics: 'fused',
      },
    ],
    [
      'numbers filled in, and a yes or no',
      {
        data: { target: 'kind', missing: 'mean' },
        model: { layers: [{ kind: 'dense', units: 1 }] },
        loss: 'binaryCrossEntropy',
      },
    ],
  ])('evaluating a split gives the bits of the run, with %s', async (_, { data, ...rest }) => {
    const rows = ROWS.map((row, at) => ({
      ...row,
      rank: (at % 4) - 1,
      weight: (at % 5) / 4,
      size: at % 6 === 0 ? '' : at * 0.3,
    }));
    const run = await saveRun(
      { 'table.csv': tableOf(rows) },
      {
        ...rest,
        data: { file: 'table.csv', split: { validation: 0.25, test: 0.25 }, ...data },
        batchSize: 5,
        shards: 2,
      },
    );
    for (const split of ['train', 'validation', 'test'] as const) {
      const expected = await run.measure(split);
      expect(expected?.loss).toBeGreaterThan(0);
      expect(await evaluate(run.directory, { split, warn: () => undefined })).toEqual(expected);
    }
  });

  it('evaluating new rows of a single class agrees with what the model predicts for them', async () => {
    const run = await saveClasses();
    const rows = ROWS.filter(({ level }) => level === 'high').map((row) => ({ extra: 1, ...row }));
    const metrics = await evaluateRows(run, rows);
    const model = await loadModel(run.directory);
    const found = model.predict(rows).filter((row) => row.kind === 'class' && row.class === 'high');
    expect(metrics).toMatchObject({ accuracy: found.length / rows.length });
  });

  it('evaluating a single new row uses the running statistics of batchNorm, although such a batch could not train it', async () => {
    const run = await saveRun(
      { 'table.csv': tableOf(ROWS) },
      {
        data: { file: 'table.csv', target: 'x', drop: ['level'] },
        model: { layers: [{ kind: 'batchNorm' }, { kind: 'dense', units: 1 }] },
        loss: 'mse',
        batchSize: 16,
      },
    );
    const model = await loadModel(run.directory);
    const row = ROWS[0] as (typeof ROWS)[number];
    const [predicted] = model.predict([row]);
    const { loss } = await evaluateRows(run, [row]);
    expect(predicted).toMatchObject({ kind: 'values' });
    const value = (predicted as { values: Record<string, number> }).values['x'] as number;
    expect(loss).toBeCloseTo((value - row.x) ** 2, 5);
  });

  it('an evaluation weighs classes as training did, not by the new rows', async () => {
    const run = await saveClasses('balanced');
    const { classWeights, classNames } = run.prepared.data;
    expect(classNames).toEqual(['high', 'low', 'middle']);
    const rows = ROWS.slice(0, 9);
    const model = await loadModel(run.directory);
    let [loss, total] = [0, 0];
    for (const [row, prediction] of model.predict(rows).entries()) {
      if (prediction.kind !== 'class') throw new Error('no class was predicted');
      const label = classNames.indexOf((rows[row] as (typeof ROWS)[number]).level);
      const weight = classWeights?.[label] as number;
      loss -= weight * Math.log(prediction.probabilities[label] as number);
      total += weight;
    }
    const metrics = await evaluateRows(run, rows);
    expect(metrics.loss).toBeCloseTo(loss / total, 5);
  });

  it('an evaluation encodes texts of features that training never saw as zeros, with a warning', async () => {
    const run = await saveClasses();
    const warnings: string[] = [];
    fs.writeFileSync(path.join(run.cwd, 'new.csv'), tableOf([{ ...ROWS[0], kind: 'c' }]));
    const options = {
      data: 'new.csv',
      baseDirectory: run.cwd,
      warn: (message: string) => warnings.push(message),
    };
    await evaluate(run.directory, options);
    expect(warnings).toEqual(['column "kind": 1 row with a value that training never saw; encoded as zeros']);
  });

  it('an evaluation treats new targets as labels or as probabilities, whichever the run was trained on', async () => {
    const rows = ROWS.map(({ x }, row) => ({
      x,
      y1: row % 2,
      y2: Number(row % 3 === 0),
      share: (row % 5) / 4,
    }));
    const saveTargets = (target: string[]): Promise<SavedRun> =>
      saveRun(
        { 'table.csv': tableOf(rows) },
        {
          data: { file: 'table.csv', target, features: ['x'] },
          model: { layers: [{ kind: 'dense', units: target.length }] },
          loss: 'binaryCrossEntropy',
          batchSize: 4,
        },
      );
    const labels = await saveTargets(['y1', 'y2']);
    const ones = rows.slice(0, 1).map((row) => ({ ...row, y1: 1, y2: 1, share: 1 }));
    expect(await evaluateRows(labels, ones)).toMatchObject({ perClass: [{ support: 1 }, { support: 1 }] });
    const refused = await errorText(labels.cwd, () => evaluateRows(labels, [{ ...rows[0], y2: 0.5 }]));
    expect(refused).toBe(
      'error[E_DATA_LABEL]: target "y2" is 0.5; the model was trained on labels, which are 0 or 1\n  --> new.csv:2',
    );
    const probabilities = await saveTargets(['share']);
    const measured = await evaluateRows(probabilities, ones);
    expect(Object.keys(measured)).toEqual(['loss', 'rmse', 'mae', 'r2', 'mape']);
    const [predicted] = (await loadModel(probabilities.directory)).predict(ones);
    if (predicted?.kind !== 'values') throw new Error('no value was predicted');
    expect(measured).toMatchObject({ mae: 1 - (predicted.values['share'] as number) });
  });

  it('an evaluation reports the log loss beside a weighted binary loss, and beside the smoothed loss of a text', async () => {
    const weighted = await saveRun(
      { 'table.csv': tableOf(ROWS) },
      {
        data: { file: 'table.csv', target: 'kind' },
        model: { layers: [{ kind: 'dense', units: 1 }] },
        loss: 'binaryCrossEntropy',
        classWeights: { a: 5 },
        batchSize: 4,
      },
    );
    const plain = await evaluate(weighted.directory, { split: 'train', warn: () => undefined });
    expect(plain).toHaveProperty('logLoss', expect.closeTo(meanLogLoss(weighted), 12));

    const text = 'the quick brown fox jumps over the lazy dog. '.repeat(8);
    const saveText = (labelSmoothing: number): Promise<SavedRun> =>
      saveRun(
        { 'text.txt': text },
        {
          data: { train: { text: 'text.txt' }, context: 8 },
          model: {
            layers: [
              { kind: 'embedding', vocabulary: 256, units: 4 },
              { kind: 'dense', units: 256 },
            ],
          },
          loss: { kind: 'crossEntropy', labelSmoothing },
          batchSize: 4,
        },
      );
    const smoothed = scalarMetrics((await (await saveText(0.2)).measure('train')) as SplitMetrics);
    const exact = scalarMetrics((await (await saveText(0)).measure('train')) as SplitMetrics);
    expect(smoothed['loss']).not.toBe(exact['loss']);
    // The sum of each row is returned in float32.
    expect(smoothed['logLoss']).toBeCloseTo(exact['loss'] as number, 6);
    expect(smoothed['perplexity'] as number).toBeCloseTo(exact['perplexity'] as number, 3);
  });

  /** The mean log loss over the training rows. */
  function meanLogLoss({ prepared, outputs }: SavedRun): number {
    const { classNames, splits } = prepared.data;
    const losses = Array.from(splits.train, (row) => {
      const sign = classNames.indexOf((ROWS[row] as (typeof ROWS)[number]).kind) === 1 ? -1 : 1;
      return Math.log1p(Math.exp(sign * (outputs[row] as number)));
    });
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  }

  it.each<[string, readonly object[], string]>([
    [
      'a class that training never saw',
      [ROWS[0] as object, { ...ROWS[1], level: 'highest' }],
      'error[E_DATA_LABEL]: target "level" is "highest", which is not a class of the model\n' +
        '  --> new.csv:3\n  help: its classes are: high, low, middle',
    ],
    [
      'a target that is missing',
      [ROWS[0] as object, { ...ROWS[1], level: '' }],
      'error[E_DATA_MISSING]: column "level": 1 of 2 cells missing ("" 1)\n' +
        '  --> new.csv:3:5\n  help: fill them in, or leave these rows out',
    ],
    [
      'no column of targets',
      [{ x: 1, kind: 'a' }],
      'error[E_DATA_COLUMNS]: no column "level", which the model was trained on\n' +
        '  help: give the table the columns of the training data',
    ],
    [
      'no column of a feature',
      [{ x: 1, level: 'low' }],
      'error[E_DATA_COLUMNS]: no column "kind", which the model was trained on\n' +
        '  help: give the table the columns of the training data',
    ],
  ])('an evaluation refuses new rows with %s', async (_, rows, message) => {
    const run = await saveClasses();
    expect(await errorText(run.cwd, () => evaluateRows(run, rows))).toBe(message);
  });

  it('an evaluation refuses a split of new data, data of another kind, and a model without its run', async () => {
    const run = await saveClasses();
    const table = { data: path.join(run.cwd, 'table.csv') };
    expect(await errorText(run.cwd, () => evaluate(run.directory, { ...table, split: 'test' }))).toBe(
      'error[E_EVALUATE_SPLIT]: new data have no splits: all of their samples are measured\n' +
        '  help: leave the split out',
    );
    expect(await errorText(run.cwd, () => evaluate(run.directory, { data: { text: 'a.txt' } }))).toBe(
      'error[E_DATA_FORMAT]: the run was trained on tables, the new data are texts\n  help: give data of the same kind',
    );
    fs.rmSync(path.join(run.directory, 'config.yaml'));
    expect(await errorText(run.cwd, () => evaluate(run.directory))).toBe(
      'error[E_MODEL_NOT_FOUND]: cannot read run/config.yaml, which says what the run measured\n' +
        '  help: name the directory of a run; a model directory alone is enough to predict, not to evaluate',
    );
  });
});

it('evaluating arrays other than those of the training is refused with both hashes', async () => {
  const features = ROWS.map(({ x }) => [x]);
  const run = await saveRun(
    {},
    {
      data: {
        train: { features, targets: ROWS.map(({ x }) => x / 2) },
        split: { validation: 0, test: 0.25 },
      },
      model: { layers: [{ kind: 'dense', units: 1 }] },
      loss: 'mse',
      batchSize: 4,
    },
  );
  const others = { features, targets: ROWS.map(({ x }) => x / 3) };
  expect(await errorText(run.cwd, () => evaluate(run.directory, { arrays: [others] }))).toMatch(
    /^error\[E_DATA_ARRAYS\]: the samples with SHA-256 [0-9a-f]{64} are not among the given arrays: that of arrays\[0\] is [0-9a-f]{64}\n {2}help: pass all arrays of the training, .*; give new samples as data$/,
  );
  expect(await errorText(run.cwd, () => evaluate(run.directory))).toMatch(
    /no file holds them\n {2}help: pass them again/,
  );
});
