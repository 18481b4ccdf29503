// A `Connection` over the WebSocket of a browser, and how a tab makes one.
import { CLOSE_TIMEOUT_MS, fitReason, httpUrl } from '../../src/protocol/connection.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../../src/protocol/limits.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import { tokenSubprotocol } from '../../src/protocol/tab-token.ts';
import { connectTimeout, final, httpFailure, notCoordinator, retryable } from '../connect-failure.ts';
import type { ConnectError } from '../connect-failure.ts';

const TIMEOUT_MS = 10_000;
const PROBE_MS = 5000;
const INTERVAL_MS = 5000;
/** Intervals without a whole message, after which the coordinator is gone: 4 MiB take 34 s at 1 Mbit/s. */
const MAX_SILENT_INTERVALS = 12;
/** The close code where no goodbye was heard. */
const ABNORMAL = 1006;
/** The lowest code of a goodbye that a browser sends, besides the normal one. */
const FIRST_OWN_CODE = 3000;

/** A connection over the WebSocket of a browser, which answers pings by itself and shows none. */
class TabConnection implements Connection {
  readonly id = 0;
  /** A page is not told. */
  readonly remoteAddress = 'unknown';
  readonly #webSocket: WebSocket;
  readonly #closeListeners: ((code: number, reason: string) => void)[] = [];
  readonly #timer = setInterval(() => this.#beat(), INTERVAL_MS);
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #silentIntervals = 0;
  #bytesRead = 0;
  /** The reason why this end closes the connection; once set, messages are neither taken nor passed on. */
  #ending: { readonly code: number; readonly reason: string } | undefined;
  #isOver = false;

  constructor(webSocket: WebSocket) {
    this.#webSocket = webSocket;
    webSocket.onclose = ({ code, reason }) => this.#finish(code, reason.replace(/\p{Cc}/gu, ' '));
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount;
  }

  get bytesRead(): number {
    return this.#bytesRead;
  }

  /** A browser takes each message at once, and does not say when it is gone. */
  send(message: Buffer | readonly Buffer[]): void {
    if (this.#ending || this.#webSocket.readyState !== WebSocket.OPEN) return;
    const bytes = message instanceof Uint8Array ? message : Buffer.concat(message);
    this.#webSocket.send(bytes as Uint8Array<ArrayBuffer>);
  }

  flush(): void {
    // Nothing waits.
  }

  dropQueued(): void {
    // Nothing waits.
  }

  close(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = { code, reason };
    this.#closeTimer = setTimeout(() => this.#finish(code, reason), CLOSE_TIMEOUT_MS);
    this.#webSocket.close(code < FIRST_OWN_CODE ? CLOSE.normal : code, fitReason(reason));
  }

  terminate(reason = ''): void {
    this.#ending ??= { code: ABNORMAL, reason };
    this.#webSocket.close();
    this.#finish(ABNORMAL, reason);
  }

  onMessage(listener: (data: Buffer) => void): void {
    this.#webSocket.onmessage = ({ data }: MessageEvent<unknown>) => {
      this.#silentIntervals = 0;
      if (this.#ending) return;
      if (!(data instanceof ArrayBuffer))
        return this.close(CLOSE.binaryOnly, 'only binary messages are accepted');
      this.#bytesRead += data.byteLength;
      listener(Buffer.from(data));
    };
  }

  onClose(listener: (code: number, reason: string) => void): void {
    this.#closeListeners.push(listener);
  }

  /** Silence is counted in intervals and not read from a clock: this machine may have slept. */
  #beat(): void {
    if (++this.#silentIntervals < MAX_SILENT_INTERVALS) return;
    this.terminate(`nothing was received for ${(INTERVAL_MS * MAX_SILENT_INTERVALS) / 1000} s`);
  }

  #finish(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    clearTimeout(this.#closeTimer);
    const ending = this.#ending ?? { code, reason };
    this.#ending = ending;
    for (const listener of this.#closeListeners) listener(ending.code, ending.reason);
  }
}

/**
 * Connects to the coordinator that has served the page.
 * @throws ConnectError if the connection fails, and the signal's reason if that is aborted.
 */
export function connectTab(url: string, token: string | undefined, signal: AbortSignal): Promise<Connection> {
  signal.throwIfAborted();
  const subprotocols = token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, tokenSubprotocol(token)];
  const webSocket = new WebSocket(url, subprotocols);
  webSocket.binaryType = 'arraybuffer';
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      webSocket.onopen = webSocket.onclose = null;
    };
    const fail = (reason: Error): void => {
      settle();
      webSocket.close();
      reject(reason);
    };
    const abort = (): void => fail(signal.reason as Error);
    const timer = setTimeout(() => fail(connectTimeout(new URL(url), TIMEOUT_MS)), TIMEOUT_MS);
    signal.addEventListener('abort', abort);
    webSocket.onopen = () => {
      settle();
      resolve(new TabConnection(webSocket));
    };
    webSocket.onclose = () => {
      settle();
      void failureOf(new URL(url), token).then(reject);
    };
  });
}

/** Asks over HTTP why there was no WebSocket: of the answer to one a page sees nothing. */
async function failureOf(url: URL, token: string | undefined): Promise<ConnectError> {
  try {
    const response = await fetch(new URL('join/admission', httpUrl(url)), {
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(PROBE_MS),
    });
    const answer = (await response.text()).trim().slice(0, 200);
    if (response.status === 401) {
      const problem = token === undefined ? 'wants a token' : 'does not accept the token of this link';
      const help = 'open the link once more as the coordinator prints it, or give the token below';
      return final('E_UNAUTHORIZED', `${url.host} ${problem}`, { help });
    }
    if (!response.ok) return httpFailure(url, response.status, answer);
    if (answer !== 'workers are taken') return notCoordinator(url, 'something else');
    return retryable('E_CONNECTION_FAILED', `${url.host} made no WebSocket`, {
      help: 'a proxy before it must pass on WebSockets and the Host of requests, or be named by --public-url',
    });
  } catch (error) {
    return retryable('E_CONNECTION_REFUSED', `cannot reach ${url.host}`, {
      help: 'the coordinator may have ended, or the network is away',
      cause: error,
    });
  }
}
