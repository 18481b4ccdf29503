// The coordinator's side of one worker, on an in-memory connection: deadlines, goodbyes, and what is queued.
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Placement } from '../../../../coordinator/cluster/placement.ts';
import { WorkerSession } from '../../../../coordinator/cluster/worker-session.ts';
import type { SessionEnd } from '../../../../coordinator/cluster/worker-session.ts';
import type { Connection } from '../../../../src/protocol/connection.ts';
import { encodeMessage } from '../../../../src/protocol/envelope.ts';
import { Instance } from '../../../../src/protocol/instance.ts';
import { MAX_BODY_BYTES, PROTOCOL_VERSION } from '../../../../src/protocol/limits.ts';
import type {
  CoordinatorMessage,
  HelloMessage,
  SharedMemoryOffer,
  WelcomeMessage,
  WorkerMessage,
} from '../../../../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../../../../src/protocol/messages.ts';
import { FileBody, SharedFile } from '../../../../src/protocol/shared-file.ts';
import type { Body } from '../../../../src/protocol/shared-file.ts';
import { SharedMemory } from '../../../../worker/shared-memory.ts';
import { GRADIENT, WELCOME } from '../../../helpers/protocol-messages.ts';

const KERNELS = { sha256: 'ab'.repeat(32), knownAnswer: 'cd'.repeat(32) };
const INSTANCE = new Instance();
const HELLO: HelloMessage = {
  type: 'hello',
  protocol: PROTOCOL_VERSION,
  version: '9.9.9',
  kernels: { strict: KERNELS },
  threads: 1,
  runtime: 'Node.js v20.0.0',
  platform: 'test-x64',
  host: 'fake',
  pid: 1,
  instance: INSTANCE.name,
};
const MAX_QUEUED_BYTES = 1000;
const CHUNK = MAX_BODY_BYTES;
/** Eleven chunks, the last of which is short. */
const DATASET = new Uint8Array(10 * CHUNK + 100);

/** One end of a connection whose other end is the test. */
class MemoryConnection implements Connection {
  readonly id = 1;
  remoteAddress = '10.0.0.1';
  readonly bytesRead = 0;
  bufferedBytes = 0;
  readonly sent: CoordinatorMessage[] = [];
  /** The calls with which the session has ended the connection. */
  readonly calls: string[] = [];
  #receive: (data: Buffer) => void = () => undefined;
  #closed: (code: number, reason: string) => void = () => undefined;

  /** Callbacks of messages that the worker has not read yet. */
  readonly untaken: ((isWhole: boolean) => void)[] = [];
  readonly fragments: (readonly Buffer[])[] = [];

  flush(): void {
    // Nothing waits.
  }

  send(data: Buffer | readonly Buffer[], onTaken?: (isWhole: boolean) => void): void {
    const bytes = Buffer.isBuffer(data) ? data : Buffer.concat(data);
    this.sent.push(parseCoordinatorMessage(bytes).message);
    if (!Buffer.isBuffer(data)) this.fragments.push(data);
    if (onTaken) this.untaken.push(onTaken);
  }
  /** Has the worker read the oldest unread chunk, or a fragment of it. */
  take(isWhole = true): void {
    if (isWhole) this.untaken.shift()?.(true);
    else this.untaken[0]?.(false);
  }
  dropQueued(): void {
    this.calls.push('dropQueued');
  }
  close(code: number, reason: string): void {
    this.calls.push(`close ${code} ${reason}`);
  }
  terminate(): void {
    this.calls.push('terminate');
  }
  onMessage(listener: (data: Buffer) => void): void {
    this.#receive = listener;
  }
  onClose(listener: (code: number, reason: string) => void): void {
    this.#closed = listener;
  }

  hear(message: WorkerMessage): void {
    this.#receive(encodeMessage(message));
  }
  lose(code: number, reason = ''): void {
    this.#closed(code, reason);
  }
}

