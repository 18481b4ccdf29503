// The coordinator's port against clients that lie, stall, flood and talk nonsense. In each case a worker that
// behaves goes on exchanging messages meanwhile.
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { listen } from '../../coordinator/listener.ts';
import type { Listener, ListenOptions } from '../../coordinator/listener.ts';
import { formatError, LockstepError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { MAX_MESSAGE_BYTES } from '../../src/protocol/limits.ts';
import { connect } from '../../worker/connection.ts';
import { frame, OPCODE, RawClient, upgradeRequest } from '../helpers/raw-client.ts';

const TOKEN = 'a token of thirty-two characters'.replaceAll(' ', '-');
const AUTHORIZATION = { Authorization: `Bearer ${TOKEN}` };
const log = createLogger({ level: 'silent' });

interface Ending {
  readonly id: number;
  readonly code: number;
  readonly reason: string;
}

/** A listener and what became of its connections, in order. */
interface Port extends Listener {
  readonly accepted: Connection[];
  readonly endings: Ending[];
}

let port: Port;
let good: Connection;

/** A listener that echoes every message. */
async function listenEchoing(options: Partial<ListenOptions> = {}): Promise<Port> {
  const accepted: Connection[] = [];
  const endings: Ending[] = [];
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    token: TOKEN,
    maxWorkers: 4,
    log,
    onConnection: (connection) => {
      accepted.push(connection);
      connection.onMessage((data) => connection.send(data));
      connection.onClose((code, reason) => endings.push({ id: connection.id, code, reason }));
    },
    ...options,
  });
  return { ...listener, accepted, endings };
}

function connectGood({ port: number }: Port): Promise<Connection> {
  return connect({ url: `ws://127.0.0.1:${number}`, token: TOKEN });
}

/** Sends a message and waits for its echo. */
async function exchange(connection: Connection, data: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    listenersOf(connection).onMessage = resolve;
    listenersOf(connection).onClose = (code, reason) => reject(new Error(`closed: ${code} ${reason}`));
    connection.send(data);
  });
}

interface Listeners {
  onMessage: (data: Buffer) => void;
  onClose: (code: number, reason: string) => void;
}
const listeners = new WeakMap<Connection, Listeners>();

