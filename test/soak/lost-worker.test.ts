// The cost of losing a worker: one of two is killed in the middle of a step, again and again. The steps are
// those of a run in one process, and the test prints how much longer each step took that was hit.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { chainAfter } from '../helpers/in-process-training.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import { readRecords } from '../helpers/run-records.ts';
import { seededRandom } from '../helpers/seeded-random.ts';

const NUM_KILLS = 12;
/** Steps of some 70 ms on two cores, of which one worker computes a half. */
const WIDE = {
  model: {
    layers: [
      { kind: 'dense', units: 1024, activation: 'relu' },
      { kind: 'dense', units: 1024, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
  batchSize: 400,
  checkpoint: false,
} satisfies Partial<ConfigInput>;
/** Steps before a kill whose median says how long one takes. */
const NUM_QUIET = 8;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** For each kill the time of the step that it hit, and the median of those before. */
function hitSteps(
  kills: readonly number[],
  stepTimes: readonly number[],
): { readonly hitMs: number; readonly quietMs: number }[] {
  const durations = stepTimes.map((time, index) => time - (stepTimes[index - 1] ?? Number.NaN));
  return kills.map((killedMs) => {
    const hit = stepTimes.findIndex((time) => time > killedMs);
    return {
      hitMs: durations[hit] ?? Number.NaN,
      quietMs: median(durations.slice(Math.max(1, hit - NUM_QUIET), hit)),
    };
  });
}

describe('a worker that is killed in the middle of a step', () => {
  it(
    'a worker that is killed in the middle of a step costs the time of its unfinished shards',
    { timeout: 5 * 60_000 },
    async () => {
      const random = seededRandom(1);
      const cli = { deadlineMs: 4 * 60_000 };
      const run = await startCoordinator({ config: WIDE, flags: ['--set', 'epochs=1000000'], cli });
      const kills: number[] = [];
      startWorker(run, run.url, cli);
      for (let count = 1; count <= NUM_KILLS; count++) {
        const victim = startWorker(run, run.url, cli);
        await run.command.untilStderr(new RegExp(`worker ${count + 1} .* joined`));
        await sleep(2_000 + 200 * random());
        kills.push(Date.now());
        victim.signal('SIGKILL');
        // The next one starts when this is over: its start takes the processor, too.
        await sleep(1_000);
      }
      run.command.signal('SIGINT');
      expect(await run.command.finished).toMatchObject({ exitCode: 130 });

      const steps = readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'stepDone');
      const last = steps.at(-1);
      expect(last?.['chain']).toBe(await chainAfter(run.cwd, Number(last?.['step'])));
      const hits = hitSteps(
        kills,
        steps.map(({ time }) => Date.parse(String(time))),
      );
      const extraMs = hits.map(({ hitMs, quietMs }) => hitMs - quietMs);
      expect(extraMs.every(Number.isFinite)).toBe(true);
      process.stderr.write(
        `${NUM_KILLS} kills: a step takes ${median(hits.map(({ quietMs }) => quietMs))} ms; ` +
          `one that is hit, with the half of the lost worker, ${median(extraMs)} ms more (median), ${Math.max(...extraMs)} ms (worst)\n`,
      );
    },
  );
});
