// Workers that join in crowds, that come and go, and that stop reading: the coordinator's memory stays
// bounded, and the weights stay the same bits.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startCuttingProxy } from '../helpers/cutting-proxy.ts';
import { FakeWorker } from '../helpers/fake-worker.ts';
import { residentMegabytes } from '../helpers/memory-of.ts';
import { startCoordinator, startTraining, startWorker, TOKEN } from '../helpers/network-run.ts';
import { countEpochs, readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** 4,215,809 parameters: 16.1 MiB. */
const LARGE: Partial<ConfigInput> = {
  epochs: 3,
  model: {
    layers: [
      { kind: 'dense', units: 2048, activation: 'relu' },
      { kind: 'dense', units: 2048, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
};
const MODEL_MEGABYTES = 16.1;
const deadlineMs = 120_000;
/** Nine seconds, in which workers come and go. */
const LONG = { cli: { env: { LOCKSTEP_FAILPOINT: 'coordinator.afterStep:sleep=20' }, deadlineMs } };

describe('a coordinator', () => {
  it('a coordinator sends the weights to 50 workers that join at once from one buffer', async () => {
    const run = await startCoordinator({ config: LARGE, cli: { deadlineMs } });
    startWorker(run, run.url, { deadlineMs });
    await run.command.untilStderr(/worker 1 .* joined/);
    const before = residentMegabytes(run.command.pid, 'now');
    const options = { url: run.url, token: TOKEN };
    const crowd = await Promise.all(Array.from({ length: 50 }, () => FakeWorker.join(options)));
    await run.command.untilStderr(/worker 51 .* joined/);
    const growth = residentMegabytes(run.command.pid, 'peak') - before;
    // All of them are given tasks; none computes any.
    await Promise.race(crowd.map((worker) => worker.next('train')));
    await Promise.all(crowd.map((worker) => worker.leave()));
    await expectUndisturbedEnd(run, LARGE);
    // A copy for each would be 50. Some versions are made while they join, and the heap may be due for a
    // collection.
    expect(growth).toBeLessThan(30 * MODEL_MEGABYTES);
  });

  it('a coordinator drops a stopped worker before its queued messages fill the memory, and accepts it again', async () => {
    // After the first of three epochs there is time for 15 to 20 s of silence.
    const env = { LOCKSTEP_FAILPOINT: 'coordinator.afterStep:sleep=700' };
    // Weights in a file would wait for nobody.
    const flags = ['--no-shared-memory'];
    const run = await startCoordinator({ config: LARGE, flags, cli: { env, deadlineMs } });
    const stopped = startWorker(run, run.url, { deadlineMs });
    const other = startWorker(run, run.url, { deadlineMs });
    await untilEpoch(run.command, run.directory, 1);
    const before = residentMegabytes(run.command.pid, 'now');
    stopped.signal('SIGSTOP');
    await run.command.untilStderr(
      /left: (?:does not read: \d+ bytes are queued for it|nothing was received for 15 s)/,
    );
    const growth = residentMegabytes(run.command.pid, 'peak') - before;
    stopped.signal('SIGCONT');
    await run.command.untilStderr(/ left: [\s\S]*worker \d .* joined/);
    await expectUndisturbedEnd(run, LARGE);
    expect(growth).toBeLessThan(64 + 6 * MODEL_MEGABYTES + 100);
    await other.finished;
    stopped.signal('SIGTERM');
    expect([0, 143]).toContain((await stopped.finished).exitCode);
  });

  it('a worker that comes and goes every second does not delay the others', async () => {
    const run = await startTraining(LONG);
    const options = { url: run.url, token: TOKEN };
    for (let visit = 0; visit < 6; visit++) {
      const flapping = await FakeWorker.join(options);
      await sleep(1000);
      flapping.terminate();
    }
    await expectUndisturbedEnd(run);
  });

  it('a worker that joins at any moment receives the weights of that moment', async () => {
    const run = await startTraining(LONG);
    const workers = [];
    for (const waitMs of [130, 710, 290]) {
      await sleep(waitMs);
      workers.push(startWorker(run, run.url, { deadlineMs }));
    }
    await run.command.untilStderr(/worker 4 .* joined/);
    run.worker.signal('SIGTERM');
    await expectUndisturbedEnd(run);
    for (const worker of workers) expect((await worker.finished).exitCode).toBe(0);
  });

  it('a coordinator ignores partial messages of connections that break after any byte', async () => {
    const config = { epochs: 60 };
    const run = await startTraining({ config, cli: { deadlineMs } });
    // Within the HTTP request, within "hello", between messages, within gradients of 2,724 bytes.
    const limits = [1, 200, 300, 500, 801, 1000, 1500, 3000, 5001, 9000];
    const proxy = await startCuttingProxy(run.url, limits);
    const workers = [1, 2, 3].map(() => startWorker(run, proxy, { deadlineMs }));
    await run.command.untilStderr(/worker \d+ .* did not join|worker [2-9] .* left/);
    await untilEpoch(run.command, run.directory, Math.min(59, countEpochs(run.directory) + 20));
    await expectUndisturbedEnd(run, config);
    for (const worker of workers) {
      worker.signal('SIGTERM');
      expect([0, 143]).toContain((await worker.finished).exitCode);
    }
  });
});

describe('workers that are all killed at once', () => {
  it('a run whose workers are all killed at once waits for new ones, which continue where the others stopped', async () => {
    const run = await startTraining(LONG);
    const second = startWorker(run, run.url, { deadlineMs });
    await run.command.untilStderr(/worker 2 .* joined/);
    run.worker.signal('SIGKILL');
    second.signal('SIGKILL');
    await run.command.untilStderr(/0 of 1 workers, waiting/);
    startWorker(run, run.url, { deadlineMs });
    await expectUndisturbedEnd(run);
    expect(readRosterEvents(run.directory)).toContain('workerJoined 3');
  });
});