/** Replaceable listeners: a connection takes one for messages. */
function listenersOf(connection: Connection): Listeners {
  const known = listeners.get(connection);
  if (known) return known;
  const fresh: Listeners = { onMessage: () => undefined, onClose: () => undefined };
  listeners.set(connection, fresh);
  connection.onMessage((data) => fresh.onMessage(data));
  connection.onClose((code, reason) => fresh.onClose(code, reason));
  return fresh;
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** The ending of the connection admitted after the good one. */
async function endingOfIntruder(): Promise<Omit<Ending, 'id'>> {
  await until(() => port.endings.length > 0);
  const { id, ...ending } = port.endings[0] as Ending;
  expect(id).toBe(2);
  return ending;
}

beforeEach(async () => {
  port = await listenEchoing();
  good = await connectGood(port);
  // From now on it reads, and answers pings.
  listenersOf(good);
});

afterEach(async () => {
  const message = Buffer.from('still here');
  expect(await exchange(good, message)).toEqual(message);
  await port.close();
});

describe('a worker that behaves', () => {
  it('exchanges messages from one byte to the largest, unchanged', async () => {
    for (const length of [1, 125, 126, 65_535, 65_536, 1_000_000, MAX_MESSAGE_BYTES]) {
      const data = Buffer.alloc(length, 'abc');
      expect(Buffer.compare(await exchange(good, data), data)).toBe(0);
    }
  });

  it('is told when the coordinator shuts down', async () => {
    const other = await listenEchoing();
    const worker = await connectGood(other);
    const workerEnded = new Promise((resolve) => worker.onClose((...ending) => resolve(ending)));
    worker.onMessage(() => undefined);
    await other.close();
    expect(await workerEnded).toEqual([1001, 'the coordinator is shutting down']);
  });

  it('is seen by address, and its bytes are counted', async () => {
    const before = port.accepted[0]?.bytesRead ?? 0;
    await exchange(good, Buffer.alloc(1000));
    expect(port.accepted[0]?.remoteAddress).toBe('127.0.0.1');
    expect((port.accepted[0]?.bytesRead ?? 0) - before).toBeGreaterThanOrEqual(1000);
  });

  it('leaves with its own code and reason', async () => {
    const worker = await connectGood(port);
    worker.onMessage(() => undefined);
    worker.close(1000, 'é'.repeat(100));
    expect(await endingOfIntruder()).toEqual({ code: 1000, reason: 'é'.repeat(61) });
  });

  it('gets nothing after it was sent away, although it goes on sending', async () => {
    const worker = await connectGood(port);
    await exchange(worker, Buffer.from('hello'));
    port.accepted[1]?.close(4400, 'malformed');
    worker.send(Buffer.from('more'));
    const heard: Buffer[] = [];
    listenersOf(worker).onMessage = (data) => heard.push(data);
    expect(await endingOfIntruder()).toEqual({ code: 4400, reason: 'malformed' });
    expect(heard).toEqual([]);
  });
});

describe('a client that is turned away before it is a WebSocket', () => {
  it.each([
    ['no token', {}, 'HTTP/1.1 401 Unauthorized', 'a token is required\n'],
    ['a wrong token', { Authorization: `Bearer ${TOKEN}x` }, 'HTTP/1.1 401 Unauthorized', 'wrong token\n'],
    ['another scheme', { Authorization: `Basic ${TOKEN}` }, 'HTTP/1.1 401 Unauthorized', 'wrong token\n'],
    [
      'a browser',
      { ...AUTHORIZATION, Origin: 'https://example.org' },
      'HTTP/1.1 403 Forbidden',
      'browsers cannot be workers\n',
    ],
    [
      'no subprotocol',
      { ...AUTHORIZATION, 'Sec-WebSocket-Protocol': '' },
      'HTTP/1.1 426 Upgrade Required',
      'only lockstep.v1 is spoken here\n',
    ],
    [
      'another subprotocol',
      { ...AUTHORIZATION, 'Sec-WebSocket-Protocol': 'lockstep.v2' },
      'HTTP/1.1 426 Upgrade Required',
      'only lockstep.v1 is spoken here\n',
    ],
  ])('because of %s', async (_, headers, statusLine, body) => {
    const client = await RawClient.open(port.port);
    client.socket.write(upgradeRequest(headers));
    await client.untilClosed();
    expect(client.statusLine).toBe(statusLine);
    expect(client.afterHead.toString()).toBe(body);
    expect(port.accepted).toHaveLength(1);
  });

  it('because all places are taken', async () => {
    for (let worker = 1; worker < 4; worker++) listenersOf(await connectGood(port));
    const client = await RawClient.open(port.port);
    client.socket.write(upgradeRequest(AUTHORIZATION));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 503 Service Unavailable');
    expect(client.afterHead.toString()).toBe('all 4 places for workers are taken\n');
  });

  it('because its handshake is broken', async () => {
    const client = await RawClient.open(port.port);
    client.socket.write(upgradeRequest({ ...AUTHORIZATION, 'Sec-WebSocket-Key': 'short' }));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 400 Bad Request');
  });

  it('because it sends garbage', async () => {
    const client = await RawClient.open(port.port);
    client.socket.write(Buffer.from(Array.from({ length: 2000 }, (_, index) => (index * 167) & 255)));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 400 Bad Request');
  });

  it('because its headers are too long', async () => {
    const client = await RawClient.open(port.port);
    client.socket.write(upgradeRequest({ ...AUTHORIZATION, 'X-Long': 'x'.repeat(9000) }));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 431 Request Header Fields Too Large');
  });

  it('because it says nothing, or says it drop by drop, within 5 s', async () => {
    const silent = await RawClient.open(port.port);
    const dripping = await RawClient.open(port.port);
    const request = upgradeRequest(AUTHORIZATION);
    let position = 0;
    const drip = setInterval(() => dripping.socket.write(request.charAt(position++)), 100);
    onTestFinished(() => clearInterval(drip));
    const times = await Promise.all([silent.untilClosed(), dripping.untilClosed()]);
    expect(Math.max(...times)).toBeLessThan(5000);
    expect(port.accepted).toHaveLength(1);
  });

  it('because its address has too many sockets without a token', async () => {
    const crowd = Array.from({ length: 66 }, () => net.connect(port.port, '127.0.0.1'));
    const closed = new Set<net.Socket>();
    for (const socket of crowd) {
      socket.on('error', () => undefined).on('close', () => closed.add(socket));
      socket.resume();
      onTestFinished(() => void socket.destroy());
    }
    await until(() => closed.size >= 2);
    expect(closed.size).toBe(2);
    for (const socket of crowd) socket.destroy();
    await until(() => closed.size === 66);
    const worker = await connectGood(port);
    expect(await exchange(worker, Buffer.from('x'))).toEqual(Buffer.from('x'));
  });
});

describe('a worker that misbehaves on its WebSocket', () => {
  async function intrude(...frames: Buffer[]): Promise<RawClient> {
    const client = await RawClient.openWebSocket(port.port, AUTHORIZATION);
    for (const bytes of frames) client.socket.write(bytes);
    return client;
  }

  it('by a text message is sent away with 1003', async () => {
    await intrude(frame(OPCODE.text, Buffer.from('hello')));
    expect(await endingOfIntruder()).toEqual({ code: 1003, reason: 'only binary messages are spoken here' });
  });

  it.each([
    [
      'an unmasked frame',
      frame(OPCODE.binary, Buffer.alloc(10), { isMasked: false }),
      'Invalid WebSocket frame: MASK must be set',
    ],
    [
      'a frame one byte over the limit',
      frame(OPCODE.binary, Buffer.alloc(0), { announced: MAX_MESSAGE_BYTES + 1 }),
      'Max payload size exceeded',
    ],
    [
      'a frame of 1 TiB',
      frame(OPCODE.binary, Buffer.alloc(0), { announced: 2 ** 40 }),
      'Max payload size exceeded',
    ],
    ['an unknown opcode', frame(5, Buffer.alloc(1)), 'Invalid WebSocket frame: invalid opcode 5'],
    [
      'a compressed frame',
      frame(OPCODE.binary | 0x40, Buffer.alloc(1)),
      'Invalid WebSocket frame: RSV1 must be clear',
    ],
    [
      'a ping of 126 bytes',
      frame(OPCODE.ping, Buffer.alloc(126)),
      'Invalid WebSocket frame: invalid payload length 127',
    ],
    [
      'text that is no UTF-8',
      frame(OPCODE.text, Buffer.from([0xff])),
      'Invalid WebSocket frame: invalid UTF-8 sequence',
    ],
    [
      'a close code of nobody',
      frame(OPCODE.close, Buffer.from([0, 1])),
      'Invalid WebSocket frame: invalid status code 1',
    ],
    [
      '17 fragments',
      Buffer.concat(
        Array.from({ length: 17 }, (_, index) =>
          frame(index === 0 ? OPCODE.binary : OPCODE.continuation, Buffer.alloc(1), { isFinal: false }),
        ),
      ),
      'Too many message fragments',
    ],
  ])('by %s is cut off', async (_, bytes, reason) => {
    const client = await intrude(bytes);
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason });
    await client.untilClosed();
  });

  it('by garbage after the handshake is cut off', async () => {
    await intrude(Buffer.alloc(100_000, 0xff));
    expect(await endingOfIntruder()).toEqual({
      code: 1006,
      reason: 'Invalid WebSocket frame: RSV2 and RSV3 must be clear',
    });
  });

  it('by vanishing in the middle of a message is forgotten', async () => {
    const client = await intrude(frame(OPCODE.binary, Buffer.alloc(1000), { announced: 100_000 }));
    client.socket.resetAndDestroy();
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason: '' });
  });

  it('by a flood of pings that it never reads the answers of costs no memory', async () => {
    const client = await intrude();
    client.socket.pause();
    const pings = Buffer.concat(Array.from({ length: 10_000 }, () => frame(OPCODE.ping, Buffer.alloc(125))));
    for (let round = 0; round < 10; round++) {
      if (!client.socket.write(pings)) await once(client.socket, 'drain');
    }
    expect(port.accepted[1]?.bufferedBytes).toBeLessThan(1000);
  });

  it('by not reading is seen in the bytes that pile up, and can be cut off', async () => {
    const client = await intrude();
    client.socket.pause();
    const large = Buffer.alloc(4_000_000);
    for (let count = 0; count < 8; count++) port.accepted[1]?.send(large);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(port.accepted[1]?.bufferedBytes).toBeGreaterThan(16_000_000);
    port.accepted[1]?.terminate('does not read');
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason: 'does not read' });
  });
});

