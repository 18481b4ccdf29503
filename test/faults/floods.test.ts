// Workers that do nothing but harm: that never answer, ask and do not read, send results that nobody asked
// for, or come and go. The run ends as if they were not there, and they fill neither its memory nor its log.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { Instance } from '../../src/protocol/instance.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';
import type { HelloMessage, WorkerMessage } from '../../src/protocol/message-types.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { residentMegabytes } from '../helpers/memory-of.ts';
import { startCoordinator, startTraining, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { frame, OPCODE, RawClient, upgradeRequest } from '../helpers/raw-client.ts';
import { readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const deadlineMs = 120_000;
const SHORT = { epochs: 60 };
const LONG = { epochs: 450 };
const SIDE = 32;
const NUM_IMAGES = 65_536;

const authorization = { Authorization: `Bearer ${TOKEN}` };
const optionsOf = ({ url }: NetworkRun): { url: string; token: string } => ({ url, token: TOKEN });
const logOf = ({ directory }: NetworkRun): string =>
  fs.readFileSync(path.join(directory, 'output.log'), 'utf8');

/** A directory whose config trains on 64 MiB of images. */
function imagesDirectory(): string {
  const cwd = temporaryDirectory();
  const file = (name: string, sizes: readonly number[], bytes: Uint8Array): void => {
    const head = Buffer.alloc(4 + 4 * sizes.length);
    head.writeUInt32BE(0x0800 + sizes.length);
    sizes.forEach((size, index) => head.writeUInt32BE(size, 4 + 4 * index));
    fs.writeFileSync(path.join(cwd, name), Buffer.concat([head, bytes]));
  };
  file('images', [NUM_IMAGES, SIDE, SIDE], new Uint8Array(NUM_IMAGES * SIDE * SIDE).fill(7));
  file(
    'labels',
    [NUM_IMAGES],
    Uint8Array.from({ length: NUM_IMAGES }, (_, row) => row % 2),
  );
  const config = {
    name: 'images',
    data: { train: { images: 'images', labels: 'labels' }, split: { validation: 0.1 } },
    model: { layers: [{ kind: 'flatten' }, { kind: 'dense', units: 2 }] },
    loss: 'crossEntropy',
    batchSize: 4096,
    epochs: 1,
    plots: false,
  };
  fs.writeFileSync(path.join(cwd, 'table.yaml'), stringify(config));
  fs.writeFileSync(path.join(cwd, 'token.txt'), `${TOKEN}\n`, { mode: 0o600 });
  return cwd;
}

/** A worker that asks for the dataset as fast as it may, and reads none of it. */
async function askAndNotRead({ url }: NetworkRun, hello: HelloMessage, sha256: string): Promise<RawClient> {
  const client = await RawClient.openWebSocket(Number(new URL(url).port), authorization);
  onTestFinished(() => void client.socket.destroy());
  const send = (message: WorkerMessage): void => {
    client.socket.write(frame(OPCODE.binary, encodeMessage(message)));
  };
  send({ ...hello, instance: new Instance().name });
  client.socket.pause();
  for (let chunk = 0; chunk < 8; chunk++) {
    send({ type: 'fetch', sha256, offset: chunk * MAX_BODY_BYTES, length: MAX_BODY_BYTES });
  }
  return client;
}

/** Not more at once than an address may have sockets without a token. */
const CROWD = 50;

/** One stranger, who sends something and waits for the end; resolves to the first line of the answer. */
async function strangerAt({ url }: NetworkRun, text: string): Promise<string> {
  const { port } = new URL(url);
  const socket = net.connect({ port: Number(port), host: '127.0.0.1' });
  socket.on('error', () => undefined);
  const answer: Buffer[] = [];
  socket.on('data', (chunk) => answer.push(chunk));
  const ended = new Promise((resolve) => socket.once('close', resolve));
  socket.write(text);
  await Promise.race([ended, sleep(2000)]);
  socket.destroy();
  return Buffer.concat(answer).toString('latin1').split('\r\n', 1)[0] as string;
}

describe('strangers', () => {
  it('a run ends as if nobody had flooded its port with connections, requests and wrong tokens', async () => {
    const run = await startTraining({ config: LONG, cli: { deadlineMs } });
    const wrong = upgradeRequest({ Authorization: `Bearer ${TOKEN}x` });
    const texts = {
      nothing: '',
      'half a request': wrong.slice(0, -4),
      'a wrong token': wrong,
      'long headers': upgradeRequest({ ...authorization, 'X-Long': 'x'.repeat(60_000) }),
      'a question': 'GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n',
    };
    const answers = new Map<string, Set<string>>();
    const endMs = performance.now() + 6000;
    const floods = Array.from({ length: 30 }, async (_, index) => {
      const [what, text] = Object.entries(texts)[index % 5] as [string, string];
      const own = answers.get(what) ?? new Set();
      answers.set(what, own);
      while (performance.now() < endMs) own.add(await strangerAt(run, text));
    });
    await Promise.all(floods);
    const all = Object.fromEntries([...answers].map(([what, own]) => [what, [...own].filter(Boolean)]));
    expect(all).toEqual({
      nothing: [],
      'half a request': [],
      'a wrong token': ['HTTP/1.1 401 Unauthorized'],
      'long headers': ['HTTP/1.1 431 Request Header Fields Too Large'],
      'a question': ['HTTP/1.1 401 Unauthorized'],
    });
    await expectUndisturbedEnd(run, LONG);
    expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
    expect(logOf(run).split('\n').length).toBeLessThan(700);
  });

  it('workers that flood with pings or with frames of 4 MiB that are none are disconnected', async () => {
    const run = await startTraining({ config: LONG, cli: { deadlineMs } });
    const port = Number(new URL(run.url).port);
    const pings = Buffer.concat(Array<Buffer>(5000).fill(frame(OPCODE.ping, Buffer.alloc(0))));
    const large = frame(OPCODE.binary, Buffer.alloc(MAX_BODY_BYTES));
    for (const flood of [pings, large, pings, large]) {
      const client = await RawClient.openWebSocket(port, authorization);
      client.socket.write(flood);
      await client.untilClosed();
    }
    await expectUndisturbedEnd(run, LONG);
    expect(logOf(run)).toMatch(/did not join: more than 1000 pings and pongs came between two of ours/);
    expect(logOf(run)).toMatch(/did not join: not a Lockstep message/);
  });
});

describe('many workers', () => {
  it('forty workers that never answer and join before the only honest one delay the run by one wait in total', async () => {
    const run = await startCoordinator({ cli: { deadlineMs } });
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: 40 }, () => FakeWorker.join(optionsOf(run))));
    startWorker(run, run.url, { deadlineMs });
    await untilEpoch(run.command, run.directory, 1);
    const waitedMs = performance.now() - startedMs;
    // 15 s until anything is late in a run without any result yet; 40 workers in groups of 8 took 74 s.
    expect(waitedMs).toBeLessThan(40_000);
    await expectUndisturbedEnd(run);
  });

  it('workers that ask for the dataset and do not read it neither fill memory nor delay others', async () => {
    const run = await startCoordinator({ cwd: imagesDirectory(), cli: { deadlineMs } });
    const hello = await honestHello();
    const first = await FakeWorker.greet(optionsOf(run), hello);
    const { datasetSha256 } = (await first.next('welcome')).message;
    const before = residentMegabytes(run.command.pid, 'now');
    for (let crowd = 0; crowd < 4; crowd++) {
      await Promise.all(Array.from({ length: CROWD }, () => askAndNotRead(run, hello, datasetSha256)));
    }
    await sleep(1000);
    // None was rejected: all of them wait for what they asked for.
    expect(run.command.stderr).not.toMatch(/did not join/);
    const growth = residentMegabytes(run.command.pid, 'peak') - before;
    const startedMs = performance.now();
    startWorker(run, run.url, { deadlineMs });
    await untilEpoch(run.command, run.directory, 1);
    // It would take minutes if the run waited for some of them.
    expect(performance.now() - startedMs).toBeLessThan(20_000);
    expect((await run.command.finished).exitCode).toBe(0);
    // Copies of eight chunks for each would be 6.4 GB.
    expect(growth).toBeLessThan(100);
  });
});

