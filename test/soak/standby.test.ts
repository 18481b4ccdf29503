// A run whose coordinator is killed twenty times, while a standby waits each time.
import { expect, it } from 'vitest';
import { killLeaders, outagesMs, standbyRun, startFollower, takeovers } from '../helpers/standby-run.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const NUM_KILLS = 20;
const MINUTES = 6;
/** 30,000 steps. */
const CONFIG = { epochs: 2000, checkpoint: { everySteps: 20 } };

it(
  `a run whose leader is killed ${NUM_KILLS} times ends as one to which nothing happened`,
  { timeout: MINUTES * 60_000 },
  async () => {
    const run = await standbyRun(CONFIG, { deadlineMs: MINUTES * 60_000 });
    const worker = startFollower(run);
    const leader = await killLeaders(run, NUM_KILLS);
    await expectUndisturbedEnd({ command: leader, directory: run.directory }, CONFIG);
    expect((await worker.finished).exitCode).toBe(0);
    expect(takeovers(run)).toHaveLength(NUM_KILLS);
    const outages = outagesMs(run).toSorted((a, b) => a - b);
    process.stderr.write(
      `outage of ${outages.length} kills: median ${outages[outages.length >> 1]} ms, worst ${outages.at(-1)} ms\n`,
    );
    expect(outages.at(-1)).toBeLessThan(15_000);
  },
);
