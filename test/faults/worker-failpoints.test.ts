// Workers that die, fail or make errors at a chosen place of a chosen step: the weights stay the same bits.
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { FAILPOINT_RUN, KILLED, expectSurvived, startFailing } from '../helpers/failpoint-run.ts';
import { readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

describe('a worker that fails during a run', () => {
  it.each<[string, string, RegExp]>([
    ['is killed before it computes a task', 'worker.beforeCompute@worker=1@step=7:kill', KILLED],
    [
      'is killed when it has sent only some buckets of a sum',
      'worker.afterCompute@worker=1@step=7@bucket=1:kill',
      KILLED,
    ],
    ['is killed when it has sent its whole task', 'worker.afterSend@worker=1@step=7:kill', KILLED],
    [
      'is killed in an evaluation',
      [1, 2].map((worker) => `worker.beforeCompute@worker=${worker}@type=evaluate:kill`).join(),
      KILLED,
    ],
    [
      'fails on a task',
      'worker.beforeCompute@worker=1@step=7:throw',
      /worker \d .* failed on a task: error made by failpoint worker\.beforeCompute/,
    ],
    [
      'misses a bucket of the weights and says so',
      'worker.stale@worker=1@version=7@bucket=1:skip',
      /worker \d .* left: round \d+ wants weights version 7, which is incomplete or has another fingerprint/,
    ],
    [
      'fails in the middle of sending a task',
      'worker.afterCompute@worker=1@step=7@bucket=1:throw',
      /worker \d .* failed on a task: error made by failpoint worker\.afterCompute/,
    ],
    ['is killed before its first message', 'worker.afterCompute@worker=1#1:kill', KILLED],
  ])('a worker that %s does not change the weights', async (_, failpoint, told) => {
    await expectSurvived(failpoint, told);
  });

  it('a worker that is killed in the middle of a step does not change weights of sums in bfloat16', async () => {
    const failpoint = 'worker.afterCompute@worker=1@step=7@bucket=1:kill';
    await expectSurvived(failpoint, KILLED, { ...FAILPOINT_RUN, wire: { gradients: 'bf16', groups: 4 } });
  });

  it('shards of sums in bfloat16 that no worker computes are computed by the coordinator to the same bits', async () => {
    const values: Partial<ConfigInput> = { ...FAILPOINT_RUN, wire: { gradients: 'bf16', groups: 4 } };
    const run = startFailing('worker.beforeCompute@step=7:throw', values);
    await expectUndisturbedEnd(run, values);
    expect(run.command.stderr).toMatch(/the coordinator computes shard \d itself/);
  });
});

it('a run whose workers keep dying at the same step ends and says how to resume', async () => {
  const { command } = startFailing('worker.beforeCompute@step=7:kill');
  const { exitCode, stderr } = await command.finished;
  expect(exitCode).toBe(7);
  expect(stderr.match(/SIGKILL; it is not started again/g)).toHaveLength(2);
  expect(stderr).toContain('to resume, give the same command with --resume last');
  expect(stderr).toContain(
    'error[E_NO_WORKERS]: every worker process has ended for good, the last one by SIGKILL',
  );
});

it('the run waits for a worker that pauses before every task for ten times its compute time', async () => {
  const run = startFailing('worker.beforeCompute@worker=1:sleep=100');
  await expectUndisturbedEnd(run, FAILPOINT_RUN);
  const events = readRosterEvents(run.directory);
  expect(events.filter((event) => event.startsWith('workerJoined'))).toHaveLength(2);
});