let connection: MemoryConnection;
let session: WorkerSession;
let ends: SessionEnd[];
let numReady: number;
let results: Body[];
let members: (readonly string[])[];

beforeEach(() => {
  vi.useFakeTimers();
  connection = new MemoryConnection();
  ends = [];
  numReady = 0;
  results = [];
  members = [];
  session = createSession(undefined);
});

function createSession(weightsFile: SharedFile | undefined, placement?: Placement): WorkerSession {
  const { type: _type, worker: _worker, nonce: _nonce, ...welcome } = WELCOME;
  return new WorkerSession(1, connection, {
    kernels: KERNELS,
    dataset: DATASET,
    maxQueuedBytes: MAX_QUEUED_BYTES,
    weightsFile,
    placement,
    welcome: { type: 'welcome', ...welcome },
    banOf: () => undefined,
    numberOf: () => 1,
    onReady: () => numReady++,
    onMembers: (_session, instances) => members.push(instances),
    onResult: (_session, _message, body) => results.push(body),
    onGone: (_session, end) => ends.push(end),
    guard: (work) => work(),
  });
}

afterEach(() => {
  vi.useRealTimers();
});

/** Says hello; returns the welcome. */
function greet(): WelcomeMessage {
  connection.hear(HELLO);
  const [welcome] = connection.sent;
  if (welcome?.type !== 'welcome') throw new Error('there was no welcome');
  return welcome;
}

/** Says hello and "ready". */
function join(): void {
  connection.hear({ type: 'ready', proof: INSTANCE.prove(greet()) });
}

function fetch(chunk: number): void {
  const offset = chunk * CHUNK;
  const length = Math.min(CHUNK, DATASET.length - offset);
  connection.hear({ type: 'fetch', sha256: WELCOME.datasetSha256, offset, length });
}