describe('a worker', () => {
  it('a worker that floods the coordinator with failures is disconnected at the first one and logged once', async () => {
    const run = await startTraining({ config: SHORT, cli: { deadlineMs } });
    const flood = await FakeWorker.join(optionsOf(run));
    const { run: name, round, task } = (await flood.next('train', 'evaluate')).message;
    for (let count = 0; count < 10_000; count++) {
      flood.send({ type: 'failure', run: name, round, task, message: 'no'.repeat(400) });
    }
    await flood.ended;
    await expectUndisturbedEnd(run, SHORT);
    expect(logOf(run).match(/failed on a task: no/g)).toHaveLength(1);
    expect(logOf(run).match(/worker 2 .* left: failed on a task/g)).toHaveLength(1);
  });

  it.each<[string, (key: { run: string; round: number; task: number }) => WorkerMessage]>([
    ['finished', (key) => ({ type: 'finished', ...key, computeMs: 1, sendMs: 1, residentBytes: 1 })],
    ['failed', (key) => ({ type: 'failure', ...key, message: 'no' })],
  ])('a worker that claims to have %s a task it was never given is disconnected', async (_, messageOf) => {
    const run = await startTraining({ config: SHORT, cli: { deadlineMs } });
    const stranger = await FakeWorker.join(optionsOf(run));
    const { run: name } = (await stranger.next('train', 'evaluate')).message;
    const message = messageOf({ run: name, round: 2 ** 40, task: 1 });
    stranger.send(message);
    const reason = `sent "${message.type}" about a task that it does not owe`;
    expect(await stranger.ended).toEqual({ code: 4402, reason });
    await expectUndisturbedEnd(run, SHORT);
  });

  it('hundreds of workers that come and go and strangers with wrong tokens are summed up in the log', async () => {
    const run = await startTraining({ config: LONG, cli: { deadlineMs } });
    for (let visit = 0; visit < 300; visit++) {
      const visitor = await FakeWorker.join(optionsOf(run));
      visitor.terminate();
      await FakeWorker.connect({ ...optionsOf(run), token: `${TOKEN}x` }).catch(() => undefined);
    }
    await expectUndisturbedEnd(run, LONG);
    const lines = logOf(run).trimEnd().split('\n');
    expect(lines.length).toBeLessThan(600);
    expect(logOf(run)).toMatch(
      /too many to be logged one by one, since the last such line: .*\d+ connections turned away/,
    );
  });
});
