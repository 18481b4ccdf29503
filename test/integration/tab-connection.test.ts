// The connection of a tab over a WebSocket that has the interface of a browser's, here that of ws.
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { WebSocket } from 'ws';
import { formatError, LockstepError } from '../../src/errors.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { connectTab } from '../../worker/browser/connection.ts';
import { exchange, listenEchoing, listenersOf, TOKEN, until } from '../helpers/echo-listener.ts';
import type { Port } from '../helpers/echo-listener.ts';

/** A WebSocket that says where its page is from, as a browser does. */
class PageWebSocket extends WebSocket {
  constructor(url: string, subprotocols: string[]) {
    super(url, subprotocols, { origin: url.replace(/^ws/, 'http').replace(/\/$/, '') });
    // A browser's is silent where nobody listens.
    this.on('error', () => undefined);
  }
}

const before = globalThis.WebSocket;
beforeAll(() => vi.stubGlobal('WebSocket', PageWebSocket));
afterAll(() => vi.stubGlobal('WebSocket', before));

async function openPort(options: Parameters<typeof listenEchoing>[0] = {}): Promise<Port> {
  const port = await listenEchoing({ browserWorkers: { isTokenNew: false }, ...options });
  onTestFinished(() => port.close());
  return port;
}

const connect = ({ port }: Pick<Port, 'port'>, token: string | undefined = TOKEN): Promise<Connection> =>
  connectTab(`ws://127.0.0.1:${port}/`, token, new AbortController().signal);

async function errorOf(attempt: Promise<Connection>): Promise<{ text: string; isRetryable: unknown }> {
  const error: unknown = await attempt.then(() => undefined).catch((thrown: unknown) => thrown);
  if (!(error instanceof LockstepError)) throw error;
  return {
    text: formatError(error),
    isRetryable: 'isRetryable' in error && error.isRetryable,
  };
}

describe('the connection of a tab', () => {
  it('a tab exchanges messages, and counts what it gets', async () => {
    const connection = await connect(await openPort());
    const data = Buffer.from('hello');
    expect(await exchange(connection, data)).toEqual(data);
    expect(connection.bytesRead).toBe(5);
    expect(connection.remoteAddress).toBe('unknown');
  });

  it('the reason for a goodbye reaches the coordinator, with a code that a page may send', async () => {
    const port = await openPort();
    for (const [code, reason] of [
      [1000, 'leaving'],
      [1001, 'é'.repeat(100)],
      [4402, 'a broken rule'],
    ] as const) {
      const connection = await connect(port);
      const ended = new Promise((resolve) => connection.onClose((code, reason) => resolve([code, reason])));
      connection.close(code, reason);
      // Nothing is sent after a goodbye.
      connection.send(Buffer.from('late'));
      expect(await ended).toEqual([code, reason]);
    }
    await until(() => port.endings.length === 3);
    expect(port.endings.map(({ code, reason }) => [code, reason])).toEqual([
      [1000, 'leaving'],
      [1000, 'é'.repeat(61)],
      [4402, 'a broken rule'],
    ]);
  });

  it('the goodbye of a coordinator reaches the tab', async () => {
    const port = await openPort();
    const connection = await connect(port);
    const ended = new Promise((resolve) => (listenersOf(connection).onClose = (...args) => resolve(args)));
    port.accepted[0]?.close(4405, 'banned');
    expect(await ended).toEqual([4405, 'banned']);
  });

  it('a coordinator from which nothing is heard for 60 s is gone, and one that says something is not', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const connection = await connect(await openPort({ heartbeatMs: 1e9 }));
    const endings: string[] = [];
    listenersOf(connection).onClose = (code, reason) => endings.push(`${code} ${reason}`);
    vi.advanceTimersByTime(55_000);
    await exchange(connection, Buffer.from('alive'));
    listenersOf(connection).onClose = (code, reason) => endings.push(`${code} ${reason}`);
    vi.advanceTimersByTime(59_999);
    expect(endings).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(endings).toEqual(['1006 nothing was received for 60 s']);
  });

  it('a signal gives up an attempt', async () => {
    const port = await openPort();
    const stop = new AbortController();
    const attempt = connectTab(`ws://127.0.0.1:${port.port}/`, TOKEN, stop.signal);
    stop.abort(new Error('the page leaves'));
    await expect(attempt).rejects.toThrow('the page leaves');
  });

  it.each<[string, string | undefined, Parameters<typeof listenEchoing>[0], string, boolean]>([
    [
      'a wrong token',
      'wrong',
      {},
      'error[E_UNAUTHORIZED]: HOST does not accept the token of this link\n  help: open the link once more as the coordinator prints it, or give the token below',
      false,
    ],
    [
      'no token',
      undefined,
      {},
      'error[E_UNAUTHORIZED]: HOST wants a token\n  help: open the link once more as the coordinator prints it, or give the token below',
      false,
    ],
    [
      'a run that is being prepared',
      TOKEN,
      { onConnection: undefined },
      'error[E_COORDINATOR_BUSY]: HOST accepts no workers at the moment (HTTP 503)\n  help: it may be starting, or have all the workers it allows',
      true,
    ],
    [
      'a coordinator that serves no page any more',
      TOKEN,
      { browserWorkers: undefined },
      'error[E_NOT_A_COORDINATOR]: HOST is not a Lockstep coordinator (it answered: HTTP 404)\n  help: check host and port',
      false,
    ],
  ])('%s is told in words', async (_, token, options, text, isRetryable) => {
    const port = await openPort(options);
    const attempt = connectTab(`ws://127.0.0.1:${port.port}/`, token, new AbortController().signal);
    const host = `127.0.0.1:${port.port}`;
    expect(await errorOf(attempt)).toEqual({ text: text.replace('HOST', host), isRetryable });
  });

  it('a coordinator that is away is tried again', async () => {
    const port = await openPort();
    await port.close();
    expect(await errorOf(connect(port))).toEqual({
      text: `error[E_CONNECTION_REFUSED]: cannot reach 127.0.0.1:${port.port}\n  help: the coordinator may have ended, or the network is away`,
      isRetryable: true,
    });
  });
});
