// The memory that a run may take: counted at its highest, cut to what there is room for,
// refused if it is too much.
import os from 'node:os';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { planMemory, totalOf, warnOfMemory } from '../../../../coordinator/training/memory-plan.ts';
import type { LocalCompute, MemoryPlan, MemoryUses } from '../../../../coordinator/training/memory-plan.ts';
import { prepareRun } from '../../../../coordinator/training/prepare.ts';
import type { ConfigInput } from '../../../../src/config/schema.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { planEngine } from '../../../../src/engine/plan.ts';
import { resolveModel } from '../../../../src/model/model.ts';
import { tableRun } from '../../../helpers/table-run.ts';

const GIB = 2 ** 30;
const HERE: LocalCompute = { workers: 0, threads: 1 };

/** The plan of a run on the small table; the model is resolved, and never built. */
async function planOf(values: Partial<ConfigInput>, local?: LocalCompute): Promise<MemoryPlan> {
  const { config: small } = await loadConfig({ path: `${tableRun()}/table.yaml`, env: {} });
  const { data } = await prepareRun(small, () => undefined);
  const { config } = await loadConfig({ path: `${tableRun(values)}/table.yaml`, env: {} });
  const model = resolveModel(config.model, data.dataset.layout.featureShape);
  const plan = planEngine(model, config);
  return planMemory({ config, model, data, plan }, local);
}

/** Three hidden layers as wide as this: about 2 · width² parameters. */
function wide(width: number): Pick<ConfigInput, 'model'> {
  const hidden = { kind: 'dense' as const, units: width, activation: 'relu' as const };
  return { model: { layers: [hidden, hidden, hidden, { kind: 'dense', units: 1 }] } };
}

describe('the memory plan of the coordinator', () => {
  it('the plan of a small model has room for every sum that may wait', async () => {
    const { room, wantedSums } = await planOf({ shards: 64 });
    expect({ room, wantedSums }).toEqual({ room: { here: 32, ofTask: 10 }, wantedSums: 32 });
  });

  it('the plan of a large model counts the most that sums, copies for checkpoints and messages may take', async () => {
    // 7200 wide: 103,766,401 parameters, of 0.387 GiB.
    const { here, beside, worker, room, wantedSums } = await planOf(wide(7200));
    expect({ room, wantedSums }).toEqual({ room: { here: 3, ofTask: 4 }, wantedSums: 4 });
    const vectors = (bytes: number): number => bytes / (4 * 103_766_401);
    expect(vectors(totalOf(here))).toBe(6 + 1 + 3);
    expect(totalOf(here)).toBeLessThan(4 * GIB);
    expect(vectors(beside['3 copies for checkpoints'] ?? 0)).toBe(3 * (1 + 2 + 1));
    expect(vectors(beside['weights to be sent'] ?? 0)).toBe(3);
    expect(vectors(beside['weights in shared memory'] ?? 0)).toBe(2);
    expect(vectors(worker?.['4 sums of gradients'] ?? 0)).toBe(4);
  });

  it('the plan counts averaged weights, and no copies if no checkpoint is saved', async () => {
    const plain = await planOf({});
    const { here, beside } = await planOf({ ema: { decay: 0.9 }, checkpoint: false });
    expect(totalOf(here) - totalOf(plain.here)).toBe(4 * 641);
    expect(beside['3 copies for checkpoints']).toBe(0);
  });

  it('the plan of a run without workers counts its own engine, and no sums of workers', async () => {
    const { here, worker, room } = await planOf(wide(7200), HERE);
    expect({ worker, room }).toEqual({ worker: undefined, room: { here: 0, ofTask: 0 } });
    expect(here).toHaveProperty(['packed weights']);
    expect(here).toHaveProperty(['1 sum of gradients']);
  });
});

describe('the memory plan of a run in this process', () => {
  afterEach(() => vi.restoreAllMocks());

  const threadsOf = async (values: Partial<ConfigInput>, cores: number): Promise<number> => {
    vi.spyOn(os, 'availableParallelism').mockReturnValue(cores);
    return (await planOf(values, { workers: 0, threads: 'auto' })).threads;
  };

  it('as many threads are planned as there are cores and shards', async () => {
    expect(await threadsOf({ shards: 64 }, 3)).toBe(3);
    expect(await threadsOf({ shards: 2 }, 64)).toBe(2);
  });

  it('no more threads are planned than fit beside the weights', async () => {
    // Four equal shares of 64 shards are a sum of 275 MiB each, and five unequal ones are more.
    expect(await threadsOf({ ...wide(6000), shards: 64 }, 64)).toBe(4);
  });

  it('a model that leaves no room for a second thread is planned with one', async () => {
    expect(await threadsOf(wide(7200), 2)).toBe(1);
  });
});

