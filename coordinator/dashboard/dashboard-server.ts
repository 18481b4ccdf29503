// The server of the dashboard: a page, its files, and a stream of what happens in a run. It only reads.
// Of a run that goes on it lives in a thread of its own, so that watching does not slow training down.
import { createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import sirv from 'sirv';
import { LockstepError } from '../../src/errors.ts';
import { listenError } from '../../src/protocol/listen-error.ts';
import { isLoopback, namesLoopback } from '../../src/protocol/connection.ts';
import { createHttpServer, plainTraffic, problemOfClient } from '../../src/protocol/tls.ts';
import type { TlsFiles, TlsLog } from '../../src/protocol/tls.ts';
import { isSameSecret } from '../../src/protocol/token.ts';
import type { ComputeActivity } from '../training/compute.ts';
import { RunDirectory } from '../output/run-directory.ts';
import type { DashboardSnapshot } from './dashboard-state.ts';
import { RunHistory } from './run-history.ts';

/** The settings of a dashboard's server. */
export interface DashboardAddress {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Required unless `host` is a loopback address. */
  readonly token?: string | undefined;
  /** Without them the port speaks no TLS. */
  readonly tls?: TlsFiles | undefined;
}

/** The receivers of what a server has to say. */
export interface DashboardListeners extends TlsLog {
  /** Told how many pages are watching, whenever that changes. */
  readonly onWatchers?: ((count: number) => void) | undefined;
}

/** Time between two looks at the files of the run, while a page is watching. */
const UPDATE_MS = 500;
/** Time between two comments in a stream in which nothing happens: proxies cut off silent ones. */
const HEARTBEAT_MS = 15_000;
/** Time after which a page connects again. */
const RETRY_MS = 2000;
const MAX_WATCHERS = 32;
const MAX_CONNECTIONS = 128;
/** A page that does not read is disconnected: it connects again, and gets everything anew. */
const MAX_UNREAD_BYTES = 2 ** 24;
/** Time for pages to fetch the last pictures at the end of a run. */
const GOODBYE_MS = 3000;
/** Time for what is on its way to a page that does not leave by itself. */
const LAST_BYTES_MS = 500;
const COOKIE = 'lockstep-dashboard';

/** Requests are small, and a client that does not finish one is no browser. */
const HTTP_LIMITS = { headersTimeout: 3000, requestTimeout: 5000, maxHeaderSize: 8192 } as const;

/** Nothing but our own files; no inline script or style, no frame around it, no referrer. */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cache-Control': 'no-cache',
} as const;

const PAGE_FILES = fileURLToPath(new URL('./page/', import.meta.url));
const CHART_FILES = path.dirname(createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css'));

/** @throws LockstepError (exit 2) if others than this machine could reach the port and nothing would stop them */
function requireDashboardToken({ host, token }: DashboardAddress): void {
  if (token !== undefined || isLoopback(host)) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_TOKEN_REQUIRED',
    message: `a dashboard on ${host} without a token would show the run to anyone who reaches the port`,
    help: 'give --token-file FILE or set LOCKSTEP_TOKEN, or leave the dashboard on 127.0.0.1',
  });
}

/** An open dashboard. */
export class DashboardServer {
  readonly #address: DashboardAddress;
  readonly #listeners: DashboardListeners;
  readonly #server: Server;
  readonly #watchers = new Set<ServerResponse>();
  /** Differs for every server: a cookie is of no use to another one. */
  readonly #cookieKey = randomBytes(32);
  readonly #pageFiles = sirv(PAGE_FILES, { etag: true });
  readonly #chartFiles = sirv(CHART_FILES, { etag: true });
  #directory: string | undefined;
  #history: RunHistory | undefined;
  #activity: ComputeActivity | undefined;
  #timer: NodeJS.Timeout | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #hasWarned = false;

