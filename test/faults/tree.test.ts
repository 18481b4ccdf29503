// Workers that serve other workers: the same bits as in a star, whoever of the tree dies, hangs or lies, and
// whoever cannot be reached; and the coordinator's own traffic is that of its fan-in.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CliProcess } from '../helpers/cli.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { bansOf } from '../helpers/lying-relay.ts';
import { startCoordinator, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { untilEpoch, untilSaved, workerPids } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS } from '../helpers/same-bits.ts';
import { tableRun } from '../helpers/table-run.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';

const SMALL_TREE = ['--topology', 'tree', '--fan-in', '2'];

/** A worker that takes others. */
function startListener(run: NetworkRun, env: Readonly<Record<string, string>> = {}): CliProcess {
  const options = { cwd: run.cwd, env: { LOCKSTEP_TOKEN: TOKEN, ...env } };
  return CliProcess.start(['worker', run.url, '--listen', '127.0.0.1:0'], options);
}

/** A coordinator with so many workers in a tree of fan-in 2, once it has trained for an epoch. */
async function startTree(
  count: number,
  flags: readonly string[] = [],
): Promise<NetworkRun & { readonly workers: readonly CliProcess[] }> {
  const run = await startCoordinator({ flags: [...SMALL_TREE, '--min-workers', String(count), ...flags] });
  const workers = Array.from({ length: count }, () => startListener(run));
  await untilEpoch(run.command, run.directory, 1);
  return { ...run, workers };
}

/** The workers that others are below, and those that are below one. */
function byPlace(workers: readonly CliProcess[]): { aggregators: CliProcess[]; others: CliProcess[] } {
  const isAggregator = ({ stderr }: CliProcess): boolean => /worker \d+ \(.*\) joined/.test(stderr);
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
    process.kill(workerPids(directory).get(1) as number, 'SIGKILL');
    await expectUndisturbedEnd({ command, directory });
    expect(command.stderr).toMatch(/worker process \d .* ended: SIGKILL; starting it again/);
  });
});
