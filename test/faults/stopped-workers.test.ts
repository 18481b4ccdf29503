// Workers that are stopped until their coordinator gives them up, after 15 to 20 s: others compute their tasks,
// their late results are ignored, and they come back as soon as they can.
import { expect, it } from 'vitest';
import { startTraining, startWorker } from '../helpers/network-run.ts';
import { readRecords, readRosterEvents, workerPids } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const GIVEN_UP = /worker \d .* left: nothing was received for 15 s/;
const deadlineMs = 150_000;

function countSteps(directory: string): number {
  return readRecords(directory, 'events.jsonl').filter(({ type }) => type === 'stepDone').length;
}

async function oneOfTwo(): Promise<void> {
  // 450 steps that take 35 s, so that it can come back to them.
  const env = { LOCKSTEP_FAILPOINT: 'coordinator.afterStep:sleep=75' };
  const run = await startTraining({ cli: { env, deadlineMs } });
  const stopped = startWorker(run, run.url, { deadlineMs });
  await run.command.untilStderr(/worker 2 .* joined/);
  stopped.signal('SIGSTOP');
  const stepsBefore = countSteps(run.directory);
  await run.command.untilStderr(GIVEN_UP);
  const stepsMeanwhile = countSteps(run.directory) - stepsBefore;
  stopped.signal('SIGCONT');
  await run.command.untilStderr(/worker 2 .* left[\s\S]*worker 2 .* joined/);
  // It is alone from here on.
  run.worker.signal('SIGTERM');
  expect((await run.worker.finished).exitCode).toBe(143);
  await expectUndisturbedEnd(run);
  expect((await stopped.finished).exitCode).toBe(0);
  // It kept the dataset, and is one process.
  expect(workerPids(run.directory).get(2)).toBe(stopped.pid);
  expect(readRosterEvents(run.directory)).toEqual([
    ...['workerJoined 1', 'workerJoined 2', 'workerLeft 2', 'workerJoined 2', 'workerLeft 1', 'workerLeft 2'],
  ]);
  expect(stepsMeanwhile).toBeGreaterThan(50);
}

async function theOnlyOne(): Promise<void> {
  const run = await startTraining({ cli: { deadlineMs } });
  run.worker.signal('SIGSTOP');
  await run.command.untilStderr(GIVEN_UP);
  run.worker.signal('SIGCONT');
  await expectUndisturbedEnd(run);
  expect((await run.worker.finished).exitCode).toBe(0);
  expect(run.command.stderr).toContain('0 of 1 workers, waiting');
  expect(readRosterEvents(run.directory)).toEqual([
    ...['workerJoined 1', 'workerLeft 1', 'workerJoined 1', 'workerLeft 1'],
  ]);
}

it('a worker that is stopped until it is given up comes back and takes part again, with another one or alone', async () => {
  await Promise.all([oneOfTwo(), theOnlyOne()]);
});
