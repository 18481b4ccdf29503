// How a worker of Node.js reaches its coordinator: one attempt.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import { LockstepError, quoteValue, systemErrorCode } from '../src/errors.ts';
import { printable } from '../src/printable.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { SOCKET_OPTIONS } from '../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../src/protocol/limits.ts';
import { WebSocketConnection } from '../src/protocol/web-socket-connection.ts';
import { readTls, type TlsFiles } from '../src/protocol/tls.ts';
import { connectTimeout, final, httpFailure, notCoordinator, retryable } from './connect-failure.ts';
import type { ConnectError } from './connect-failure.ts';

/** The address to connect to, and the token to show. */
export interface ConnectOptions {
  /** `ws://host:port`, or `wss://` for TLS; a path where a proxy has one. */
  readonly url: string;
  readonly token?: string | undefined;
  /** The files of `wss://`, read anew for each connection, since they are renewed. */
  readonly tls?: TlsFiles | undefined;
  /** Gives up the attempt; a connection that is open already is not affected. */
  readonly signal?: AbortSignal | undefined;
  /** Time from resolving the name to the open connection; default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** Time between two pings; default 5000. */
  readonly heartbeatMs?: number | undefined;
}

const TIMEOUT_MS = 10_000;
const PROBE_MS = 3000;
const MAX_ANSWER_LENGTH = 200;

/** A coordinator that has been silent for six intervals is gone: twice as long as it waits for us. */
const HEARTBEAT_MS = 5000;
const MAX_SILENT_INTERVALS = 6;

/**
 * Connects to a coordinator.
 * @throws LockstepError for a URL that cannot be one, `ConnectError` if the connection fails, and
 * the signal's reason if that is aborted.
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { tls = {}, token, signal, timeoutMs = TIMEOUT_MS, heartbeatMs: intervalMs = HEARTBEAT_MS } = options;
  const url = parseUrl(options.url);
  signal?.throwIfAborted();
  const webSocket = new WebSocket(url, SUBPROTOCOL, {
    ...SOCKET_OPTIONS,
    ...(url.protocol === 'wss:' && readTls(tls)),
    followRedirects: false,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    // A zero mask is left out by ws on both sides, which makes a message three times as
    // fast. Masks keep web pages from planting HTTP in a proxy's cache; a worker sends no
    // bytes of a web page's choosing.
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
    webSocket.once('unexpected-response', (_request, response) => {
      // An answer that does not end is cut by the timer.
      void readAnswer(response).then((answer) => fail(httpFailure(url, response.statusCode ?? 0, answer)));
    });
    webSocket.once('close', settle);
    // `terminate` of an unfinished attempt makes one more error, which finds the promise settled.
    webSocket.on('error', (error) => void socketFailure(url, error).then(reject));
    webSocket.once('open', () => {
      settle();
      const heartbeat = { intervalMs, maxSilentIntervals: MAX_SILENT_INTERVALS };
      resolve(new WebSocketConnection({ id: 0, webSocket, socket: socket as Socket, heartbeat }));
    });
  });
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
      help: `${help}, and the token with --token-file`,
    });
  }
  return url;
}

/** The error for a failure below HTTP: name resolution, TCP, TLS, or bytes that are no HTTP. */
async function socketFailure(url: URL, error: Error): Promise<ConnectError> {
  const code = systemErrorCode(error) ?? '';
  if (code === 'ECONNREFUSED') {
    return retryable('E_CONNECTION_REFUSED', `nothing listens at ${url.host} (${code})`, {
      help: 'start the coordinator, or check host and port',
      cause: error,
    });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return retryable('E_DNS', `cannot find the address of ${url.hostname} (${code})`, {
      help: 'check the host name, or give an IP address',
      cause: error,
    });
  }
  if (isTlsProblem(code)) return tlsFailure(url, code, error);
  if (code.startsWith('HPE_')) return notCoordinator(url, 'not in HTTP', error);
  if (code === '') return notCoordinator(url, error.message, error);
  if (url.protocol === 'ws:' && code === 'ECONNRESET' && (await speaksTls(url))) {
    return final('E_TLS', `${url.host} speaks TLS`, {
      help: `its URL is wss://${url.host}${url.pathname}`,
      cause: error,
    });
  }
  return retryable('E_CONNECTION_FAILED', `cannot connect to ${url.host} (${code})`, {
    help:
      code === 'ECONNRESET'
        ? 'the log of the coordinator says so if it has turned this machine away; else check the network'
        : 'check the network between this machine and the coordinator',
    cause: error,
  });
}

/** Tells whether a port that has cut a plain connection would make a secure one. */
function speaksTls({ hostname, port }: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const host = hostname.replace(/^\[|\]$/g, '');
    // Nothing is sent, so it does not matter who is there.
    const socket = tlsConnect({
      host,
      port: Number(port || 80),
      rejectUnauthorized: false,
      timeout: PROBE_MS,
    });
    const end = (found: boolean): void => {
      socket.destroy();
      resolve(found);
    };
    socket.once('secureConnect', () => end(true));
    for (const name of ['error', 'timeout', 'close']) socket.once(name, () => end(false));
  });
}

/** The first line of an answer, which stands in the message. */
async function readAnswer(response: IncomingMessage): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += String(chunk);
      if (text.length > MAX_ANSWER_LENGTH) break;
    }
  } catch {
    // A response that breaks off says as much as it has said.
  }
  return printable(text.trim().split('\n')[0] as string).slice(0, MAX_ANSWER_LENGTH);
}

/** The error for a secure connection that was not made. Both ends may have a certificate that the other refuses. */
function tlsFailure(url: URL, code: string, cause: Error): ConnectError {
  const { host } = url;
  const fail = (message: string, help: string): ConnectError =>
    final('E_TLS', `${message} (${code})`, { help, cause });
  const certificate = `the certificate of ${host}`;
  const words = cause.message;
  if (/wrong version number/i.test(words))
    return fail(
      `${host} does not speak TLS`,
      `a coordinator without a certificate is reached by ws://${host}`,
    );
  if (/protocol version/i.test(words))
    return fail(`${host} does not speak TLS 1.3`, 'let the proxy there allow it');
  if (/alert/i.test(words)) {
    const help = 'give --tls-cert and --tls-key of an authority that it knows';
    return fail(`${host} does not accept the certificate of this worker, or wants one`, help);
  }
  if (code === 'CERT_HAS_EXPIRED') return fail(`${certificate} has expired`, `renew it, ${CLOCK_HELP}`);
  if (code === 'CERT_NOT_YET_VALID')
    return fail(`${certificate} is not valid yet`, `renew it, ${CLOCK_HELP}`);
  if (code.includes('ALTNAME')) {
    const { cert } = cause as { readonly cert?: { readonly subjectaltname?: string } };
    const names = printable(cert?.subjectaltname ?? 'none');
    return fail(
      `${certificate} is for other names: ${names}`,
      'use one of them in the URL, or have it issued for this one',
    );
  }
  if (/SELF_SIGNED|ISSUER|VERIFY/.test(code)) {
    const help = 'if it is an authority of yours, name it: --tls-ca ca.pem';
    return fail(`${certificate} is signed by an authority that this worker does not know`, help);
  }
  return fail(`cannot make a secure connection to ${host}`, 'check its certificate');
}

const CLOCK_HELP = 'or set the clock of this machine';

/** TLS failures carry OpenSSL's names, which share no prefix. */
function isTlsProblem(code: string): boolean {
  return (
    code === 'EPROTO' ||
    code.startsWith('ERR_SSL') ||
    code.startsWith('ERR_TLS') ||
    /CERT|SIGNATURE/.test(code)
  );
}