describe('a worker session', () => {
  it('a session ends when its worker does not say hello within 30 s', async () => {
    await vi.advanceTimersByTimeAsync(29_999);
    expect(connection.calls).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(connection.calls).toEqual(['dropQueued', 'close 4403 did not say hello for 30 s']);
    expect(ends).toEqual([{ reason: 'did not say hello for 30 s', isPolite: false }]);
  });

  it('a tab gets a sign of life every 5 s as long as it is there, and its name is that of its browser', async () => {
    connection.hear({ ...HELLO, name: 'browser-1f3a/1', runtime: 'Chrome 141', isTab: true });
    expect(session.name).toBe('worker 1 (browser-1f3a/1 browser Chrome 141)');
    await vi.advanceTimersByTimeAsync(15_000);
    const types = connection.sent.map(({ type }) => type);
    expect(types).toEqual(['welcome', 'alive', 'alive', 'alive']);
    connection.lose(1001);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(connection.sent).toHaveLength(4);
  });

  it('a worker of Node.js, which sees pings, gets no other sign of life', async () => {
    greet();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(connection.sent.map(({ type }) => type)).toEqual(['welcome']);
  });

  it('a worker has 120 s to ask for a chunk of the dataset, and 120 s for each part of it', async () => {
    greet();
    for (let chunk = 0; chunk < 3; chunk++) {
      await vi.advanceTimersByTimeAsync(119_999);
      fetch(chunk);
      await vi.advanceTimersByTimeAsync(119_999);
      connection.take(false);
      await vi.advanceTimersByTimeAsync(119_999);
      connection.take();
    }
    expect(connection.calls).toEqual([]);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(connection.calls.at(-1)).toBe('close 4403 stopped loading the dataset for 120 s');
  });

  it('a session sends chunks from the dataset itself, without a copy, in fragments of 256 KiB', () => {
    greet();
    for (let chunk = 0; chunk < 2; chunk++) fetch(chunk);
    const [, second = []] = connection.fragments;
    const [head, ...body] = second;
    expect(head?.length).toBeLessThan(200);
    expect(body.map(({ buffer, byteOffset, length }) => [buffer, byteOffset, length])).toEqual(
      Array.from({ length: 16 }, (_, part) => [DATASET.buffer, CHUNK + part * 2 ** 18, 2 ** 18]),
    );
  });

  it('a session ends when its worker does not read a chunk for 120 s, even after it has said that it is ready', async () => {
    const welcome = greet();
    fetch(0);
    fetch(1);
    connection.hear({ type: 'ready', proof: INSTANCE.prove(welcome) });
    await vi.advanceTimersByTimeAsync(119_999);
    expect(connection.calls).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(connection.calls.at(-1)).toBe('close 4403 stopped loading the dataset for 120 s');
  });

  it.each([
    ['again', [0, 0], 'bytes 0 to 4194304', '4194304 to 8388608'],
    ['out of order', [1], 'bytes 4194304 to 8388608', '0 to 4194304'],
  ])('a session ends when its worker asks for a chunk %s', (_, chunks, asked, expected) => {
    greet();
    for (const chunk of chunks) fetch(chunk);
    const name = WELCOME.datasetSha256.slice(0, 12);
    const reason = `asked for ${asked} of dataset ${name}, not for ${expected} of ${name}`;
    expect(connection.calls.at(-1)).toBe(`close 4402 ${reason}`);
  });

  it('a session ends when its worker asks for chunks of the dataset that are too small', () => {
    greet();
    connection.hear({ type: 'fetch', sha256: WELCOME.datasetSha256, offset: 0, length: 1 });
    expect(connection.calls.at(-1)).toMatch(
      /^close 4402 asked for bytes 0 to 1 of dataset .*, not for 0 to 4194304 of/,
    );
  });

  it('a session ends when its worker waits for more than eight chunks at a time', () => {
    greet();
    for (let chunk = 0; chunk < 8; chunk++) fetch(chunk);
    connection.take();
    fetch(8);
    connection.take(false);
    expect(connection.calls).toEqual([]);
    fetch(9);
    expect(connection.calls.at(-1)).toBe('close 4402 asked for more than 8 chunks of the dataset ahead');
  });

  it('a session ends when its worker asks for bytes beyond the end of the dataset', () => {
    greet();
    for (let chunk = 0; chunk < 11; chunk++) {
      fetch(chunk);
      connection.take();
    }
    connection.hear({ type: 'fetch', sha256: WELCOME.datasetSha256, offset: DATASET.length, length: 1 });
    expect(connection.calls.at(-1)).toMatch(/^close 4402 asked for bytes/);
  });

  it('a session has no deadline once its worker is ready', async () => {
    join();
    await vi.advanceTimersByTimeAsync(1_000_000);
    expect({ numReady, calls: connection.calls }).toEqual({ numReady: 1, calls: [] });
  });

  it.each([
    ['answers another welcome', (run: string) => INSTANCE.prove({ run, nonce: '0123456789abcdef' })],
    [
      'answers the welcome of another run',
      (_: string, nonce: string) => INSTANCE.prove({ run: 'other', nonce }),
    ],
    ['is signed by another instance', (run: string, nonce: string) => new Instance().prove({ run, nonce })],
    ['is not signed', () => '00'.repeat(64)],
  ])('a session refuses a "ready" that %s', async (_what, prove) => {
    const { run, nonce } = greet();
    expect(nonce).toMatch(/^[0-9a-f]{16}$/);
    connection.hear({ type: 'ready', proof: prove(run, nonce) });
    await Promise.resolve();
    const reason = '"ready" does not prove the instance of "hello" on this connection';
    expect(connection.calls.at(-1)).toBe(`close 4402 ${reason}`);
    expect({ numReady, numEnds: ends.length }).toEqual({ numReady: 0, numEnds: 1 });
  });

  it('a session whose worker is evicted ends at once, and only once, even if the connection closes later', async () => {
    join();
    session.evict(4402, 'sent nonsense');
    // The end is reported later, because the caller may be in the middle of something.
    expect(ends).toEqual([]);
    await Promise.resolve();
    expect(ends).toEqual([{ reason: 'sent nonsense', isPolite: false }]);
    session.evict(4402, 'sent more nonsense');
    connection.hear({ type: 'leave' });
    session.send(Buffer.alloc(10));
    connection.lose(1006);
    await Promise.resolve();
    expect(ends).toHaveLength(1);
    expect(connection.calls).toEqual(['dropQueued', 'close 4402 sent nonsense']);
    expect(connection.sent).toHaveLength(1);
  });

  it('a session ends as soon as its worker says goodbye', async () => {
    join();
    connection.hear({ type: 'leave' });
    await Promise.resolve();
    expect(ends).toEqual([{ reason: 'it said goodbye', isPolite: true }]);
  });

  it('a session cuts off a worker that does not read what is queued for it', async () => {
    join();
    const message = encodeMessage({ type: 'stop', reason: 'for its length' });
    connection.bufferedBytes = MAX_QUEUED_BYTES + message.length;
    session.send(message);
    expect(connection.calls).toEqual([]);
    connection.bufferedBytes++;
    session.send(message);
    await Promise.resolve();
    expect(connection.calls).toEqual(['terminate']);
    const reason = `does not read: ${connection.bufferedBytes} bytes are queued for it`;
    expect(ends).toEqual([{ reason, isPolite: false }]);
  });

  it('a session drops the weights still queued when it tells its worker that the run is over', () => {
    join();
    session.finish('the run is finished', true);
    expect(connection.calls).toEqual(['dropQueued', 'close 1000 the run is finished']);
    expect(connection.sent.at(-1)).toEqual({ type: 'stop', reason: 'the run is finished' });
    connection.lose(1000);
    expect(ends).toEqual([{ reason: 'the run is finished', isPolite: true }]);
  });

  it('a session does not tell its worker to stop if the run can be resumed later', () => {
    join();
    const numSent = connection.sent.length;
    session.finish('the run has ended early', false);
    expect(connection.calls).toEqual(['dropQueued', 'close 1001 the run has ended early']);
    expect(connection.sent).toHaveLength(numSent);
  });
});

