// The promise of the project: one config gives the same bits for any workers that compute them.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { layerSchema } from '../../src/layers/registry.ts';
import { EVERY_LAYER, EVERY_LAYER_SETTINGS, FASHION_CONFIG } from '../helpers/every-layer.ts';
import { readSummary } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS, runDirectory } from '../helpers/same-bits.ts';
import type { Workforce } from '../helpers/same-bits.ts';
import { tableRun, tableText } from '../helpers/table-run.ts';
import { taggedRun } from '../helpers/tagged-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

describe('weights, losses and metrics for any workforce', () => {
  it('fewer and more workers and threads than shards give the same bits', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, shards: 3 });
    const workforces: Workforce[] = [
      'workers 1',
      'workers 5',
      'workers 1 --threads 2',
      'workers 0 --threads 4',
    ];
    await expectSameBits('table.yaml', [], cwd, workforces);
    const numWorkers = workforces.map((workforce) => readSummary(runDirectory(cwd, workforce)).workers);
    expect(numWorkers).toEqual([1, 5, 1, 0]);
  });

  it('steps that are tried before a run, to find the fastest number of threads, leave no trace', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, ema: { decay: 0.9 }, clip: { norm: 0.5 } });
    // Enough steps that trying some of them pays.
    await expectSameBits('table.yaml', ['epochs=200'], cwd, ['workers auto']);
    const directory = runDirectory(cwd, 'workers auto');
    const { threads = 0 } = readSummary(directory);
    const log = fs.readFileSync(path.join(directory, 'output.log'), 'utf8');
    expect(log).toMatch(new RegExp(`computing on ${threads} threads?: [\\d.]+ ms a step`));
  });

  it('sums in bfloat16 give the same bits on threads and in a tree of workers, but not those of float32', async () => {
    // Two buckets. 15 batches an epoch, of which the last has 4 rows, and so 4 shards.
    const layers = [512, 300, 1].map((units) => ({ kind: 'dense' as const, units }));
    const directory = (): string => tableRun({ data: FEW_PLOTS, shards: 5, model: { layers }, epochs: 1 });
    const exact = await expectSameBits('table.yaml', [], directory(), []);
    const workforces: Workforce[] = ['workers 0 --threads 3', 'workers 3 --topology tree --fan-in 2'];
    const settings = ['wire.gradients=bf16', 'wire.groups=2'];
    const { weightsSha256 } = await expectSameBits('table.yaml', settings, directory(), workforces);
    expect(weightsSha256).not.toBe(exact.weightsSha256);
  });

  it('every kind of layer on images and sequences gives the same bits', async () => {
    // `embedding` can only be the first layer of a model: the test of texts covers it.
    const used = new Set(JSON.stringify(EVERY_LAYER).match(/(?<="kind":")\w+/g));
    const kinds = layerSchema.options.map(({ shape }) => shape.kind.value);
    expect([...used, 'embedding'].sort()).toEqual(kinds.toSorted());
    const workforces: Workforce[] = ['workers 3', 'workers 2 --threads 2', 'workers 0 --threads 3'];
    await expectSameBits(FASHION_CONFIG, EVERY_LAYER_SETTINGS, temporaryDirectory(), workforces);
  });

  it('clipping by norm, averaged weights and statistics give the same bits on threads of one process', async () => {
    const layers = [
      { kind: 'dense' as const, units: 48, activation: 'relu' as const },
      { kind: 'batchNorm' as const },
      { kind: 'dense' as const, units: 1 },
    ];
    const settings = { clip: { norm: 0.5, value: 0.1 }, ema: {}, optimizer: { kind: 'adamW' as const } };
    const cwd = tableRun({ data: FEW_PLOTS, model: { layers }, shards: 2, ...settings });
    await expectSameBits('table.yaml', [], cwd, ['workers 0 --threads 2', 'workers 2']);
  });

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

  it('a batch with fewer samples than shards gives the same bits', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, batchSize: 7, shards: 16, epochs: 1 });
    await expectSameBits('table.yaml', [], cwd, ['workers 2']);
  });
});
