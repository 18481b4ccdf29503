// Rows that no worker can compute: real processes whose kernels trap, or whose threads fail, whenever they
// are given one of them. The row is to blame where the coordinator cannot compute it either, and the workers
// where it can.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { prepareRun } from '../../coordinator/training/prepare.ts';
import { loadConfig } from '../../src/config/load.ts';
import { epochOrder } from '../../src/data/dataset/split.ts';
import { CliProcess } from '../helpers/cli.ts';
import { networkDirectory, startCoordinator, startWorker } from '../helpers/network-run.ts';
import { TABLE_CONFIG } from '../helpers/table-run.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';
import type { Run } from '../helpers/undisturbed.ts';

const CONFIG = { epochs: 3 };
const STEP = 3;
const SHARD = 4;

const { batchSize, shards } = TABLE_CONFIG;
const rowsPerShard = batchSize / shards;

/** The rows of the first epoch, in the order of their steps and shards. */
async function orderOf(cwd: string): Promise<Uint32Array> {
  const { config } = await loadConfig({ path: path.join(cwd, 'table.yaml'), env: {} });
  const { data } = await prepareRun(config, () => undefined);
  return epochOrder(data.splits.train, { seed: config.seed, epoch: 0, shuffle: true });
}

/** The first position of the row. */
const POSITION = STEP * batchSize + SHARD * rowsPerShard + 2;

/** Asserts that the run ends for the shard with the row, and names all rows of the shards that it names. */
async function expectNamed({ command }: Run, order: Uint32Array, why: string): Promise<void> {
  const own = 'nor can the coordinator: error made by failpoint coordinator.compute';
  const { exitCode, stderr } = await command.finished;
  expect(exitCode, stderr).toBe(1);
  expect(stderr).not.toMatch(/unhandled|uncaught/i);
  const named =
    /error\[E_POISON_SHARD\]: no worker can train shards? (\d+)(?: to (\d+))? \(dataset rows ([\d, ]+)\): (.*)/;
  const [, from, to = from, rows, reason] = named.exec(stderr) ?? [];
  expect(reason).toBe(`${why}; ${own}`);
  expect(Number(from)).toBeLessThanOrEqual(SHARD);
  expect(Number(to)).toBeGreaterThanOrEqual(SHARD);
  const first = STEP * batchSize + Number(from) * rowsPerShard;
  const end = STEP * batchSize + (Number(to) + 1) * rowsPerShard;
  expect(rows).toBe(order.subarray(first, end).join(', '));
}

describe('a row on which kernels trap', () => {
  it('a row on which three workers and the coordinator fail ends the run with the name of its shard', async () => {
    const cwd = networkDirectory(CONFIG);
    const order = await orderOf(cwd);
    const failpoint = `coordinator.compute@row=${order[POSITION]}:throw`;
    const run = await startCoordinator({
      cwd,
      flags: ['--min-workers', '3'],
      cli: { env: { LOCKSTEP_FAILPOINT: failpoint } },
    });
    const env = { LOCKSTEP_FAILPOINT: `worker.thread@type=train@row=${order[POSITION]}:trap` };
    const workers = [1, 2, 3].map(() => startWorker(run, run.url, { env }));
    await expectNamed(run, order, 'memory access out of bounds');
    // The run can be resumed once the row is repaired: the workers wait for that.
    for (const worker of workers) {
      worker.signal('SIGTERM');
      expect((await worker.finished).exitCode).toBe(143);
    }
  });

  it('a row on which three workers fail, but not the coordinator, does not change the weights', async () => {
    const run = await startCoordinator({ config: CONFIG, flags: ['--min-workers', '3'] });
    const order = await orderOf(run.cwd);
    const env = { LOCKSTEP_FAILPOINT: `worker.thread@type=train@row=${order[POSITION]}:trap` };
    const workers = [1, 2, 3].map(() => startWorker(run, run.url, { env }));
    await expectUndisturbedEnd(run, CONFIG);
    expect(run.command.stderr).toMatch(/the coordinator computes shard \d itself/);
    for (const worker of workers) expect((await worker.finished).exitCode).toBe(0);
  });

  it('a row on which one worker of three fails does not change the weights', async () => {
    const run = await startCoordinator({ config: CONFIG, flags: ['--min-workers', '3'] });
    const order = await orderOf(run.cwd);
    // One of each shard of the first step, of which every worker gets some.
    const rows = Array.from({ length: shards }, (_, shard) => order[shard * rowsPerShard]);
    const env = { LOCKSTEP_FAILPOINT: rows.map((row) => `worker.thread@row=${row}:trap`).join() };
    const bad = startWorker(run, run.url, { env });
    const sound = [1, 2].map(() => startWorker(run));
    await expectUndisturbedEnd(run, CONFIG);
    expect(run.command.stderr).toMatch(/worker \d .* failed on a task: memory access out of bounds/);
    for (const worker of sound) expect((await worker.finished).exitCode).toBe(0);
    bad.signal('SIGTERM');
    await bad.finished;
  });
});

it('the coordinator computes an evaluation that no worker can compute, to the last bit', async () => {
  const cwd = longRun(CONFIG);
  const directory = path.join(cwd, 'run');
  const env = { LOCKSTEP_FAILPOINT: 'worker.thread@type=evaluate:throw' };
  const args = ['train', 'table.yaml', '--workers', '3', '--run-dir', directory];
  const command = CliProcess.start(args, { cwd, env });
  await expectUndisturbedEnd({ command, directory }, CONFIG);
  expect(command.stderr).toMatch(/the coordinator computes evaluation shard 0 itself/);
});

it('a row on which the threads of two local workers and the coordinator fail ends the run with the name of its shard', async () => {
  const cwd = longRun(CONFIG);
  const order = await orderOf(cwd);
  const directory = path.join(cwd, 'run');
  const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', directory];
  const own = `coordinator.compute@row=${order[POSITION]}:throw`;
  const env = { LOCKSTEP_FAILPOINT: `worker.thread@type=train@row=${order[POSITION]}:throw,${own}` };
  const command = CliProcess.start(args, { cwd, env });
  await expectNamed({ command, directory }, order, 'error made by failpoint worker.thread');
});
