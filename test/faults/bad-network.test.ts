// A worker behind a line that is slow and loses packets: whole runs in network namespaces. The weights
// are those of a run without a network, and a worker that is merely slow is not disconnected.
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { startOver, workerAt } from '../helpers/linked-run.ts';
import { Link, missingForNamespaces } from '../helpers/namespaces.ts';
import { readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const ethernet = missingForNamespaces(['tc', 'nft']);
const tunnel = missingForNamespaces(['socat']);

/** 267,521 parameters: 1.07 MB each way a step, 0.9 s at 10 Mbit/s. */
const MEGABYTE: Partial<ConfigInput> = {
  model: {
    layers: [
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
};

/** 117,889 parameters, which travel in one bucket: 9.4 s at 0.4 Mbit/s. */
const ONE_MESSAGE: Partial<ConfigInput> = {
  model: {
    layers: [
      { kind: 'dense', units: 256, activation: 'relu' },
      { kind: 'dense', units: 448, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
};

describe.skipIf(ethernet !== undefined)(
  `over a virtual Ethernet${ethernet === undefined ? '' : ` (not here: ${ethernet} missing)`}`,
  () => {
    it('a link of 10 Mbit/s that loses 1 % of its packets lets a slow and a fast worker finish without disconnecting either', async () => {
      const config = { ...MEGABYTE, epochs: 1 };
      const run = await startOver(Link.ethernet({ rate: '10mbit', lossPercent: 1 }), config);
      const slow = workerAt(run, 'worker');
      await run.command.untilStderr(/worker 1 .* joined/);
      const fast = workerAt(run, 'coordinator');
      await expectUndisturbedEnd(run, config);
      expect(readRosterEvents(run.directory).map((event) => event.split(' ')[0])).toEqual([
        ...['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft'],
      ]);
      expect((await slow.finished).exitCode).toBe(0);
      expect((await fast.finished).exitCode).toBe(0);
    });

    it('a link of 0.4 Mbit/s, where one message takes ten seconds, does not get the only worker disconnected', async () => {
      const config = { ...ONE_MESSAGE, batchSize: 900, epochs: 1 };
      const run = await startOver(Link.ethernet({ rate: '400kbit', lossPercent: 0 }), config);
      const worker = workerAt(run, 'worker');
      await expectUndisturbedEnd(run, config);
      expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
      expect((await worker.finished).exitCode).toBe(0);
    });
  },
);

describe.skipIf(tunnel !== undefined)(
  `over a tunnel${tunnel === undefined ? '' : ` (not here: ${tunnel} missing)`}`,
  () => {
    it('a tunnel of 10 Mbit/s with 50 ms each way and 1 % packet loss does not get any worker disconnected', async () => {
      const config = { ...MEGABYTE, epochs: 1 };
      const line = { delayMs: 50, loss: 0.01, bitsPerSecond: 10e6, seed: 1 };
      const run = await startOver(await Link.tunnel(line), config);
      const far = workerAt(run, 'worker');
      await run.command.untilStderr(/worker 1 .* joined/);
      const near = workerAt(run, 'coordinator');
      await expectUndisturbedEnd(run, config);
      expect(readRosterEvents(run.directory).map((event) => event.split(' ')[0])).toEqual([
        ...['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft'],
      ]);
      expect((await far.finished).exitCode).toBe(0);
      expect((await near.finished).exitCode).toBe(0);
    });
  },
);
