// How a worker reaches its coordinator: one attempt, and how long to wait before the next.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { LockstepError, quoteValue } from '../src/errors.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../src/protocol/limits.ts';
import { SOCKET_OPTIONS } from '../src/protocol/socket-options.ts';
import { WebSocketConnection } from '../src/protocol/web-socket-connection.ts';
import { connectTimeout, httpFailure, socketFailure } from './connect-error.ts';

/** The address to connect to, and the token to show. */
export interface ConnectOptions {
  /** `ws://host:port`, or `wss://` where a proxy adds TLS. */
  readonly url: string;
  readonly token?: string | undefined;
  /** Gives up the attempt; a connection that is open already is not affected. */
  readonly signal?: AbortSignal | undefined;
  /** Time from resolving the name to the open connection; default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** Time between two pings; default 5000. */
  readonly heartbeatMs?: number | undefined;
}

const TIMEOUT_MS = 10_000;

/** A coordinator that has been silent for six intervals is gone: twice as long as it waits for us. */
const HEARTBEAT_MS = 5000;
const MAX_SILENT_INTERVALS = 6;

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 10_000;

/**
 * Connects to a coordinator.
 * @throws LockstepError for a URL that cannot be one, `ConnectError` if the connection fails, and the signal's
 * reason if that is aborted.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { token, signal, timeoutMs = TIMEOUT_MS, heartbeatMs: intervalMs = HEARTBEAT_MS } = options;
  const url = parseUrl(options.url);
  signal?.throwIfAborted();
  const webSocket = new WebSocket(url, SUBPROTOCOL, {
    ...SOCKET_OPTIONS,
    followRedirects: false,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    // A zero mask is left out by ws on both sides, which makes a message three times as fast. Masks keep web pages
    // from planting HTTP in a proxy's cache; a worker sends no bytes of a web page's choosing.
    generateMask: (mask) => mask.fill(0),
  });
  return new Promise((resolve, reject) => {
    const fail = (reason: Error) => {
      reject(reason);
      webSocket.terminate();
    };
    const timer = setTimeout(() => fail(connectTimeout(url, timeoutMs)), timeoutMs);
    const abort = () => fail(signal?.reason as Error);
    signal?.addEventListener('abort', abort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };

    let socket: Socket | undefined;
    webSocket.once('upgrade', (response: IncomingMessage) => (socket = response.socket));
    webSocket.once('unexpected-response', (_request, response) =>
      fail(httpFailure(url, response.statusCode ?? 0)),
    );
    webSocket.once('close', settle);
    // `terminate` of an unfinished attempt makes one more error, which finds the promise settled.
    webSocket.on('error', (error) => reject(socketFailure(url, error)));
    webSocket.once('open', () => {
      settle();
      const heartbeat = { intervalMs, maxSilentIntervals: MAX_SILENT_INTERVALS };
      resolve(new WebSocketConnection({ id: 0, webSocket, socket: socket as Socket, heartbeat }));
    });
  });
}

/**
 * Time to wait after the failed attempt number `attempt` (from 0): between 250 ms and a ceiling that doubles up
 * to 10 s, at random, so that the workers of a coordinator that comes back do not arrive all at once.
 * @param random gives a number from 0 to 1.
 */
export function retryDelayMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(MAX_RETRY_MS, 2 * MIN_RETRY_MS * 2 ** attempt);
  return MIN_RETRY_MS + random() * (ceiling - MIN_RETRY_MS);
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const help = 'give ws://HOST:PORT, as the coordinator prints it';
  if (!url || !['ws:', 'wss:'].includes(url.protocol) || url.hash !== '') {
    const message = `${quoteValue(text)} is not the address of a coordinator`;
    throw new LockstepError({ category: 'usage', code: 'E_URL', message, help });
  }
  if (url.username !== '' || url.password !== '' || url.search !== '') {
    // Not shown: what stands there may be a secret.
    const message = `the coordinator's address at ${url.host} has a password or parameters in it`;
    throw new LockstepError({
      category: 'usage',
      code: 'E_URL',
      message,
      help: `${help}, and the token by --token-file`,
    });
  }
  return url;
}
