// Runs by TLS, with an authority of their own and certificates of both ends, over lines that are slow, lose
// packets, or are cut: the weights are those of a run without a network, and nobody is given up who is only slow.
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { Authority, hasOpenssl } from '../helpers/certificates.ts';
import type { Certificate } from '../helpers/certificates.ts';
import type { CliProcess } from '../helpers/cli.ts';
import { startOver, workerAt } from '../helpers/linked-run.ts';
import type { LinkedRun } from '../helpers/linked-run.ts';
import { Link, missingForNamespaces } from '../helpers/namespaces.ts';
import type { Cut } from '../helpers/namespaces.ts';
import { readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const ethernet = hasOpenssl ? missingForNamespaces(['tc', 'nft']) : 'openssl';
const tunnel = hasOpenssl ? missingForNamespaces(['socat']) : 'openssl';
const TIMEOUT_MS = 180_000;

/** 267,521 parameters: 1.07 MB each way a step, 0.9 s at 10 Mbit/s. */
const MEGABYTE: Partial<ConfigInput> = {
  epochs: 1,
  model: {
    layers: [
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
};

let authority: Authority;

/** The files of one end. */
const filesOf = ({ certFile, keyFile }: Certificate): string[] => [
  ...['--tls-cert', certFile, '--tls-key', keyFile],
  ...['--tls-ca', authority.file],
];

/** A coordinator with a certificate for its name alone, which wants certificates. */
function startSecurely(link: Link, config: Partial<ConfigInput> = {}): Promise<LinkedRun> {
  return startOver(link, config, filesOf(authority.sign(`DNS:${link.coordinator.name}`)));
}

/** A worker with a certificate, which finds the coordinator by its name. */
function secureWorkerAt(run: LinkedRun, end: 'worker' | 'coordinator'): CliProcess {
  const url = `wss://${run.link.coordinator.name}:${new URL(run.url).port}`;
  return workerAt(run, end, { url, flags: filesOf(authority.sign(`DNS:${run.link[end].name}`)) });
}

beforeAll(() => {
  if (!hasOpenssl) return undefined;
  const directory = fs.mkdtempSync('/tmp/lockstep-links-');
  authority = new Authority(directory);
  return () => fs.rmSync(directory, { recursive: true });
});

describe.skipIf(ethernet !== undefined)(
  `TLS over a virtual Ethernet${ethernet === undefined ? '' : ` (not here: ${ethernet} missing)`}`,
  { timeout: TIMEOUT_MS },
  () => {
    it.each<Cut>(['both ways', 'towards the coordinator', 'towards the worker'])(
      'a worker whose secure link is cut %s is given up and comes back when the link is restored',
      async (how) => {
        const run = await startSecurely(Link.ethernet({ rate: '100mbit', lossPercent: 0 }));
        const worker = secureWorkerAt(run, 'worker');
        await run.command.untilStderr(/worker 1 .* joined/);
        run.link.cut(how);
        await run.command.untilStderr(/worker 1 .* left: /);
        await run.command.untilStderr(/0 of 1 workers, waiting/);
        await sleep(1000);
        run.link.heal();
        await expectUndisturbedEnd(run);
        expect(readRosterEvents(run.directory)).toEqual([
          ...['workerJoined 1', 'workerLeft 1', 'workerJoined 1', 'workerLeft 1'],
        ]);
        expect((await worker.finished).exitCode).toBe(0);
      },
    );

    it('a worker that dies behind a cut link is given up, and another one goes on in its place', async () => {
      const run = await startSecurely(Link.ethernet({ rate: '100mbit', lossPercent: 0 }));
      const dead = secureWorkerAt(run, 'worker');
      await run.command.untilStderr(/worker 1 .* joined/);
      run.link.cut('both ways');
      dead.signal('SIGKILL');
      const alive = secureWorkerAt(run, 'coordinator');
      await expectUndisturbedEnd(run);
      expect((await alive.finished).exitCode).toBe(0);
    });

    it('a run over IPv6 alone, which loses 1 % of its packets, is secure and finds its way by name', async () => {
      const link = Link.ethernet({ rate: '100mbit', lossPercent: 1, family: 'IPv6' });
      const run = await startSecurely(link);
      expect(run.url).toMatch(/^wss:\/\/\[fd21:3:7::1\]:\d+$/);
      const worker = secureWorkerAt(run, 'worker');
      await expectUndisturbedEnd(run);
      expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
      expect((await worker.finished).exitCode).toBe(0);
    });
  },
);

describe.skipIf(tunnel !== undefined)(
  `TLS over a tunnel${tunnel === undefined ? '' : ` (not here: ${tunnel} missing)`}`,
  { timeout: TIMEOUT_MS },
  () => {
    it('a secure tunnel of 10 Mbit/s with 50 ms each way and 1 % packet loss does not get any worker disconnected', async () => {
      const line = { delayMs: 50, loss: 0.01, bitsPerSecond: 10e6, seed: 1 };
      const run = await startSecurely(await Link.tunnel(line), MEGABYTE);
      const far = secureWorkerAt(run, 'worker');
      await run.command.untilStderr(/worker 1 .* joined/);
      const near = secureWorkerAt(run, 'coordinator');
      await expectUndisturbedEnd(run, MEGABYTE);
      expect(readRosterEvents(run.directory).map((event) => event.split(' ')[0])).toEqual([
        ...['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft'],
      ]);
      expect((await far.finished).exitCode).toBe(0);
      expect((await near.finished).exitCode).toBe(0);
    });
  },
);
