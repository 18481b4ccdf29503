// Workers that serve other workers: the same bits as in a star, whoever of the tree dies, hangs or lies, and
// whoever cannot be reached; and the coordinator's own traffic is that of its fan-in.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess } from '../helpers/cli.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { bansOf } from '../helpers/lying-relay.ts';
import { LIES } from '../helpers/made-up.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { expectUndisturbed, RESUMABLE, trainResumable, trainUntilKilled } from '../helpers/resumable-run.ts';
import { until, untilEpoch, untilJoined, untilSaved, workerPids } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS } from '../helpers/same-bits.ts';
import { tableRun } from '../helpers/table-run.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';

/** What the coordinator and an aggregator log when a worker joins them. */
const JOINED = /worker \d+ \(.*\) joined/g;

const SMALL_TREE = ['--topology', 'tree', '--fan-in', '2'];

/** A worker that takes others. */
function startListener(run: NetworkRun, env: Readonly<Record<string, string>> = {}): CliProcess {
  const options = { cwd: run.cwd, env: { LOCKSTEP_TOKEN: TOKEN, ...env } };
  return CliProcess.start(['worker', run.url, '--listen', '127.0.0.1:0'], options);
}

/** A coordinator with so many workers in a tree of fan-in 2, once all have joined and it has trained for an epoch. */
async function startTree(
  count: number,
  flags: readonly string[] = [],
): Promise<NetworkRun & { readonly workers: readonly CliProcess[] }> {
  const run = await startCoordinator({ flags: [...SMALL_TREE, '--min-workers', String(count), ...flags] });
  const workers = Array.from({ length: count }, () => startListener(run));
  const countJoined = (): number =>
    [run.command, ...workers].flatMap(({ stderr }) => stderr.match(JOINED) ?? []).length;
  // Where fewer suffice, the last ones may join after the first epoch.
  await until(() => countJoined() >= count, run.command, `${count} workers joined`);
  await untilEpoch(run.command, run.directory, 1);
  return { ...run, workers };
}

/** The workers that others are below, and those that are below one. */
function byPlace(workers: readonly CliProcess[]): { aggregators: CliProcess[]; others: CliProcess[] } {
  const isAggregator = ({ stderr }: CliProcess): boolean => stderr.search(JOINED) >= 0;
  return {
    aggregators: workers.filter(isAggregator),
    others: workers.filter((worker) => !isAggregator(worker)),
  };
}

const first = (processes: readonly CliProcess[]): CliProcess => {
  const [process] = processes;
  if (!process) throw new Error('there is no such worker');
  return process;
};

/** A coordinator with two workers, which waits for others, and the address of the first worker. */
async function startFork({
  config = {},
  minWorkers,
}: {
  readonly config?: Partial<ConfigInput>;
  readonly minWorkers: number;
}): Promise<NetworkRun & { readonly aggregator: CliProcess; readonly below: string }> {
  const flags = [...SMALL_TREE, '--min-workers', String(minWorkers)];
  const run = await startCoordinator({ config, flags });
  const aggregator = startListener(run);
  await untilJoined(run.command, run.directory, 1);
  startWorker(run);
  await untilJoined(run.command, run.directory, 2);
  const guest = await FakeWorker.greet({ url: run.url, token: TOKEN }, await honestHello());
  return { ...run, aggregator, below: (await guest.next('redirect')).message.url };
}