describe.skipIf(process.platform !== 'linux')('the files of a worker session', () => {
  /** Says hello from an address, where files are to be had; returns the welcome. */
  function greetFrom(address: string): WelcomeMessage {
    const weights = SharedFile.create(64);
    onTestFinished(() => weights.close());
    connection = new MemoryConnection();
    connection.remoteAddress = address;
    session = createSession(weights);
    onTestFinished(() => connection.lose(1006));
    return greet();
  }

  /** Joins with files or without; `sharedNonce` is what it makes of the true nonce. */
  function joinWith(makeNonce: (nonce: string) => string | undefined): SharedMemory {
    const welcome = greetFrom('127.0.0.1');
    if (!welcome.sharedMemory) throw new Error('there was no offer');
    const memory = new SharedMemory(welcome.sharedMemory);
    onTestFinished(() => memory.close());
    const sharedNonce = makeNonce(memory.nonce);
    connection.hear({ type: 'ready', proof: INSTANCE.prove(welcome), sharedNonce });
    return memory;
  }

  it.each([
    ['127.0.0.1', true],
    ['::1', true],
    ['192.168.0.7', false],
    ['unknown', false],
  ])('a worker at %s is offered files: %s', (address, isOffered) => {
    expect(greetFrom(address).sharedMemory !== undefined).toBe(isOffered);
  });

  it('a result in the file is passed on as one, and its room is free once it has been taken', () => {
    const memory = joinWith((nonce) => nonce);
    expect(session.sharesMemory).toBe(true);
    const extents = [1, 2].map((value) => {
      const extent = memory.store(Uint8Array.of(value, 0, 0, 0));
      connection.hear({ ...GRADIENT, extent });
      return extent;
    });
    expect(results.every((body) => body instanceof FileBody && body.byteLength === 4)).toBe(true);
    expect(extents[1]?.offset).toBe(extents[0]?.offset);
  });

  it('a worker that does not take the offer cannot name a body in the file', async () => {
    joinWith(() => undefined);
    expect({ sharesMemory: session.sharesMemory, numReady }).toEqual({ sharesMemory: false, numReady: 1 });
    connection.hear({ ...GRADIENT, extent: { offset: 64, length: 4 } });
    await Promise.resolve();
    expect(connection.calls.at(-1)).toBe('close 4402 "gradient" names a file that is not shared');
  });

  it('a worker that gives another nonce back is turned away', async () => {
    joinWith(() => '00'.repeat(32));
    await Promise.resolve();
    expect(connection.calls.at(-1)).toBe('close 4402 "ready" does not prove that it has the file of results');
    expect(numReady).toBe(0);
  });

  it('a body outside the file gets its sender turned away', async () => {
    joinWith((nonce) => nonce);
    connection.hear({ ...GRADIENT, extent: { offset: 64 * 2 ** 20 + 64, length: 4 } });
    await Promise.resolve();
    expect(connection.calls.at(-1)).toMatch(/^close 4400 4 bytes at \d+ of a file of \d+ cannot be a body$/);
  });

  it('a session that ends closes its file', async () => {
    const welcome = greetFrom('127.0.0.1');
    const { results: descriptor } = welcome.sharedMemory as SharedMemoryOffer;
    expect(fs.fstatSync(descriptor).isFile()).toBe(true);
    connection.lose(1006);
    await Promise.resolve();
    expect(() => SharedFile.open(process.pid, descriptor, 'read')).toThrow();
  });
});