  private constructor(address: DashboardAddress, listeners: DashboardListeners) {
    this.#address = address;
    this.#listeners = listeners;
    this.#server = createHttpServer(
      { ...HTTP_LIMITS, tls: address.tls, log: listeners },
      (request, response) => this.#answerSafely(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Opens the port. @throws LockstepError (exit 5) if it is taken or not ours to open, (exit 2) if it lacks a token */
  static async open(address: DashboardAddress, listeners: DashboardListeners): Promise<DashboardServer> {
    requireDashboardToken(address);
    const dashboard = new DashboardServer(address, listeners);
    await dashboard.#listen();
    if (!address.tls && !isLoopback(address.host)) listeners.warn(plainTraffic(address.host));
    return dashboard;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Shows the run in a directory from now on; `stepsPerEpoch` is known to who trains it. */
  show(directory: string, stepsPerEpoch?: number): void {
    this.#directory = directory;
    this.#history = new RunHistory(directory, stepsPerEpoch);
    this.#update();
    this.#broadcast('snapshot', this.#snapshot());
  }

  /** Passes on what is computed. */
  setActivity(activity: ComputeActivity): void {
    this.#activity = activity;
    this.#broadcast('activity', activity);
  }

  /** Tells pages that the server ends, gives them a moment for the last pictures, and closes the port. */
  async close(): Promise<void> {
    this.#update();
    clearInterval(this.#timer);
    this.#broadcast('goodbye', {});
    await this.#untilNobodyWatches(GOODBYE_MS);
    for (const watcher of this.#watchers) watcher.end();
    await this.#untilNobodyWatches(LAST_BYTES_MS);
    clearInterval(this.#heartbeat);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #untilNobodyWatches(deadlineMs: number): Promise<void> {
    const gone = [...this.#watchers].map(
      (watcher) => new Promise((resolve) => watcher.once('close', resolve)),
    );
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, deadlineMs)));
    await Promise.race([Promise.all(gone), late]);
    clearTimeout(timer);
  }

  #listen(): Promise<void> {
    const { host, port } = this.#address;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenError(error, host, port, 'the dashboard')));
      this.#server.listen({ host, port }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#warn(error));
        resolve();
      });
    });
  }

  #answerSafely(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => undefined);
    try {
      this.#answer(request, response);
    } catch (error) {
      this.#warn(error);
      if (!response.headersSent) refuse(response, 500, 'the dashboard failed');
      else response.destroy();
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      return refuse(response, 405, 'the dashboard only shows');
    }
    if (!URL.canParse(request.url ?? '', 'http://dashboard')) return refuse(response, 400, 'no such address');
    const url = new URL(request.url ?? '', 'http://dashboard');
    if (url.pathname === '/healthz') return sendText(response, 'ok');
    const problem = this.#address.tls?.ca === undefined ? undefined : problemOfClient(request.socket);
    if (problem !== undefined) return refuse(response, 403, problem);
    if (!this.#isFromHere(request))
      return refuse(response, 403, 'unknown host name: use the address that was printed');
    if (!this.#letIn(request, response, url)) return;
    if (url.pathname === '/live') return this.#stream(response);
    if (url.pathname === '/config.yaml') return this.#sendConfig(response);
    const plot = /^\/plots\/([\w-]+\.(svg|png))$/.exec(url.pathname);
    if (plot) return this.#sendPlot(response, plot[1] as string, plot[2] as string);
    const isOfCharts = url.pathname.startsWith('/uplot/');
    if (isOfCharts) request.url = url.pathname.slice('/uplot'.length);
    const serve = isOfCharts ? this.#chartFiles : this.#pageFiles;
    serve(request, response, () => refuse(response, 404, 'no such page'));
  }

  /**
   * Tells whether a request names this machine. A page elsewhere could lead its own name to a loopback
   * address, and read what only this machine should; with a token it would lack the cookie.
   */
  #isFromHere({ headers }: IncomingMessage): boolean {
    return this.#address.token !== undefined || namesLoopback(headers.host);
  }

  /** Lets a browser in that has shown the token; it shows it once in the address, and then a cookie. */
  #letIn(request: IncomingMessage, response: ServerResponse, url: URL): boolean {
    const { token } = this.#address;
    if (token === undefined || isSameSecret(cookieOf(request), this.#cookieValue(token))) return true;
    const shown = url.searchParams.get('token');
    if (shown === null) {
      refuse(response, 401, 'a token is required: open this address with ?token=TOKEN at its end');
      return false;
    }
    if (!isSameSecret(shown, token)) {
      refuse(response, 401, 'wrong token');
      return false;
    }
    // Relative, for proxies; and the address that is kept in the history is without the token.
    const secure = this.#address.tls ? '; Secure' : '';
    const cookie = `${COOKIE}=${this.#cookieValue(token)}; HttpOnly; samesite=strict; Path=/${secure}`;
    response.setHeader('Set-Cookie', cookie);
    response.writeHead(303, { Location: './' }).end();
    return false;
  }

  #cookieValue(token: string): string {
    return createHmac('sha256', this.#cookieKey).update(token).digest('base64url');
  }

  #stream(response: ServerResponse): void {
    if (this.#watchers.size >= MAX_WATCHERS)
      return refuse(response, 503, `${MAX_WATCHERS} pages are watching already`);
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' });
    response.write(`retry: ${RETRY_MS}\n\n`);
    // Those who are watching get what is new before it becomes a part of the snapshot.
    this.#update();
    this.#watchers.add(response);
    response.once('close', () => {
      this.#watchers.delete(response);
      this.#watchersChanged();
    });
    this.#watchersChanged();
    this.#write(response, frame('snapshot', this.#snapshot()));
  }

  /** Looks at the files only while somebody is watching. */
  #watchersChanged(): void {
    const { size } = this.#watchers;
    this.#listeners.onWatchers?.(size);
    if (size === 0) {
      clearInterval(this.#timer);
      clearInterval(this.#heartbeat);
      this.#timer = this.#heartbeat = undefined;
      return;
    }
    this.#timer ??= setInterval(() => this.#update(), UPDATE_MS);
    this.#heartbeat ??= setInterval(() => {
      for (const watcher of this.#watchers) this.#write(watcher, ':\n\n');
    }, HEARTBEAT_MS);
  }

  /** Sends what is new to all pages. */
  #update(): void {
    try {
      const update = this.#history?.update();
      if (update) this.#broadcast('update', update);
      else this.#broadcast('snapshot', this.#snapshot());
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Everything; null while the run has no directory. */
  #snapshot(): DashboardSnapshot | null {
    return this.#history ? { ...this.#history.snapshot(), activity: this.#activity } : null;
  }

  #broadcast(type: string, data: unknown): void {
    if (this.#watchers.size === 0) return;
    const text = frame(type, data);
    for (const watcher of this.#watchers) this.#write(watcher, text);
  }

  #write(watcher: ServerResponse, text: string): void {
    watcher.write(text);
    if (watcher.writableLength > MAX_UNREAD_BYTES) watcher.destroy();
  }

  #sendConfig(response: ServerResponse): void {
    sendText(response, this.#history?.config ?? '');
  }

  #sendPlot(response: ServerResponse, name: string, type: string): void {
    if (this.#directory === undefined) return refuse(response, 404, 'no such plot');
    const file = path.join(new RunDirectory(this.#directory).plotsPath, name);
    const stream = fs.createReadStream(file);
    stream.once('error', () => refuse(response, 404, 'no such plot'));
    stream.once('open', () => {
      response.setHeader('Content-Type', type === 'svg' ? 'image/svg+xml' : 'image/png');
      stream.pipe(response);
    });
  }

  /** Warns once: what fails is a page, never the run. */
  #warn(error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#listeners.warn(`dashboard: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A message of server-sent events. */
function frame(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}

function sendText(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' }).end(text);
}

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`${message}\n`);
}

function cookieOf({ headers }: IncomingMessage): string {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
  return pairs.find(([name]) => name === COOKIE)?.[1] ?? '';
}
