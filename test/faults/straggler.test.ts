// A worker that becomes ten times slower than the others in the middle of a run, and fast again, over and
// over: it gets as much as it can compute in time, and steps take about as long as before.
import { describe, expect, it } from 'vitest';
import { ControlGroup, missingForControlGroup } from '../helpers/control-group.ts';
import { FAILPOINT_RUN } from '../helpers/failpoint-run.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { countEpochs, readRecords, readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** Three steps an epoch, of 0.5 GFLOP each; shards are small enough for a slow worker to be of some use. */
const CONFIG = { ...FAILPOINT_RUN, epochs: 32, batchSize: 300, shards: 32 };
const STEPS_PER_EPOCH = 3;
const PHASE_EPOCHS = 8;
/** Share of a core: at most a tenth of another worker's on two busy cores, and less on idle ones. */
const SLOW_SHARE = 0.02;
/**
 * Ratio of step times with and without a straggler: measured 0.9 to 1.3; 6.4 if all wait for an equal share
 * of it.
 */
const MAX_RATIO = 3;
const deadlineMs = 170_000;

const missing = missingForControlGroup('cpu');

/** Milliseconds of the steps in epochs [from, to), without the first of each, which follows a validation. */
function stepTimes({ directory }: NetworkRun, from: number, to: number): number[] {
  const ends = readRecords(directory, 'events.jsonl')
    .filter(({ type }) => type === 'stepDone')
    .map(({ time }) => Date.parse(String(time)));
  return ends
    .slice(from * STEPS_PER_EPOCH, to * STEPS_PER_EPOCH)
    .flatMap((end, index, all) => (index % STEPS_PER_EPOCH === 0 ? [] : end - (all[index - 1] as number)));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

describe.skipIf(missing !== undefined)(
  `a worker that becomes slow now and then${missing === undefined ? '' : ` (not here: ${missing} missing)`}`,
  () => {
    it('a worker that becomes slow now and then does not delay the two others or change the weights', async () => {
      const run = await startCoordinator({
        config: CONFIG,
        flags: ['--min-workers', '3'],
        cli: { deadlineMs },
      });
      const group = ControlGroup.ofCpu();
      const straggler = startWorker(run, run.url, { through: group.through, deadlineMs });
      const others = [1, 2].map(() => startWorker(run, run.url, { deadlineMs }));
      const times: { readonly fast: number[]; readonly slow: number[] } = { fast: [], slow: [] };
      for (let phase = 0; phase < CONFIG.epochs / PHASE_EPOCHS; phase++) {
        const isSlow = phase % 2 === 1;
        group.limitCpu(isSlow ? SLOW_SHARE : 1);
        const began = countEpochs(run.directory) + 1;
        const end = PHASE_EPOCHS * (phase + 1);
        await untilEpoch(run.command, run.directory, end);
        times[isSlow ? 'slow' : 'fast'].push(...stepTimes(run, began, end));
      }
      group.limitCpu(1);
      await expectUndisturbedEnd(run, CONFIG);
      for (const worker of [straggler, ...others]) expect((await worker.finished).exitCode).toBe(0);
      expect(
        readRosterEvents(run.directory).filter((event) => event.startsWith('workerJoined')),
      ).toHaveLength(3);
      expect(median(times.slow) / median(times.fast)).toBeLessThan(MAX_RATIO);
    });
  },
);
