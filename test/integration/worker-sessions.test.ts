// A worker process over several connections: what it keeps from one to the next, how long it waits in
// between, and when it gives up.
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { SharedResults } from '../../coordinator/cluster/shared-results.ts';
import { blobByteLength, type RowLayout } from '../../src/data/dataset/packed-dataset.ts';
import { hashDataset } from '../../src/data/dataset/hash-dataset.ts';
import { ByteFingerprinter, combineFingerprints } from '../../src/engine/fingerprint.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { resolveModel } from '../../src/model/model.ts';
import { isProof } from '../../src/protocol/instance.ts';
import { copyBody, SharedFile } from '../../src/protocol/shared-file.ts';
import type { TrainMessage, WelcomeMessage } from '../../src/protocol/message-types.ts';
import { CliProcess } from '../helpers/cli.ts';
import type { CliOptions } from '../helpers/cli.ts';
import { MAX_BODY_BYTES, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import { FakeCoordinator } from '../helpers/fake-coordinator.ts';
import type { FakeSession } from '../helpers/fake-coordinator.ts';
import { residentMegabytes } from '../helpers/memory-of.ts';
import { startCoordinator, startTraining } from '../helpers/network-run.ts';
import { untilSaved } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const NUM_ROWS = 4096;
const NUM_FEATURES = 64;
/** Layers through which all rows take a second or two. */
const LAYERS = [
  { kind: 'dense', units: 1024, activation: 'relu', bias: true },
  { kind: 'dense', units: 1024, activation: 'relu', bias: true },
  { kind: 'dense', units: 1, activation: 'linear', bias: true },
] as const;
const LAYOUT: RowLayout = {
  numRows: NUM_ROWS,
  featureShape: [NUM_FEATURES],
  featureType: 'f32',
  featureScale: 1,
  targetKind: 'values',
  targetWidth: 1,
  numClasses: 0,
  hasSampleWeights: false,
};
const DATASET = new Uint8Array(
  Float32Array.from({ length: NUM_ROWS * (NUM_FEATURES + 1) }, (_, index) => (index % 17) / 17).buffer,
);
const WELCOME: Omit<WelcomeMessage, 'nonce'> = {
  type: 'welcome',
  run: 'a run of this test',
  worker: 1,
  layers: LAYERS,
  seed: 7,
  loss: { kind: 'mse' },
  batchSize: NUM_ROWS,
  shards: 2,
  numerics: 'strict',
  layout: LAYOUT,
  datasetSha256: hashDataset({ layout: LAYOUT, blob: DATASET }),
};
const { buckets, numParameters } = resolveModel({ layers: LAYERS }, LAYOUT.featureShape);

let fingerprinter: ByteFingerprinter;

beforeAll(async () => {
  const kernelModule = await loadKernelModule();
  const memory = new Memory();
  fingerprinter = new ByteFingerprinter(await instantiateKernels(kernelModule, memory.wasm), memory);
});

function startWorkerAt(url: string, options: Partial<CliOptions> = {}): CliProcess {
  return CliProcess.start(['worker', url], { cwd: temporaryDirectory(), ...options });
}

/** Greets the worker; resolves to its instance. */
async function admit(session: FakeSession, nonce: string, run = WELCOME.run): Promise<string> {
  const { instance } = (await session.next('hello')).message;
  session.send({ ...WELCOME, nonce, run });
  return instance;
}

async function load(session: FakeSession): Promise<void> {
  const { offset, length, sha256 } = (await session.next('fetch')).message;
  expect({ offset, length }).toEqual({ offset: 0, length: DATASET.length });
  session.send({ type: 'chunk', sha256, offset }, DATASET);
}

/** Sends weights that are all `value`; returns their name. */
function sendWeights(
  session: FakeSession,
  version: number,
  value: number,
  cut = buckets,
  run = WELCOME.run,
): string {
  const names = cut.map(({ length }, bucket) => {
    const bytes = new Uint8Array(new Float32Array(length).fill(value).buffer);
    const fingerprint = fingerprinter.fingerprint(bytes);
    session.send({ type: 'weights', run, version, bucket, fingerprint }, bytes);
    return fingerprint;
  });
  return combineFingerprints(names);
}

/** Names weights that are all `value`, where the file has other ones already if they are superseded. */
function shareWeights(
  session: FakeSession,
  file: SharedFile,
  version: number,
  { value, isSuperseded }: { readonly value: number; readonly isSuperseded: boolean },
): string {
  const names = buckets.map(({ offset: first, length }, bucket) => {
    const bytes = new Uint8Array(new Float32Array(length).fill(value).buffer);
    const fingerprint = fingerprinter.fingerprint(bytes);
    const extent = { offset: 4 * ((version % 2) * numParameters + first), length: bytes.length };
    file.write(isSuperseded ? bytes.map((byte) => byte + 1) : bytes, extent.offset);
    session.send({ type: 'weights', run: WELCOME.run, version, bucket, fingerprint, extent });
    return fingerprint;
  });
  return combineFingerprints(names);
}

function sendTask(
  session: FakeSession,
  round: number,
  weightsFingerprint: string,
  bounds: readonly number[],
  run = WELCOME.run,
): void {
  const rows = Uint32Array.from({ length: bounds.at(-1) as number }, (_, row) => row);
  const key = { run, round, task: round, version: round, weightsFingerprint, step: round };
  const task = { numShards: 2, firstShard: 0, bounds };
  const message: TrainMessage = { type: 'train', ...key, ...task };
  session.send(message, new Uint8Array(rows.buffer));
}

/**
 * A million classes, so that the outputs of a row fill a message, and an engine for 200 rows more than a
 * quarter of a memory.
 */
const WIDE: Omit<WelcomeMessage, 'nonce'> = {
  ...WELCOME,
  layers: [{ kind: 'dense', units: 2 ** 20, activation: 'linear', bias: false }],
  loss: { kind: 'crossEntropy', labelSmoothing: 0 },
  batchSize: 1,
  shards: 1,
  layout: { ...LAYOUT, numRows: 1, featureShape: [1], targetKind: 'labels', numClasses: 2 ** 20 },
  datasetSha256: '',
};
const NUM_WIDE_SHARDS = 128;
const WIDE_DATASET = new Uint8Array(blobByteLength(WIDE.layout));
const WIDE_WELCOME = {
  ...WIDE,
  datasetSha256: hashDataset({ layout: WIDE.layout, blob: WIDE_DATASET }),
  nonce: '0'.repeat(16),
};

/** A worker that is computing a task of a second or more. */
async function busyWorker(options: Partial<CliOptions> = {}): Promise<{
  coordinator: FakeCoordinator;
  worker: CliProcess;
  session: FakeSession;
  instance: string;
}> {
  const coordinator = await FakeCoordinator.open();
  const worker = startWorkerAt(coordinator.url, options);
  const session = await coordinator.session(1);
  const instance = await admit(session, '0123456789abcdef');
  await load(session);
  const { proof } = (await session.next('ready')).message;
  expect(isProof(proof, instance, { run: WELCOME.run, nonce: '0123456789abcdef' })).toBe(true);
  sendTask(session, 1, sendWeights(session, 1, 0.01), [0, NUM_ROWS / 2, NUM_ROWS]);
  await sleep(300);
  return { coordinator, worker, session, instance };
}

describe('a worker', () => {
  it('a worker that is to give up ends once nothing was there for so long', async () => {
    const worker = CliProcess.start(['worker', 'ws://127.0.0.1:9', '--give-up-after', '1'], {
      cwd: temporaryDirectory(),
    });
    const startedMs = performance.now();
    const { exitCode, stderr } = await worker.finished;
    expect(performance.now() - startedMs).toBeGreaterThan(1000);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 5,
      stderr: expect.stringContaining(
        'error[E_GAVE_UP]: no coordinator for 1 s: nothing listens at 127.0.0.1:9 (ECONNREFUSED)\n' +
          '  help: the run may be over; --give-up-after says how long a worker waits\n',
      ) as string,
    });
  });

  it('a worker that lost its coordinator gives up by the time since then', async () => {
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    const flags = ['worker', run.url, '--token-file', 'token.txt', '--give-up-after', '2'];
    const worker = CliProcess.start(flags, { cwd: run.cwd });
    await worker.untilStderr(/connected to/);
    await sleep(2500);
    run.command.signal('SIGKILL');
    const lostMs = performance.now();
    expect((await worker.finished).exitCode).toBe(5);
    expect(performance.now() - lostMs).toBeGreaterThan(1900);
    expect(worker.stderr).toMatch(/error\[E_GAVE_UP\]: no coordinator for 2 s: nothing listens at/);
  });

  it('a worker with a thread that cannot start stops the others and gives up after three attempts', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = CliProcess.start(['worker', coordinator.url, '--threads', '2'], {
      cwd: temporaryDirectory(),
      deadlineMs: 20_000,
    });
    for (const number of [1, 2, 3]) {
      const session = await coordinator.session(number);
      await session.next('hello');
      session.send({ ...WIDE_WELCOME, batchSize: 200 });
      expect((await session.ended).reason).toMatch(/^out of memory: /);
    }
    const { exitCode, stderr } = await worker.finished;
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: expect.stringContaining(
        'error[E_WORKER_FAILED]: 3 sessions in a row failed: out of memory',
      ) as string,
    });
  });

  it.each([
    ['fewer rows than it names', 1, 'a task of 4 rows came with 260 bytes of them, not 1040'],
    [
      'more rows than a round may have',
      0,
      /^"rows" brought \d+ bytes for a task, at most 33554432 are wanted$/,
    ],
  ])('a worker ends the session for a streamed task with %s', async (_, numRows, reason) => {
    const coordinator = await FakeCoordinator.open();
    startWorkerAt(coordinator.url);
    const session = await coordinator.session(1);
    await session.next('hello');
    session.send({ ...WELCOME, nonce: '0'.repeat(16), batchSize: 4, isStreamed: true });
    await session.next('ready');
    const weights = sendWeights(session, 1, 0.01);
    const key = { type: 'rows', run: WELCOME.run, round: 1, task: 1 } as const;
    const body = new Uint8Array(numRows > 0 ? numRows * 4 * (NUM_FEATURES + 1) : MAX_BODY_BYTES);
    for (let sent = 0; sent < (numRows > 0 ? 1 : 9); sent++) {
      session.send({ ...key, checksum: crc32(body) }, body);
    }
    if (numRows > 0) sendTask(session, 1, weights, [0, 2, 4]);
    const ended = await session.ended;
    expect(ended.code).toBe(4402);
    if (typeof reason === 'string') expect(ended.reason).toBe(reason);
    else expect(ended.reason).toMatch(reason);
  });

  it('a worker evaluates a task with large outputs in bounded memory and sends all of them', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url);
    const session = await coordinator.session(1);
    await session.next('hello');
    session.send(WIDE_WELCOME);
    const { offset, sha256 } = (await session.next('fetch')).message;
    session.send({ type: 'chunk', sha256, offset }, WIDE_DATASET);
    await session.next('ready');
    const model = resolveModel({ layers: WIDE.layers }, WIDE.layout.featureShape);
    const weightsFingerprint = sendWeights(session, 1, 0.5, model.buckets);
    const bounds = Array.from({ length: NUM_WIDE_SHARDS + 1 }, (_, shard) => shard);
    const key = {
      run: WIDE.run,
      round: 1,
      task: 1,
      version: 1,
      weightsFingerprint,
      numShards: NUM_WIDE_SHARDS,
    };
    session.send({ type: 'evaluate', ...key, firstShard: 0, bounds }, new Uint8Array(4 * NUM_WIDE_SHARDS));
    for (let shard = 0; shard < NUM_WIDE_SHARDS; shard++) {
      const { message, body } = await session.next('evaluation');
      expect([message.shard, body.byteLength]).toEqual([shard, 4 * 2 ** 20]);
    }
    await session.next('finished');
    // All outputs together take 512 MiB, and their messages as much again.
    expect(residentMegabytes(worker.pid, 'peak')).toBeLessThan(400);
    session.send({ type: 'stop', reason: 'done' });
    expect((await worker.finished).exitCode).toBe(0);
  });

  it.each([
    ['the same run', WELCOME.run, 2],
    // It counts rounds and versions from 1 again.
    ['the run of another coordinator with the same dataset', 'resumed', 1],
  ])(
    'a worker that lost its connection during a task is ready for %s once the task is done, and confuses no results',
    async (_, run, round) => {
      const { coordinator, session, instance } = await busyWorker();
      session.connection.terminate();
      const next = await coordinator.session(2);
      expect(await admit(next, 'fedcba9876543210', run)).toBe(instance);
      // It kept the dataset.
      const { proof } = (await next.next('ready')).message;
      expect(isProof(proof, instance, { run, nonce: 'fedcba9876543210' })).toBe(true);
      sendTask(next, round, sendWeights(next, round, 0, buckets, run), [0, 8], run);
      let numNonzero = 0;
      for (let count = 0; count < buckets.length; count++) {
        const { message, body } = await next.next('gradient');
        expect(message).toMatchObject({ round, task: round, level: 0, index: 0 });
        numNonzero += new Float32Array(new Uint8Array(body).buffer).filter((value) => value !== 0).length;
      }
      // Where all weights are zero only the last bias has a gradient.
      expect(numNonzero).toBe(1);
      await next.next('finished');
    },
  );

  it.skipIf(process.platform !== 'linux')(
    'a worker that finds newer weights in a file than those it was told of gives up their task, and computes the next',
    async () => {
      const coordinator = await FakeCoordinator.open();
      startWorkerAt(coordinator.url);
      const weights = SharedFile.create(8 * numParameters);
      const results = new SharedResults(weights);
      onTestFinished(() => [weights, results].forEach((file) => file.close()));
      const welcome = { ...WELCOME, nonce: '0123456789abcdef', sharedMemory: results.offer };
      const session = await coordinator.session(1);
      await session.next('hello');
      session.send(welcome);
      await load(session);
      const { sharedNonce } = (await session.next('ready')).message;
      expect(results.isProvenBy(sharedNonce as string)).toBe(true);
      const old = shareWeights(session, weights, 1, { value: 0.01, isSuperseded: true });
      sendTask(session, 1, old, [0, 8]);
      expect((await session.next('finished')).message).toMatchObject({ task: 1, computeMs: 0 });
      sendTask(session, 2, shareWeights(session, weights, 2, { value: 0, isSuperseded: false }), [0, 8]);
      let numNonzero = 0;
      for (const { length } of buckets) {
        const { extent } = (await session.next('gradient')).message;
        const sum = new Float32Array(length);
        if (extent) copyBody(results.at(extent), new Uint8Array(sum.buffer));
        numNonzero += sum.filter((value) => value !== 0).length;
      }
      // Where all weights are zero only the last bias has a gradient.
      expect(numNonzero).toBe(1);
      await session.next('finished');
      // Files may be why a session failed, so the worker does not take another offer.
      session.connection.close(4402, 'for a test');
      const next = await coordinator.session(2);
      await next.next('hello');
      next.send(welcome);
      await load(next);
      expect((await next.next('ready')).message.sharedNonce).toBeUndefined();
    },
  );

  it('a worker that is disconnected for being stuck in a task starts over', async () => {
    const env = { LOCKSTEP_FAILPOINT: 'worker.thread@step=1:sleep=600000' };
    const { coordinator, session } = await busyWorker({ env });
    session.connection.close(4406, 'has been computing 4096 rows for 600 s');
    const next = await coordinator.session(2);
    await admit(next, 'fedcba9876543210');
    await load(next);
    await next.next('ready');
    sendTask(next, 2, sendWeights(next, 2, 0), [0, 8]);
    await next.next('gradient');
  });

  it('a worker that is told to stop returns its task at once and exits with 143', async () => {
    const { worker, session } = await busyWorker();
    worker.signal('SIGTERM');
    const toldMs = performance.now();
    await session.next('leave');
    expect(performance.now() - toldMs).toBeLessThan(500);
    expect((await worker.finished).exitCode).toBe(143);
    expect(await session.ended).toEqual({ code: 1000, reason: 'leaving' });
  });

  it('a worker whose connection broke while it was preparing can still exit', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url, { deadlineMs: 15_000 });
    const session = await coordinator.session(1);
    await admit(session, '0123456789abcdef');
    session.connection.close(1001, 'away');
    await (await coordinator.session(2)).next('hello');
    worker.signal('SIGTERM');
    expect((await worker.finished).exitCode).toBe(143);
  });

  it('a worker whose connection keeps breaking waits longer and longer', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url);
    const waits: number[] = [];
    // By chance alone four waits are below 0.5 s once in ten thousand times.
    while (Math.max(0, ...waits) <= 0.5 && waits.length < 5) {
      const session = await coordinator.session(waits.length + 1);
      await session.next('hello');
      session.connection.close(1001, 'flapping');
      const told = `(?:session ended: flapping; connecting again in ([\\d.]+) s[^]*){${waits.length + 1}}`;
      waits.push(Number((await worker.untilStderr(new RegExp(told)))[1]));
    }
    expect(Math.max(...waits)).toBeGreaterThan(0.5);
    worker.signal('SIGTERM');
    expect((await worker.finished).exitCode).toBe(143);
  });

  it('a worker that is given a model too large for any memory names its number of parameters and gives up', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url);
    const layers = Array.from({ length: 20 }, () => ({ ...LAYERS[0], units: 1_048_576 }));
    const reason = 'the model has 20,890,809,008,128 parameters; WebAssembly can address 1,073,741,824';
    for (const number of [1, 2, 3]) {
      const session = await coordinator.session(number);
      await session.next('hello');
      session.send({ ...WELCOME, layers, nonce: '0123456789abcdef' });
      expect(await session.ended).toEqual({ code: 1001, reason });
    }
    const { exitCode, stderr } = await worker.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`3 sessions in a row failed: ${reason}`);
  });

  it('a worker of another version is told so and does not come back', async () => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url);
    const session = await coordinator.session(1);
    const reason = `message of protocol 3, this side speaks ${PROTOCOL_VERSION}: install the same version on both`;
    session.connection.close(4401, reason);
    const { exitCode, stderr } = await worker.finished;
    expect(exitCode).toBe(5);
    expect(stderr).toContain(`error[E_REFUSED]: the coordinator refused this worker: ${reason}\n`);
    expect(coordinator.sessions).toHaveLength(1);
  });

  it.each([
    [4402, 'sent a sum that does not exist'],
    [4406, 'has been computing 64 rows for 600 s'],
  ])('a worker that is disconnected with %d three times gives up', async (code, reason) => {
    const coordinator = await FakeCoordinator.open();
    const worker = startWorkerAt(coordinator.url);
    for (const number of [1, 2, 3]) {
      const session = await coordinator.session(number);
      await session.next('hello');
      session.connection.close(code, reason);
    }
    const { exitCode, stderr } = await worker.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`3 sessions in a row failed: ${reason}`);
  });

  it.each([
    ['SIGKILL', null],
    ['SIGINT', 130],
  ] as const)('a worker rejoins a coordinator that resumes after %s', async (signal, exitCode) => {
    const first = await startTraining();
    await untilSaved(first.command, first.directory);
    first.command.signal(signal);
    expect(await first.command.finished).toMatchObject({ exitCode });
    await first.worker.untilStderr(/nothing listens at .*; retrying in/);
    const { cwd, url } = first;
    const second = await startCoordinator({
      cwd,
      port: Number(new URL(url).port),
      flags: ['--resume', 'last'],
    });
    await expectUndisturbedEnd(second);
    expect((await first.worker.finished).exitCode).toBe(0);
  });
});
