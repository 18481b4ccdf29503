// The coordinator's port under test: it echoes every message, and a worker that behaves keeps exchanging
// messages with it whatever a test does meanwhile.
import { afterEach, beforeEach, expect } from 'vitest';
import { listen } from '../../coordinator/cluster/listener.ts';
import type { Listener, ListenOptions } from '../../coordinator/cluster/listener.ts';
import { createLogger } from '../../src/log.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { connect } from '../../worker/connection.ts';

export const TOKEN = 'a token of thirty-two characters'.replaceAll(' ', '-');
export const AUTHORIZATION = { Authorization: `Bearer ${TOKEN}` };
const log = createLogger({ level: 'silent' });

export interface Ending {
  readonly id: number;
  readonly code: number;
  readonly reason: string;
}

/** A listener and the endings of its connections, in order. */
export interface Port extends Listener {
  readonly accepted: Connection[];
  readonly endings: Ending[];
}

/** A listener that echoes every message. */
export async function listenEchoing(options: Partial<ListenOptions> = {}): Promise<Port> {
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

export function connectGood({ port: number }: Port): Promise<Connection> {
  return connect({ url: `ws://127.0.0.1:${number}`, token: TOKEN });
}

/** Sends a message and waits for its echo. */
export async function exchange(connection: Connection, data: Buffer): Promise<Buffer> {
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
export function listenersOf(connection: Connection): Listeners {
  const known = listeners.get(connection);
  if (known) return known;
  const fresh: Listeners = { onMessage: () => undefined, onClose: () => undefined };
  listeners.set(connection, fresh);
  connection.onMessage((data) => fresh.onMessage(data));
  connection.onClose((code, reason) => fresh.onClose(code, reason));
  return fresh;
}

export async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A port, and a worker that behaves. */
export interface EchoPair {
  readonly port: Port;
  readonly good: Connection;
}

/** Opens a pair for each test, and asserts after each that its worker still exchanges messages. */
export function useEchoListener(): EchoPair {
  let pair: EchoPair | undefined;
  const opened = (): EchoPair => {
    if (!pair) throw new Error('it is opened before each test, not earlier');
    return pair;
  };
  beforeEach(async () => {
    const port = await listenEchoing();
    pair = { port, good: await connectGood(port) };
    // From now on it reads, and answers pings.
    listenersOf(pair.good);
  });
  afterEach(async () => {
    const { port, good } = opened();
    const message = Buffer.from('still here');
    expect(await exchange(good, message)).toEqual(message);
    await port.close();
  });
  return {
    get port() {
      return opened().port;
    },
    get good() {
      return opened().good;
    },
  };
}