describe('a tree of workers', () => {
  it('a tree of three levels gives the same bits as one thread, also in evaluations', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, epochs: 2 });
    await expectSameBits('table.yaml', ['shards=32'], cwd, ['workers 7 --topology tree --fan-in 2']);
  });

  it('sums in bfloat16 have the same bits in a tree as on one thread', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, epochs: 1 });
    const settings = ['shards=13', 'wire.gradients=bf16', 'wire.groups=4'];
    await expectSameBits('table.yaml', settings, cwd, ['workers 5 --topology tree --fan-in 2']);
  });

  it('statistics, averaged weights and clipping by norm give the same bits in a tree, also of two threads a worker', async () => {
    const layers = [
      { kind: 'dense' as const, units: 48, activation: 'relu' as const },
      { kind: 'batchNorm' as const },
      { kind: 'dense' as const, units: 1 },
    ];
    const cwd = tableRun({ data: FEW_PLOTS, model: { layers }, clip: { norm: 0.5 }, ema: { decay: 0.9 } });
    await expectSameBits('table.yaml', [], cwd, [
      'workers 5 --topology tree --fan-in 2',
      'workers 3 --threads 2 --topology tree --fan-in 2',
    ]);
  });

  it('a tree that is killed between two checkpoints resumes to the same bits as another tree', async () => {
    const cwd = tableRun(RESUMABLE);
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=17', ['--workers', '5', ...SMALL_TREE]);
    const other = ['--workers', '3', '--threads', '2', ...SMALL_TREE, '--resume', 'last'];
    expect(await trainResumable(cwd, other)).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
  });

  it('the coordinator serves as many workers as its fan-in, and counts all of them', async () => {
    const run = await startTree(6);
    expect(workerPids(run.directory).size).toBe(2);
    expect(byPlace(run.workers).aggregators).toHaveLength(2);
    await expectUndisturbedEnd(run);
    expect(run.command.stderr).toMatch(/6 workers/);
    for (const worker of run.workers) {
      const { exitCode, stderr } = await worker.finished;
      expect({ exitCode, stderr }).toEqual({
        exitCode: 0,
        stderr: expect.stringMatching(/done: the run is finished/) as string,
      });
    }
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)(
    'the workers below an aggregator that gets %s come back, and the bits stay the same',
    async (signal) => {
      const run = await startTree(5, ['--min-workers', '3']);
      const aggregator = first(byPlace(run.workers).aggregators);
      aggregator.signal(signal);
      await expectUndisturbedEnd(run);
      aggregator.signal('SIGKILL');
    },
  );

  it('a worker that dies below an aggregator costs nothing but its work', async () => {
    const run = await startTree(5, ['--min-workers', '3']);
    const before = workerPids(run.directory).size;
    first(byPlace(run.workers).others).signal('SIGKILL');
    await expectUndisturbedEnd(run);
    expect(workerPids(run.directory).size).toBe(before);
  });

  it('an aggregator disconnects workers whose sums cannot be right, and the bits stay the same', async () => {
    // Enough shards that everybody has some in the first step, which begins when all are there.
    const config = { shards: 32 };
    const run = await startFork({ config, minWorkers: 5 });
    const lies = [
      LIES['a gradient whose bytes changed on the way'],
      LIES['a gradient that is too short'],
      LIES['a node that the tree does not have'],
    ];
    const tellLie = async ({ answer, reason }: (typeof lies)[number]): Promise<void> => {
      const liar = await FakeWorker.join({ url: run.below, token: TOKEN });
      liar.sendBytes(answer((await liar.next('train')).message));
      expect((await liar.ended).reason).toMatch(reason);
    };
    await Promise.all(lies.map(tellLie));
    for (let count = 0; count < 3; count++) startWorker(run);
    await expectUndisturbedEnd(run, config);
    expect((await run.aggregator.finished).exitCode).toBe(0);
  });

  it('an aggregator keeps nothing open of fifty workers that came and went', async () => {
    const run = await startFork({ minWorkers: 3 });
    const numOpen = (): number => fs.readdirSync(`/proc/${run.aggregator.pid}/fd`).length;
    const join = (): Promise<FakeWorker> => FakeWorker.join({ url: run.below, token: TOKEN });
    await (await join()).leave();
    // What it keeps for all of them is open since the first one.
    const before = numOpen();
    for (let count = 0; count < 25; count++) {
      const leaving = await join();
      (await join()).terminate();
      await leaving.leave();
    }
    while (numOpen() > before) await sleep(10);
    startWorker(run);
    await expectUndisturbedEnd(run);
  });

  it('a tree forms again when its coordinator was killed and resumes', async () => {
    const run = await startTree(5);
    await untilSaved(run.command, run.directory);
    run.command.signal('SIGKILL');
    await run.command.finished;
    const port = Number(new URL(run.url).port);
    const flags = [...SMALL_TREE, '--min-workers', '5', '--resume', 'last'];
    const resumed = await startCoordinator({ cwd: run.cwd, port, flags });
    await expectUndisturbedEnd(resumed);
    for (const worker of run.workers) expect((await worker.finished).exitCode).toBe(0);
  });

  it('workers come back to the coordinator from an aggregator that cannot be reached', async () => {
    const run = await startCoordinator({ flags: [...SMALL_TREE, '--min-workers', '3'] });
    // Discard: nothing listens there.
    const hello = { ...(await honestHello()), listen: { port: 9 } };
    for (let place = 0; place < 2; place++) await FakeWorker.greet({ url: run.url, token: TOKEN }, hello);
    const workers = [startListener(run), startListener(run), startListener(run)];
    await expectUndisturbedEnd(run);
    expect(workers.map(({ stderr }) => stderr).join()).toMatch(
      /nothing listens at .*:9 .*; going back to the/,
    );
  });

  it.each([
    ['is wrong', 'one', ['--set', 'audit=1'], 45],
    // Long enough that the worker comes back, and is wrong once more.
    ['is not a number', 'nan', [], 150],
  ])(
    'a gradient that %s is found though it came through an aggregator, and its worker is banned',
    async (_, action, flags, epochs) => {
      const minimum = ['--min-workers', '4'];
      const run = await startCoordinator({
        config: { epochs },
        flags: [...SMALL_TREE, ...minimum, ...flags],
      });
      const above = [startListener(run), startListener(run)];
      for (const worker of above) await worker.untilStderr(/connected to/);
      const liar = startListener(run, { LOCKSTEP_FAILPOINT: `worker.gradient:${action}` });
      // It takes part from the first step on, which waits for the others.
      await liar.untilStderr(/connected to[^]*connected to/);
      const others = [startListener(run), startListener(run)];
      await expectUndisturbedEnd(run, { epochs });
      expect(bansOf(run).at(-1)).toMatchObject({ mayReturn: false });
      expect((await liar.finished).exitCode).toBe(5);
      for (const worker of [...above, ...others]) expect((await worker.finished).exitCode).toBe(0);
    },
  );

  it('a local cluster in a tree survives the death of any of its workers', async () => {
    const cwd = longRun();
    const directory = path.join(cwd, 'run');
    const flags = ['--workers', '6', ...SMALL_TREE, '--run-dir', directory];
    const command = CliProcess.start(['train', 'table.yaml', ...flags], { cwd });
    await untilEpoch(command, directory, 1);
    // Whichever number it has: those that were sent on have some, too.
    const [pid] = workerPids(directory).values();
    process.kill(pid as number, 'SIGKILL');
    await expectUndisturbedEnd({ command, directory });
    expect(command.stderr).toMatch(/worker \d+ .* ended: SIGKILL; starting it again/);
  });
});
