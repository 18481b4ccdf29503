// The promise of the project: one config gives the same bits for any workers that compute them.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { layerSchema } from '../../src/layers/registry.ts';
import { EVERY_LAYER, EVERY_LAYER_SETTINGS, FASHION_CONFIG } from '../helpers/every-layer.ts';
import { readSummary } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS, runDirectory } from '../helpers/same-bits.ts';
import type { Workforce } from '../helpers/same-bits.ts';
import { tableRun } from '../helpers/table-run.ts';
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

  it('a batch with fewer samples than shards gives the same bits', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, batchSize: 7, shards: 16, epochs: 1 });
    await expectSameBits('table.yaml', [], cwd, ['workers 2']);
  });
});
