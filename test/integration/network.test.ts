// Runs whose workers connect over the network: workers that join, leave or are refused, and strangers at the
// port.
import fs from 'node:fs';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MAX_MESSAGE_BYTES, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type { HelloMessage } from '../../src/protocol/message-types.ts';
import { runCli } from '../helpers/cli.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import {
  networkDirectory,
  startCoordinator,
  startTraining,
  startWorker,
  TOKEN,
} from '../helpers/network-run.ts';
import { residentMegabytes } from '../helpers/memory-of.ts';
import { frame, OPCODE, RawClient, upgradeRequest } from '../helpers/raw-client.ts';
import { countEpochs, readBits, readRosterEvents, readSummary, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const AUTHORIZATION = { Authorization: `Bearer ${TOKEN}` };

describe('a run over the network', () => {
  it('a run accepts workers that join in the middle and continues without those that leave', async () => {
    const run = await startTraining();
    // While its only worker is stopped, the run cannot end before the second one is there.
    run.worker.signal('SIGSTOP');
    const second = startWorker(run);
    await run.command.untilStderr(/worker 2 .* joined/);
    run.worker.signal('SIGCONT');
    await untilEpoch(run.command, run.directory, countEpochs(run.directory) + 2);
    run.worker.signal('SIGTERM');
    await run.command.untilStderr(/worker 1 .* left: it said goodbye/);
    await expectUndisturbedEnd(run);
    expect((await run.worker.finished).exitCode).toBe(143);
    const { exitCode, stderr } = await second.finished;
    expect(exitCode).toBe(0);
    expect(stderr).toContain('done: the run is finished');
    expect(readRosterEvents(run.directory).slice(0, 3)).toEqual([
      'workerJoined 1',
      'workerJoined 2',
      'workerLeft 1',
    ]);
    expect(readSummary(run.directory).workers).toBe(2);
  });

  it('a run whose buckets are small, for the network, gives the same bits and records', async () => {
    // Two blocks, of which the larger one is 16 buckets.
    const layers = [512, 300, 1].map((units) => ({ kind: 'dense' as const, units }));
    const wire = { gradients: 'bf16', groups: 2 } as const;
    const config = { model: { layers }, epochs: 2, shards: 5, wire };
    const run = await startCoordinator({ config, flags: ['--min-workers', '2'] });
    const workers = [startWorker(run), startWorker(run)];
    expect((await run.command.finished).exitCode).toBe(0);
    for (const { finished } of workers) expect((await finished).exitCode).toBe(0);
    const local = path.join(run.cwd, 'local');
    const args = ['train', 'table.yaml', '--workers', '0', '--run-dir', local];
    expect((await runCli(args, { cwd: run.cwd })).exitCode).toBe(0);
    expect(readBits(run.directory)).toEqual(readBits(local));
    const replayed = await runCli(['replay', 'run', '--step', '2'], { cwd: run.cwd });
    expect(replayed.stderr).toMatch(/step 2, taken again from the beginning: the same weights/);
  });

  it('a worker with another token is rejected', async () => {
    const run = await startCoordinator();
    const env = { LOCKSTEP_TOKEN: 'quite-another-token-than-theirs' };
    const { exitCode, stderr } = await runCli(['worker', run.url], { cwd: run.cwd, env });
    expect(exitCode).toBe(5);
    expect(stderr).toBe(
      `error[E_UNAUTHORIZED]: ${run.url.slice(5)} does not accept this worker's token\n` +
        '  help: give the coordinator and its workers the same --token-file or LOCKSTEP_TOKEN\n',
    );
    await run.command.untilStderr(/turned away: wrong token/);
    run.command.signal('SIGTERM');
    expect((await run.command.finished).exitCode).toBe(143);
    expect(readRosterEvents(run.directory)).toEqual([]);
  });

  it('a run is not disturbed by strangers at its port', async () => {
    const run = await startTraining();
    // While its only worker is stopped, the run cannot end before the strangers are there.
    run.worker.signal('SIGSTOP');
    const port = Number(new URL(run.url).port);
    const shakeHands = () => RawClient.openWebSocket(port, AUTHORIZATION);
    const strangers: [RawClient, string | Uint8Array][] = [
      [await RawClient.open(port), Buffer.alloc(10_000, '\u0000\u00ff\u0007')],
      [await RawClient.open(port), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
      [await RawClient.open(port), upgradeRequest({ Authorization: 'Bearer of-quite-another-token' })],
      [await shakeHands(), frame(OPCODE.text, Buffer.from('{"type":"hello"}'))],
      [await shakeHands(), frame(OPCODE.binary, Buffer.alloc(1000, 7))],
      [await shakeHands(), frame(OPCODE.binary, Buffer.alloc(100), { announced: MAX_MESSAGE_BYTES + 1 })],
    ];
    for (const [client, words] of strangers) client.socket.write(words);
    const untilGone = Promise.all(strangers.map(([client]) => client.untilClosed()));
    run.worker.signal('SIGCONT');
    await expectUndisturbedEnd(run);
    expect(readRosterEvents(run.directory).slice(0, 2)).toEqual(['workerJoined 1', 'workerLeft 1']);
    await untilGone;
    for (const reason of ['only binary messages are accepted', 'not a Lockstep message']) {
      expect(run.command.stderr).toContain(`did not join: ${reason}`);
    }
  });

  it('messages of 20,000 one-byte fragments neither disturb a run nor take up memory', async () => {
    const run = await startTraining();
    run.worker.signal('SIGSTOP');
    const megabytesBefore = residentMegabytes(run.command.pid, 'now');
    const fragment = (opcode: number): Buffer => frame(opcode, Buffer.alloc(1), { isFinal: false });
    const first = fragment(OPCODE.binary);
    const rest = Array<Buffer>(19_999).fill(fragment(OPCODE.continuation));
    const message = Buffer.concat([first, ...rest]);
    for (let intruder = 0; intruder < 10; intruder++) {
      const client = await RawClient.openWebSocket(Number(new URL(run.url).port), AUTHORIZATION);
      client.socket.write(message);
      await client.untilClosed();
    }
    // A run of this size grows by about 10 MB anyway.
    expect(residentMegabytes(run.command.pid, 'now') - megabytesBefore).toBeLessThan(32);
    run.worker.signal('SIGCONT');
    await expectUndisturbedEnd(run);
    expect(run.command.stderr.match(/did not join: Too many message fragments/g)).toHaveLength(10);
    expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
  });

  it('workers that would compute other bits are refused with the reason', async () => {
    const run = await startCoordinator();
    const honest = await honestHello();
    const { strict } = honest.kernels;
    const wrong = 'ab'.repeat(32);
    const short = (sha256: string): string => sha256.slice(0, 12);
    const install = /install the same version on both \(worker 9\.9\.9, coordinator \d+\.\d+\.\d+\)/.source;
    const lies: [Partial<HelloMessage>, string, string][] = [
      [
        { protocol: 77 },
        'E_PROTOCOL_VERSION',
        `worker speaks protocol 77, coordinator ${PROTOCOL_VERSION}: ${install}`,
      ],
      [
        { kernels: { strict: { ...strict, sha256: wrong } } },
        'E_KERNEL_MISMATCH',
        `worker has strict kernels abababababab, coordinator ${short(strict.sha256)}: ${install}`,
      ],
      [
        { kernels: { strict: { ...strict, knownAnswer: wrong } } },
        'E_KNOWN_ANSWER',
        `worker's strict kernels give abababababab for the known-answer shard, not ${short(strict.knownAnswer)}: ` +
          'its machine \\(test-x64, Node.js v20.0.0\\) computes other bits',
      ],
    ];
    const refusals: string[] = [];
    for (const [lie, code, message] of lies) {
      const worker = await FakeWorker.greet({ url: run.url, token: TOKEN }, { ...honest, ...lie });
      const refusal = (await worker.next('refuse')).message;
      expect(refusal.code).toBe(code);
      expect(refusal.message).toMatch(new RegExp(`^${message}$`));
      expect((await worker.ended).code).toBe(4401);
      refusals.push(refusal.message);
    }
    run.command.signal('SIGINT');
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(130);
    for (const refusal of refusals) expect(stderr).toContain(`did not join: ${refusal}`);
  });
});

describe('a run with numerics: fused', () => {
  it('a fused run refuses workers without fused kernels and those whose fused kernels compute other bits', async () => {
    const run = await startCoordinator({ flags: ['--set', 'numerics=fused'] });
    const honest = await honestHello();
    const { strict, fused } = honest.kernels;
    if (!fused) throw new Error('this Node.js has no relaxed SIMD');
    const wrong = { ...fused, knownAnswer: 'ab'.repeat(32) };
    const refused: [HelloMessage['kernels'], string, RegExp][] = [
      [{ strict }, 'E_NO_RELAXED_SIMD', /^worker has no fused kernels, .* or set numerics: strict$/],
      [{ strict, fused: wrong }, 'E_KNOWN_ANSWER', /^worker's fused kernels give abababababab /],
    ];
    for (const [kernels, code, message] of refused) {
      const worker = await FakeWorker.greet({ url: run.url, token: TOKEN }, { ...honest, kernels });
      expect((await worker.next('refuse')).message).toMatchObject({
        code,
        message: expect.stringMatching(message) as string,
      });
      await worker.ended;
    }
    run.command.signal('SIGINT');
    expect((await run.command.finished).exitCode).toBe(130);
  });
});

it('a worker without fused kernels joins a strict run', async () => {
  const run = await startCoordinator();
  const honest = await honestHello();
  const { strict } = honest.kernels;
  const worker = await FakeWorker.greet({ url: run.url, token: TOKEN }, { ...honest, kernels: { strict } });
  expect((await worker.next('welcome')).message.numerics).toBe('strict');
  run.command.signal('SIGINT');
  expect((await run.command.finished).exitCode).toBe(130);
});

describe('a coordinator that cannot start', () => {
  const coordinator = ['coordinator', 'table.yaml'];

  it('a coordinator whose port is taken says so', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const cwd = networkDirectory();
    const before = fs.readdirSync(cwd);
    expect(await runCli([...coordinator, '--listen', `127.0.0.1:${port}`], { cwd })).toMatchObject({
      exitCode: 5,
      stderr:
        `error[E_PORT_IN_USE]: port ${port} on 127.0.0.1 is in use\n` + '  help: port 0 picks a free one\n',
    });
    expect(fs.readdirSync(cwd)).toEqual(before);
  });

  it('a coordinator that is given the address of another machine says so and leaves no files', async () => {
    const cwd = networkDirectory();
    const before = fs.readdirSync(cwd);
    const env = { LOCKSTEP_TOKEN: TOKEN };
    // An address from a block reserved for documentation (RFC 5737).
    expect(await runCli([...coordinator, '--listen', '192.0.2.1:7700'], { cwd, env })).toMatchObject({
      exitCode: 5,
      stderr:
        'error[E_LISTEN]: cannot listen on port 7700 of 192.0.2.1 (EADDRNOTAVAIL)\n' +
        '  help: give the address of an interface of this machine, and a port of 1024 or above\n',
    });
    expect(fs.readdirSync(cwd)).toEqual(before);
  });

  it('a coordinator whose port others could reach without a token refuses to start', async () => {
    const cwd = networkDirectory();
    const { exitCode, stderr } = await runCli([...coordinator, '--listen', '0.0.0.0:0'], { cwd });
    expect(exitCode).toBe(2);
    expect(fs.readdirSync(cwd)).not.toContain('runs');
    expect(stderr).toMatch(
      /error\[E_TOKEN_REQUIRED\]: listening on 0\.0\.0\.0 without a token would let anyone join who reaches the port\n {2}help: give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127\.0\.0\.1\n$/,
    );
  });

  it('a coordinator that no worker joins in time says how to start one', async () => {
    const args = [...coordinator, '--listen', '127.0.0.1:0', '--wait-for-workers', '1'];
    const cwd = networkDirectory();
    const { exitCode, stderr } = await runCli(args, { cwd });
    expect(exitCode).toBe(7);
    // The log says what happened; there is no result for `latest` to point to.
    expect(fs.readdirSync(`${cwd}/runs`)).toEqual([expect.stringMatching(/^\d{8}-\d{6}-table$/)]);
    expect(stderr).toMatch(
      /error\[E_NO_WORKERS\]: no worker joined within 1 s\n {2}help: start workers with: lockstep worker ws:\/\/127\.0\.0\.1:[1-9]\d*\n$/,
    );
    // Nothing was saved yet.
    expect(stderr).not.toContain('to go on');
  });
});
