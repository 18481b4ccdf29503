// All workers killed at once, and none that joins: the run saves its state, exits with 7, and resumes from
// there.
import { expect, it } from 'vitest';
import { inPairs } from '../helpers/cli.ts';
import { FAILPOINT_RUN } from '../helpers/failpoint-run.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import { listCheckpoints, readRecords } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** Moments at which two workers are killed, and the steps that are done by then. */
const DEATHS = [
  // The last of three buckets is there, and so is its part of the next weights: neither may be saved.
  { failpoint: 'worker.afterCompute@step=22@bucket=1:kill', steps: 22 },
  // Averaged weights have taken the place of those that training moves.
  { failpoint: 'worker.beforeCompute@type=evaluate:kill', steps: 15 },
];

async function expectSavedAt({ failpoint, steps }: (typeof DEATHS)[number]): Promise<void> {
  // Two workers may take that long to start, too.
  const flags = ['--min-workers', '2', '--wait-for-workers', '10'];
  const run = await startCoordinator({ config: FAILPOINT_RUN, flags });
  const env = { LOCKSTEP_FAILPOINT: failpoint };
  const workers = [1, 2].map(() => startWorker(run, run.url, { env }));
  const { exitCode, stderr } = await run.command.finished;
  expect(exitCode, stderr).toBe(7);
  expect(stderr).toMatch(/error\[E_NO_WORKERS\]: no worker joined within 10 s/);
  for (const worker of workers) expect((await worker.finished).exitCode).toBe(null);
  expect(listCheckpoints(run.directory)).toContain(`step-0000000${steps}.safetensors`);

  const again = await startCoordinator({ cwd: run.cwd, flags: ['--resume', 'last'] });
  const late = startWorker(again);
  await expectUndisturbedEnd(again, FAILPOINT_RUN);
  expect((await late.finished).exitCode).toBe(0);
  const resumed = readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'runResumed');
  expect(resumed).toMatchObject([{ step: steps }]);
}

it('a run whose workers are all killed, in a step or in a validation, is saved there and resumes to the same weights', async () => {
  await inPairs(DEATHS, expectSavedAt);
});