describe('the memory plan of a worker', () => {
  const workerOf = async (values: Partial<ConfigInput>, threads: number): Promise<MemoryUses> =>
    (await planOf(values, { workers: 1, threads })).worker as MemoryUses;

  it('a worker has activations, scratch and sums for each of its threads', async () => {
    const [one, three] = [await workerOf({ shards: 64 }, 1), await workerOf({ shards: 64 }, 3)];
    for (const use of ['activations', 'scratch']) expect(three[use]).toBe(3 * (one[use] as number));
    expect(three['packed weights']).toBe(one['packed weights']);
    expect([Object.keys(one).at(3), Object.keys(three).at(3)]).toEqual(['scratch', 'scratch']);
    expect(one).toHaveProperty(['10 sums of gradients']);
    expect(three).toHaveProperty(['30 sums of gradients']);
  });

  it('the results of a worker that wait for the coordinator take 64 MiB at most', async () => {
    const [small, large] = [await workerOf({}, 1), await workerOf(wide(7200), 1)];
    expect(small['results to be sent']).toBe(4 * 4 * 641 + 2 * 4 * 100);
    expect(large['results to be sent']).toBe(64 * 2 ** 20 + 2 * 4 * 100);
    expect(small['results in shared memory']).toBe(4 * 4 * 641);
    expect(large['results in shared memory']).toBe(64 * 2 ** 20);
  });

  it('a worker whose threads do not fit is refused, even if one of them would fit', async () => {
    const values: Partial<ConfigInput> = {
      shards: 1,
      batchSize: 200,
      model: {
        layers: [
          { kind: 'dense', units: 1_000_000, activation: 'relu' },
          { kind: 'dense', units: 1 },
        ],
      },
    };
    await workerOf(values, 1);
    await expect(workerOf(values, 2)).rejects.toMatchObject({
      code: 'E_TOO_LARGE',
      message: expect.stringMatching(/^a worker with 2 threads needs 7\.\d GiB /) as string,
      help: 'use fewer --threads, fewer units, more shards or a smaller dataset',
    });
  });
});

describe('a run that may take more memory than the machine has', () => {
  const warningsOf = (localWorkers: number, bytesHere: number): string[] => {
    const warnings: string[] = [];
    const plan = { worker: { activations: GIB }, here: { sums: bytesHere }, beside: { dataset: GIB } };
    warnOfMemory(
      { ...plan, threads: 1, room: { here: 1, ofTask: 1 }, wantedSums: 1 },
      localWorkers,
      (warning) => warnings.push(warning),
    );
    return warnings;
  };

  it('a run that may take more memory than the machine has causes a warning that lists each process', () => {
    expect(warningsOf(8000, GIB)).toEqual([
      expect.stringMatching(
        /^the run may need up to 7.8 TiB of memory \(2.0 GiB here, 1.0 GiB in each of 8,000 workers\), but this machine has [\d.]+ GiB: .* fewer --workers or fewer units would need less$/,
      ),
    ]);
    expect(warningsOf(0, os.totalmem())).toEqual([expect.not.stringContaining('workers')]);
  });

  it('a run that fits into the memory of the machine causes no warning', () => {
    expect(warningsOf(0, 0)).toEqual([]);
  });
});

describe('a run that cannot fit', () => {
  it('a run that does not fit with a single sum is refused with the figures of the coordinator', async () => {
    const refused = planOf(wide(8700));
    await expect(refused).rejects.toMatchObject({ code: 'E_TOO_LARGE', category: 'usage' });
    await expect(refused).rejects.toMatchObject({
      message:
        'the coordinator needs 4.5 GiB (weights and optimizer state 3.4 GiB, best weights 577.9 MiB, 1 sum of gradients 577.9 MiB); WebAssembly can address 4 GiB',
      help: 'use fewer units, or an optimizer that keeps less',
    });
  });

  it('a run that fits with workers is refused if a single process has to do all of it', async () => {
    await expect(planOf(wide(7800), HERE)).rejects.toMatchObject({
      code: 'E_TOO_LARGE',
      message: expect.stringMatching(
        /^training in this process needs 4\.\d GiB \(weights and optimizer state /,
      ) as string,
      help: 'use fewer units or more shards, or give the work to workers',
    });
    expect((await planOf(wide(7800))).room).toEqual({ here: 1, ofTask: 4 });
  });
});
