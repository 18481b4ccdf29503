// Workers that run out of memory, killed by the kernel or aborted by V8: a single one does not change the
// weights, and shards for which no worker has the memory end the run with their names.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CliProcess } from '../helpers/cli.ts';
import type { CliOptions } from '../helpers/cli.ts';
import { ControlGroup, missingForControlGroup } from '../helpers/control-group.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import { readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';
import type { Run } from '../helpers/undisturbed.ts';

const CONFIG = { epochs: 4 };
/** 60 steps that take 6 s, so that a worker dies before the run ends. */
const SLOWLY = 'coordinator.afterStep:sleep=100';
/** More than any process here may have. */
const FILL = 'fill=512';
/** For a coordinator and three workers that do not fill it. */
const GROUP_MEBIBYTES = 450;
/** V8 then leaves a full group to the kernel. */
const LARGE_HEAP = '--max-old-space-size=4096';
const SMALL_HEAP = '--max-old-space-size=128';
const ABORTED = /worker \d+ \(pid \d+\) ended: SIGABRT, out of memory; starting it again/;
const KILLED = /worker \d+ \(pid \d+\) ended: SIGKILL, out of memory; starting it again/;
const NEEDS_MEMORY =
  /error\[E_SHARD_MEMORY\]: no worker has the memory to train shards? \d+(?: to \d+)? \(dataset rows \d+(?:, \d+)+\): the worker process ended for lack of memory/;

const missing = missingForControlGroup('memory');
const where = missing === undefined ? '' : ` (not here: ${missing} missing)`;

/** A coordinator and three workers of its own. */
function startLocal(failpoint: string, heap: string, through?: CliOptions['through']): Run {
  const cwd = longRun(CONFIG);
  const directory = path.join(cwd, 'run');
  const args = ['train', 'table.yaml', '--workers', '3', '--run-dir', directory];
  const env = { LOCKSTEP_FAILPOINT: `${failpoint},${SLOWLY}`, NODE_OPTIONS: heap };
  return { command: CliProcess.start(args, { cwd, env, ...(through && { through }) }), directory };
}

async function expectNamedShards({ command }: Run, killed: RegExp): Promise<void> {
  const { exitCode, stderr } = await command.finished;
  expect(exitCode, stderr).toBe(1);
  expect(stderr).toMatch(killed);
  expect(stderr).toMatch(NEEDS_MEMORY);
}

describe('a local worker whose heap is full', () => {
  it('a local worker whose heap is full is aborted and does not change the weights', async () => {
    const run = startLocal(`worker.beforeCompute@worker=2@type=train#1:${FILL}`, SMALL_HEAP);
    await expectUndisturbedEnd(run, CONFIG);
    expect(run.command.stderr).toMatch(ABORTED);
    expect(readRosterEvents(run.directory)).toContain('workerLeft 2');
  });

  it('two local workers that fill their heaps with the same shards end the run with the names of those', async () => {
    await expectNamedShards(startLocal(`worker.beforeCompute@step=7:${FILL}`, SMALL_HEAP), ABORTED);
  });
});

describe.skipIf(missing !== undefined)(`a worker in a small control group${where}`, () => {
  it('the kernel kills a worker before the larger coordinator in its group, and the weights are the same', async () => {
    const large = 'coordinator.afterStep@step=1:fill=250';
    const failpoint = `${large},worker.beforeCompute@worker=2@type=train#2:${FILL}`;
    const run = startLocal(failpoint, LARGE_HEAP, ControlGroup.ofMemory(GROUP_MEBIBYTES + 150).through);
    await expectUndisturbedEnd(run, CONFIG);
    expect(run.command.stderr).toMatch(KILLED);
    expect(readRosterEvents(run.directory)).toContain('workerLeft 2');
  });

  it('two workers that the kernel kills over the same shards end the run with the names of those', async () => {
    const failpoint = `worker.beforeCompute@step=7:${FILL}`;
    await expectNamedShards(
      startLocal(failpoint, LARGE_HEAP, ControlGroup.ofMemory(GROUP_MEBIBYTES).through),
      KILLED,
    );
  });

  it('the kernel kills a worker in a group of its own, and the others continue to the same weights', async () => {
    const run = await startCoordinator({
      config: CONFIG,
      flags: ['--min-workers', '3'],
      cli: { env: { LOCKSTEP_FAILPOINT: SLOWLY } },
    });
    const env = { NODE_OPTIONS: LARGE_HEAP, LOCKSTEP_FAILPOINT: `worker.beforeCompute@type=train#1:${FILL}` };
    const small = startWorker(run, run.url, { env, through: ControlGroup.ofMemory(256).through });
    const sound = [1, 2].map(() => startWorker(run));
    // The shell would say 137.
    expect((await small.finished).exitCode).toBe(null);
    sound.push(startWorker(run));
    await expectUndisturbedEnd(run, CONFIG);
    for (const worker of sound) expect((await worker.finished).exitCode).toBe(0);
  });
});