describe('the heartbeat', () => {
  it('cuts off a worker that is silent for three intervals, and no other', async () => {
    const quick = await listenEchoing({ heartbeatMs: 100 });
    onTestFinished(() => quick.close());
    const alive = await connectGood(quick);
    const dead = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    alive.onMessage(() => undefined);
    const deadMs = await dead.untilClosed();
    expect(deadMs).toBeGreaterThan(250);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(quick.endings).toEqual([{ id: 2, code: 1006, reason: 'not a byte came for 0.3 s' }]);
  });

  it('leaves a worker alone that reads a backlog slowly and has nothing to say', async () => {
    const quick = await listenEchoing({ heartbeatMs: 200 });
    onTestFinished(() => quick.close());
    const slow = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    const [connection] = quick.accepted as [Connection];
    for (let count = 0; count < 60; count++) connection.send(Buffer.alloc(1_000_000));
    const start = performance.now();
    while (slow.socket.bytesRead < 40_000_000 && quick.endings.length === 0) {
      const before = slow.socket.bytesRead;
      slow.socket.resume();
      await until(() => slow.socket.bytesRead >= before + 2_000_000 || slow.socket.closed);
      slow.socket.pause();
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    expect(performance.now() - start).toBeGreaterThan(3 * 200);
    expect(quick.endings).toEqual([]);
    slow.socket.destroy();
  });

  it('leaves a worker alone that takes long to receive what is in the hands of the network already', async () => {
    const quick = await listenEchoing({ heartbeatMs: 200 });
    onTestFinished(() => quick.close());
    const url = await startSlowLine(quick.port, 65_536, 40);
    const worker = await connect({ url, token: TOKEN, heartbeatMs: 200 });
    const received = new Promise<Buffer>((resolve) => worker.onMessage(resolve));
    await until(() => quick.accepted.length > 0);
    const start = performance.now();
    // Pings come behind it.
    quick.accepted[0]?.send(Buffer.alloc(2_500_000));
    expect((await received).length).toBe(2_500_000);
    expect(performance.now() - start).toBeGreaterThan(2 * 3 * 200);
    expect(quick.endings).toEqual([]);
    worker.terminate();
  });

  /** A line to the port that brings `numBytes` every `intervalMs` to the worker, and takes what comes from there at once. */
  async function startSlowLine(target: number, numBytes: number, intervalMs: number): Promise<string> {
    const server = net.createServer((client) => {
      const upstream = net.connect(target, '127.0.0.1');
      upstream.on('error', () => client.destroy());
      client.on('error', () => upstream.destroy());
      client.pipe(upstream);
      const line = setInterval(() => {
        const chunk = (upstream.read(numBytes) ?? upstream.read()) as Buffer | null;
        if (chunk) client.write(chunk);
      }, intervalMs);
      client.on('close', () => {
        clearInterval(line);
        upstream.destroy();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    return `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  }
});

describe('the port', () => {
  it('answers a health check, and nothing else', async () => {
    const healthy = await fetch(`http://127.0.0.1:${port.port}/healthz`);
    expect([healthy.status, await healthy.text()]).toEqual([200, 'ok']);
    const other = await fetch(`http://127.0.0.1:${port.port}/`);
    expect([other.status, await other.text()]).toEqual([
      404,
      'a Lockstep coordinator: workers connect by WebSocket\n',
    ]);
  });

  async function errorOf(options: Partial<ListenOptions>): Promise<{ text: string; exitCode: number }> {
    const error: unknown = await listenEchoing(options).catch((thrown: unknown) => thrown);
    if (!(error instanceof LockstepError)) throw error;
    return { text: formatError(error), exitCode: error.exitCode };
  }

  it('that is in use is refused', async () => {
    expect(await errorOf({ port: port.port })).toEqual({
      text: `error[E_PORT_IN_USE]: port ${port.port} on 127.0.0.1 is in use\n  help: port 0 picks a free one`,
      exitCode: 5,
    });
  });

  it('of an address that is not ours is refused', async () => {
    expect(await errorOf({ host: '192.0.2.1' })).toEqual({
      text:
        'error[E_LISTEN]: cannot listen on port 0 of 192.0.2.1 (EADDRNOTAVAIL)\n' +
        '  help: give the address of an interface of this machine, and a port from 1024 on',
      exitCode: 5,
    });
  });

  it.each(['0.0.0.0', '::', '10.0.0.1', 'example.org'])('on %s is refused without a token', async (host) => {
    expect(await errorOf({ host, token: undefined })).toEqual({
      text:
        `error[E_TOKEN_REQUIRED]: listening on ${host} without a token would let anyone join who reaches the port\n` +
        '  help: give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127.0.0.1',
      exitCode: 2,
    });
  });

  it.each(['127.0.0.1', 'localhost'])('on %s needs no token', async (host) => {
    const open = await listenEchoing({ host, token: undefined });
    const worker = await connect({ url: `ws://${host}:${open.port}` });
    expect(await exchange(worker, Buffer.from('x'))).toEqual(Buffer.from('x'));
    await open.close();
  });

  it('takes 50 workers that come at once', async () => {
    const large = await listenEchoing({ maxWorkers: 50 });
    const workers = await Promise.all(Array.from({ length: 50 }, () => connectGood(large)));
    for (const worker of workers) expect((await exchange(worker, Buffer.from('x'))).length).toBe(1);
    await large.close();
  });
});
