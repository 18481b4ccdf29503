// Clocks that jump during a run: nothing in a run depends on the time of day.
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { MISSING_FAKETIME, fakeTime } from '../helpers/fake-time.ts';
import { startTraining, startWorker } from '../helpers/network-run.ts';
import { readRecords, readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const CONFIG = { epochs: 300 };

describe.skipIf(MISSING_FAKETIME !== '')(`the time of day${MISSING_FAKETIME}`, () => {
  it('a run is not disturbed when the clocks of the coordinator and a worker jump an hour back and 400 days ahead', async () => {
    const { file, env } = fakeTime();
    const run = await startTraining({ config: CONFIG, cli: { env, deadlineMs: 100_000 } });
    const second = startWorker(run, run.url, { env, deadlineMs: 100_000 });
    await run.command.untilStderr(/worker 2 .* joined/);
    for (const jump of ['-1h', '+400d']) {
      fs.writeFileSync(file, jump);
      await sleep(500);
    }
    await expectUndisturbedEnd(run, CONFIG);
    expect((await second.finished).exitCode).toBe(0);
    expect(readRosterEvents(run.directory).map((event) => event.split(' ')[0])).toEqual([
      ...['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft'],
    ]);
    // The clock did jump, in records that are only shown.
    const times = readRecords(run.directory, 'metrics.jsonl').map((record) => Number(record['_timestamp']));
    expect(Math.min(...times)).toBeLessThan(Date.now() / 1000 - 3000);
    expect(Math.max(...times)).toBeGreaterThan(Date.now() / 1000 + 399 * 86_400);
  });
});