function placementOf(fanIn: number, isDistrusted: boolean): Placement {
  return new Placement({ fanIn, isDistrusted: () => isDistrusted, onBeyond: () => undefined });
}

describe('a worker session in a tree', () => {
  const LISTENING = { ...HELLO, listen: { port: 7701 } };

  it('a session is told the fan-in, and sends a worker without a place on to the one that it has', () => {
    const placement = placementOf(1, false);
    session = createSession(undefined, placement);
    connection.hear(LISTENING);
    expect(connection.sent[0]).toMatchObject({ type: 'welcome', fanIn: 1 });
    connection = new MemoryConnection();
    session = createSession(undefined, placement);
    connection.hear({ ...HELLO, instance: 'ab'.repeat(32) });
    expect(connection.sent).toEqual([{ type: 'redirect', url: 'ws://10.0.0.1:7701' }]);
    expect(connection.calls.at(-1)).toBe('close 1000 sent on to ws://10.0.0.1:7701');
  });

  it('the place of a worker that is gone is free for the next one', async () => {
    const placement = placementOf(1, false);
    session = createSession(undefined, placement);
    connection.hear(LISTENING);
    connection.lose(1006);
    connection = new MemoryConnection();
    session = createSession(undefined, placement);
    connection.hear({ ...HELLO, instance: 'ab'.repeat(32) });
    expect(connection.sent).toMatchObject([{ type: 'welcome' }]);
  });

  it('a session passes on the workers below an aggregator', () => {
    session = createSession(undefined, placementOf(2, false));
    join();
    connection.hear({ type: 'members', instances: ['ab'.repeat(32)] });
    expect(members).toEqual([['ab'.repeat(32)]]);
  });

  it.each([
    ['of a star', undefined],
    ['that has to work alone', placementOf(2, true)],
  ])('a worker %s is told no fan-in, and is disconnected if it tells of workers below it', (_, placement) => {
    session = createSession(undefined, placement);
    join();
    expect(connection.sent[0]).not.toHaveProperty('fanIn');
    connection.hear({ type: 'members', instances: [] });
    expect(connection.calls.at(-1)).toBe('close 4402 "members" came from a worker that is to take none');
  });
});
