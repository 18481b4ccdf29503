// The same bits for any workforce, in trainings that take longer than `npm test` may.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { ROOT, runCli } from '../helpers/cli.ts';
import { EVERY_LAYER_SETTINGS, FASHION_CONFIG } from '../helpers/every-layer.ts';
import { readSummary } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS, runDirectory } from '../helpers/same-bits.ts';
import type { Workforce } from '../helpers/same-bits.ts';
import { tableRun, tableText } from '../helpers/table-run.ts';
import { taggedRun } from '../helpers/tagged-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

describe('weights, losses and metrics for any workforce', () => {
  it('a table with texts and transformed targets gives the same bits', async () => {
    const config = path.join(ROOT, 'examples/house/house.yaml');
    const settings = ['epochs=3', 'data.split.validation=0.02', 'data.split.test=0'];
    const workforces: Workforce[] = ['workers 2', 'workers 2 --threads 2'];
    const { metrics } = await expectSameBits(config, settings, temporaryDirectory(), workforces);
    expect(metrics.at(-1)).toMatchObject({ epoch: 3, _step: 240 });
    expect(metrics.at(-1)?.['val/r2']).toBeGreaterThan(0.55);
  });

  it('sums in bfloat16 give the same bits for any workforce, and others for another number of groups', async () => {
    // Two buckets. 15 batches an epoch, of which the last has 4 rows, and so 4 shards.
    const layers = [512, 300, 1].map((units) => ({ kind: 'dense' as const, units }));
    const directory = (): string => tableRun({ data: FEW_PLOTS, shards: 5, model: { layers }, epochs: 1 });
    const exact = await expectSameBits('table.yaml', [], directory(), []);
    const bits: string[] = [];
    for (const groups of [2, 4]) {
      const settings = ['wire.gradients=bf16', `wire.groups=${groups}`];
      const { weightsSha256 } = await expectSameBits('table.yaml', settings, directory(), [
        'workers 0 --threads 3',
        'workers 2 --no-shared-memory',
        'workers 3',
      ]);
      bits.push(weightsSha256);
    }
    expect(new Set([exact.weightsSha256, ...bits]).size).toBe(3);
  });

  it('sums in bfloat16 of every kind of layer, batchNorm and recurrent ones too, give the same bits', async () => {
    const settings = [...EVERY_LAYER_SETTINGS, 'wire.gradients=bf16'];
    const workforces: Workforce[] = ['workers 3', 'workers 2 --threads 2', 'workers 0 --threads 3'];
    await expectSameBits(FASHION_CONFIG, settings, temporaryDirectory(), workforces);
  });

  it('a training on images gives the same bits where batches and shards differ in size', async () => {
    // 9,000 rows: 22 batches of 400 and one of 200, in shards of 57 or 58, and of 28 or 29.
    const layers = '[{kind: dense, units: 32, activation: relu}, {kind: dense, units: 10}]';
    const settings = ['epochs=1', `model.layers=${layers}`, 'batchSize=400', 'shards=7'];
    const cwd = temporaryDirectory();
    const { metrics } = await expectSameBits(FASHION_CONFIG, settings, cwd, ['workers 3']);
    expect(metrics.at(-1)).toMatchObject({ epoch: 1, _step: 23 });
    expect(metrics.at(-1)?.['val/accuracy']).toBeGreaterThan(0.6);
    expect(readSummary(runDirectory(cwd, 'workers 3')).test).toHaveProperty('accuracy');
  });

  it('fused kernels give the same bits for any workforce, but not those of strict kernels', async () => {
    const strict = await expectSameBits('table.yaml', [], tableRun({ data: FEW_PLOTS }), []);
    const cwd = tableRun({ data: FEW_PLOTS });
    const fused = await expectSameBits('table.yaml', ['numerics=fused'], cwd, [
      'workers 2',
      'workers 1 --threads 2',
      'workers 0 --threads 2',
    ]);
    expect(fused.weightsSha256).not.toBe(strict.weightsSha256);
    const directory = runDirectory(cwd, 'workers 2');
    expect(readSummary(directory).numerics).toBe('fused');
    const model: unknown = JSON.parse(fs.readFileSync(path.join(directory, 'model', 'config.json'), 'utf8'));
    expect(model).toMatchObject({ numerics: 'fused' });
  });

  it('a text gives the same bits through embeddings, attention and dropout', async () => {
    // 209 windows of 16 bytes: 16 batches of 13, in shards of 2 and 3, and a last one of a single window.
    const config = path.join(ROOT, 'examples/text/text.yaml');
    const layers = `[
      {kind: embedding, vocabulary: 256, units: 8}, {kind: positionalEmbedding},
      {kind: residual, layers: [{kind: layerNorm}, {kind: attention, heads: 2, causal: true}, {kind: dropout, rate: 0.2}]},
      {kind: dropout, rate: 0.1}, {kind: dense, units: 256}]`;
    const split = '{train: 0.003, validation: 0.001, test: 0.001}';
    const settings = ['context=16', `split=${split}`].map((setting) => `data.${setting}`);
    settings.push('epochs=2', `model.layers=${layers}`, 'batchSize=13', 'shards=5', 'plots=true');
    const cwd = temporaryDirectory();
    const workforces: Workforce[] = ['workers 3', 'workers 1 --threads 2'];
    const { metrics } = await expectSameBits(config, settings, cwd, workforces);
    expect(metrics.at(-1)).toMatchObject({ epoch: 2, _step: 34 });
    expect(metrics.at(-1)?.['val/loss']).toBeLessThan(Math.log(256));
    expect(metrics.at(-1)).toHaveProperty('val/perplexity');
    expect(fs.readdirSync(path.join(runDirectory(cwd, 'workers 3'), 'plots')).sort()).toEqual(
      ['gradient-norm', 'learning-rate', 'loss-curves', 'metrics'].flatMap((name) =>
        ['png', 'svg', 'vl.json'].map((ending) => `${name}.${ending}`),
      ),
    );
  });

  it('dropout, batch normalization with its running statistics, and residual blocks give the same bits', async () => {
    const layers: ConfigInput['model']['layers'] = [
      { kind: 'dense', units: 24, bias: false },
      { kind: 'batchNorm' },
      { kind: 'activation', function: 'silu' },
      {
        kind: 'residual',
        layers: [
          { kind: 'layerNorm' },
          { kind: 'dense', units: 16, activation: 'gelu' },
          { kind: 'dropout', rate: 0.2 },
        ],
        shortcut: [{ kind: 'dense', units: 16 }],
      },
      { kind: 'dense', units: 1 },
    ];
    // 900 rows: 13 batches of 65 in shards of 33 and 32, and the remaining 55 in one, larger shard.
    const cwd = tableRun({ data: FEW_PLOTS, model: { layers }, batchSize: 65, shards: undefined });
    const workforces: Workforce[] = ['workers 1', 'workers 3', 'workers 2 --threads 2'];
    const { metrics } = await expectSameBits('table.yaml', [], cwd, workforces);
    expect(metrics.at(-1)?.['val/r2']).toBeGreaterThan(0.3);
    expect(readSummary(runDirectory(cwd, 'workers 3')).shards).toBe(2);
  });

  it('clipping by norm, a schedule, averaged weights and early stopping give the same bits', async () => {
    // Some 183,000 parameters: two buckets, of which the first to arrive waits for the other's norm.
    const layers = [300, 600, 1].map((units) => ({
      kind: 'dense' as const,
      units,
      activation: 'tanh' as const,
    }));
    const cwd = tableRun({
      data: FEW_PLOTS,
      model: { layers },
      optimizer: { kind: 'adamW', learningRate: 0.01, weightDecay: 0.1 },
      schedule: { kind: 'cosine', period: 2, warmup: { steps: 5 } },
      clip: { norm: 0.1, value: 0.01 },
      ema: { decay: 0.9 },
      earlyStopping: { patience: 1, minDelta: 0.005, monitor: 'r2' },
      epochs: 30,
    });
    const { metrics } = await expectSameBits('table.yaml', [], cwd, ['workers 1', 'workers 3']);
    const summary = readSummary(runDirectory(cwd, 'workers 3'));
    expect(summary.stoppedEarly).toBe(summary.epochs);
    expect(summary.epochs).toBeLessThan(30);
    const rates = metrics.flatMap(({ lr }) => (typeof lr === 'number' ? [lr] : []));
    const warmup = [0, 1, 2, 3, 4, 5].map((step) => (0.0001 + 0.00198 * step).toFixed(6));
    expect(rates.slice(0, 6).map((rate) => rate.toFixed(6))).toEqual(warmup);
    expect(new Set(rates).size).toBeGreaterThan(20);
    // The kept weights were measured after the last epoch or a better earlier one: averaged weights either
    // way.
    const r2 = metrics.flatMap((record) => (typeof record['val/r2'] === 'number' ? [record['val/r2']] : []));
    expect(summary.validation).toMatchObject({ r2: Math.max(...r2) });
  });
});

it('a run with model.init starts from the saved model with any workforce', async () => {
  const cwd = tableRun({ epochs: 1 });
  const train = async (into: string, ...flags: string[]): Promise<string> => {
    const args = ['train', 'table.yaml', '--run-dir', into, ...flags];
    expect(await runCli(args, { cwd })).toMatchObject({ exitCode: 0 });
    return readSummary(path.join(cwd, into)).weightsSha256;
  };
  const saved = await train('run', '--workers', '0');
  const init = ['--set', 'model.init=run/model/model.safetensors'];
  // Steps too small to change any f32 that is not 0 show what the run started from.
  const [start, alone, together] = await Promise.all([
    train('start', ...init, '--workers', '0', '--set', 'optimizer.learningRate=1e-30'),
    train('alone', ...init, '--workers', '0'),
    train('together', ...init, '--workers', '2'),
  ]);
  expect(start).toBe(saved);
  expect(alone).not.toBe(start);
  expect(together).toBe(alone);
});

describe('forms of data for any workforce', () => {
  it('rows that are streamed from a file give the bits of a dataset in memory', async () => {
    const layers = [
      { kind: 'dense' as const, units: 32, activation: 'relu' as const },
      { kind: 'dropout' as const, rate: 0.2 },
      { kind: 'batchNorm' as const },
      { kind: 'dense' as const, units: 1 },
    ];
    const directory = (): string =>
      tableRun({ data: { ...FEW_PLOTS, weights: 'x7' }, model: { layers }, audit: 0.2 });
    const inMemory = await expectSameBits('table.yaml', [], directory(), []);
    const workforces: Workforce[] = [
      'workers 0 --threads 3',
      'workers 3',
      'workers 5 --topology tree --fan-in 2',
    ];
    const streamed = await expectSameBits('table.yaml', ['data.stream=true'], directory(), workforces);
    expect(streamed).toEqual(inMemory);
  });

  it('embedded columns of a table give the same bits, in memory and streamed', async () => {
    const [names = '', ...rows] = tableText().trimEnd().split('\n');
    const lines = rows.map((line, row) => `town ${(row * row) % 37},${row % 5},${line}`);
    const table = `${[`town,zone,${names}`, ...lines].join('\n')}\n`;
    const columns = { town: { kind: 'embedding', units: 5 }, zone: { kind: 'embedding', units: 2 } } as const;
    const directory = (): string => tableRun({ data: { ...FEW_PLOTS, columns }, shards: 5 }, table);
    const workforces: Workforce[] = ['workers 0 --threads 3', 'workers 3 --topology tree --fan-in 2'];
    const inMemory = await expectSameBits('table.yaml', [], directory(), workforces);
    const streamed = await expectSameBits('table.yaml', ['data.stream=true'], directory(), ['workers 2']);
    expect(streamed).toEqual(inMemory);
  });

  it('labels at positions, some of them padding, give the same bits and metrics', async () => {
    const cwd = taggedRun();
    const workforces: Workforce[] = ['workers 0 --threads 3', 'workers 3 --topology tree --fan-in 2'];
    const { metrics } = await expectSameBits('tags.yaml', [], cwd, workforces);
    expect(metrics.at(-1)).toMatchObject({
      'val/accuracy': expect.any(Number) as number,
      'val/macro/f1': expect.any(Number) as number,
    });
  });
});
