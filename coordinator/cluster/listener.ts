// The port that workers connect to. Hands over connections that have shown the token and speak our
// subprotocol; knows nothing of messages.
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { stringifyRecord } from '../../src/json.ts';
import { listenError } from '../../src/protocol/listen-error.ts';
import { createHttpServer, guardConnections, plainTraffic, type TlsFiles } from '../../src/protocol/tls.ts';
import { LimitedLog } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../../src/protocol/limits.ts';
import type { WorkerTokens } from '../../src/protocol/worker-tokens.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import { isLoopback, SOCKET_OPTIONS } from '../../src/protocol/connection.ts';
import { plainAddress, WebSocketConnection } from '../../src/protocol/web-socket-connection.ts';
import { joinPage } from './join-page.ts';
import type { BrowserWorkers } from './join-page.ts';
import {
  ConnectionRates,
  SECURE_COST,
  authorizationOf,
  refusalOf,
  refusalOfReader,
  refuseUpgrade,
  requireTokenBeyondLoopback,
  UnadmittedSockets,
} from './listener-admission.ts';
import type { PageAddress, Proofs, Refusal } from './listener-admission.ts';

/** Gets every admitted connection, and sets its listeners before it returns. */
type OnConnection = (connection: Connection) => void;

/** The settings of a listener. */
export interface ListenOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** This or `workerTokens` is required unless `host` is a loopback address. */
  readonly token?: string | undefined;
  /** Tokens of single workers, beside that of all. */
  readonly workerTokens?: WorkerTokens | undefined;
  /** Without them the port speaks no TLS. */
  readonly tls?: TlsFiles | undefined;
  /** The page whose tabs are workers; undefined where there is none. */
  readonly browserWorkers?: BrowserWorkers | undefined;
  /** The URL that workers use where a proxy stands before the port. */
  readonly publicUrl?: string | undefined;
  /** Advice for traffic that is not encrypted; default: to give a certificate. */
  readonly plainHelp?: string | undefined;
  /** Connections beyond this many are refused. */
  readonly maxWorkers: number;
  /**
   * The receiver of connections, like `Listener.admit`; until either is given,
   * workers are asked to come back.
   */
  readonly onConnection?: OnConnection | undefined;
  /** The run that the port tells about over HTTP. */
  readonly status?: StatusSource | undefined;
  readonly log: Logger;
  /** Time between two pings; default 5000. */
  readonly heartbeatMs?: number | undefined;
}

/** A run, as far as HTTP requests may ask. */
export interface StatusSource {
  /** True once workers may come. */
  readonly isReady: boolean;
  /** The reason, until then. */
  readonly notReady: string;
  /** The answer to `/status`, as plain data. */
  report(): unknown;
  /** The answer to `/metrics`. */
  page(): Promise<{ readonly text: string; readonly type: string }>;
}

/** An open port. */
export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Lets workers in from now on; or asks them to come back later, where nobody is to take them. */
  admit(onConnection: OnConnection | undefined): void;
  /** Closes the port and says goodbye to every connection; resolves when all are gone, after 3 s at most. */
  close(): Promise<void>;
}

/** A heartbeat costs 6 bytes; a dead worker is missed for at most this, times the silent intervals. */
const HEARTBEAT_MS = 5000;
const MAX_SILENT_INTERVALS = 3;
/** Time for a message to arrive whole, since its beginning fills memory: 4 MiB take 34 s at 1 Mbit/s. */
const MAX_MESSAGE_INTERVALS = 12;

/**
 * Sockets that are no worker's yet: all of an address, and beyond those of the
 * workers. 50 may join at once.
 */
const MAX_UNADMITTED = 64;

/** Codes with which connections end because of what a worker sent. */
const FAULTS: readonly number[] = [CLOSE.malformed, CLOSE.protocol, CLOSE.binaryOnly];

/** Time for which a connection of an address that makes too many is left unanswered. */
const HOLD_MS = 1000;
/** Age of an answer about the run that is given again: with 1,000 workers one takes milliseconds to make. */
const RECENT_MS = 1000;

/** A request is 10 lines sent at once. Node's defaults leave a silent or dripping client 90 s. */
const HTTP_LIMITS = {
  headersTimeout: 3000,
  requestTimeout: 5000,
  connectionsCheckingInterval: 1000,
  maxHeaderSize: 8192,
} as const;

/**
 * Opens the port.
 * @throws LockstepError if it is taken or not ours to open, or if a token is required and missing.
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { host, tls, token, workerTokens, log, plainHelp } = options;
  if (!workerTokens) requireTokenBeyondLoopback(host, token);
  const admission = new Admission(options);
  const asked = { ...options, status: options.status && new RecentStatus(options.status) };
  const server = createHttpServer({ ...HTTP_LIMITS, tls, log }, (request, response) => {
    void answerRequest(request, response, asked, admission).catch(() => response.destroy());
  });
  server.maxConnections = options.maxWorkers + MAX_UNADMITTED;
  guardConnections(server, (socket) => admission.track(socket));
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) =>
    admission.noteFailedHandshake(error, socket),
  );
  server.on('upgrade', (request, socket, head) => admission.decide(request, socket, head));
  await open(server, options);
  server.on('error', (error) => log.warn({ error: error.message }, 'the listening port reported an error'));
  if (!tls && !isLoopback(host)) log.warn(plainTraffic(host, plainHelp));
  const unfollow = workerTokens?.follow(() => admission.endRevoked());
  return {
    host,
    port: (server.address() as AddressInfo).port,
    admit: (onConnection) => (admission.onConnection = onConnection),
    close: () => {
      unfollow?.();
      admission.close();
      return closeAll(server, admission.connections);
    },
  };
}

/** Turns sockets into connections, or away. */
class Admission {
  readonly connections = new Set<Connection>();
  /** The `Authorization` of workers that have tokens of their own. */
  readonly #shown = new Map<Connection, string | undefined>();
  onConnection: OnConnection | undefined;
  #options: ListenOptions;
  #unadmitted = new UnadmittedSockets(MAX_UNADMITTED);
  readonly #rates = new ConnectionRates();
  /** Sockets of addresses that connect too often; nobody reads what they send. */
  readonly #held = new Set<Socket>();
  #webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    handleProtocols: () => SUBPROTOCOL,
    ...SOCKET_OPTIONS,
  });
  #numAdmitted = 0;
  readonly #log: LimitedLog;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.onConnection = options.onConnection;
    this.#log = new LimitedLog(options.log);
  }

  /** Looks at a new socket; returns false for one that is not to be served. */
  track(socket: Socket): boolean {
    const address = plainAddress(socket.remoteAddress);
    // Without a listener a reset by the peer would end this process.
    socket.on('error', (error) =>
      this.#options.log.debug({ address, error: error.message }, 'socket failed'),
    );
    if (!this.#unadmitted.add(socket, address)) {
      this.#noteTurnedAway(socket, `${MAX_UNADMITTED} connections of it have shown no token yet`);
      socket.destroy();
      return false;
    }
    if (this.#rates.allows(address, this.#options.tls && SECURE_COST)) return true;
    this.#noteTurnedAway(socket, 'it connects too often');
    // Who waits for an answer cannot come back meanwhile.
    this.#held.add(socket);
    const timer = setTimeout(() => socket.destroy(), HOLD_MS).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#held.delete(socket);
    });
    return false;
  }

  /** The answer to every worker while none can be taken; undefined where one can. */
  get refusalOfAll(): Refusal | undefined {
    return this.#fullRefusal() ?? (this.onConnection ? undefined : notReady(this.#options.status));
  }

  #fullRefusal(): Refusal | undefined {
    const { maxWorkers } = this.#options;
    if (this.connections.size < maxWorkers) return undefined;
    return { status: 503, message: `all ${maxWorkers} places for workers are taken` };
  }

  decide(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { workerTokens } = this.#options;
    const refusal = refusalOf(request, proofsOf(this.#options)) ?? this.#fullRefusal();
    if (refusal) {
      this.#noteTurnedAway(request.socket, refusal.message);
      return refuseUpgrade(socket, refusal);
    }
    const { onConnection } = this;
    if (!onConnection) return refuseUpgrade(socket, notReady(this.#options.status));
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#unadmitted.admit(request.socket);
      const { heartbeatMs: intervalMs = HEARTBEAT_MS } = this.#options;
      const heartbeat = {
        intervalMs,
        maxSilentIntervals: MAX_SILENT_INTERVALS,
        maxMessageIntervals: MAX_MESSAGE_INTERVALS,
      };
      const id = ++this.#numAdmitted;
      const authorization = authorizationOf(request);
      const tokenName = workerTokens?.nameOf(authorization);
      const parts = { id, webSocket, socket: request.socket, tokenName };
      const connection = new WebSocketConnection({ ...parts, heartbeat });
      this.connections.add(connection);
      if (tokenName !== undefined) this.#shown.set(connection, authorization);
      connection.onClose((code) => {
        if (FAULTS.includes(code)) this.#rates.noteFault(connection.remoteAddress);
        this.connections.delete(connection);
        this.#shown.delete(connection);
      });
      onConnection(connection);
    });
  }

  /** Sends workers away whose tokens are no longer theirs. */
  endRevoked(): void {
    for (const [connection, authorization] of this.#shown) {
      if (this.#options.workerTokens?.nameOf(authorization) === connection.tokenName) continue;
      connection.close(CLOSE.goingAway, 'its token was taken away');
    }
  }

  /** Logs a client that made no secure connection. */
  noteFailedHandshake(error: NodeJS.ErrnoException, socket: Socket): void {
    // A client that hangs up has its own reasons, such as to find out whether somebody listens.
    if (error.code === 'ECONNRESET') return;
    const speaksPlain = error.code === 'ERR_SSL_HTTP_REQUEST';
    const reason = speaksPlain ? 'this port speaks TLS, and its URL begins with wss://' : error.message;
    this.#noteTurnedAway(socket, reason);
  }

  #noteTurnedAway({ remoteAddress }: Socket, reason: string): void {
    const message = `${plainAddress(remoteAddress)} was turned away: ${reason}`;
    this.#log.write('warn', 'connections turned away', message);
  }

  /** Sums up what the log left out, and hangs up on those who wait in vain. */
  close(): void {
    this.#log.flush();
    for (const socket of this.#held) socket.destroy();
  }
}

/** Workers come back by themselves. */
function notReady(status: StatusSource | undefined): Refusal {
  return { status: 503, message: status?.notReady ?? 'the run is being prepared' };
}

/** A run about which the same answers are given for a second. */
class RecentStatus implements StatusSource {
  readonly #source: StatusSource;
  readonly #answers = new Map<string, { readonly atMs: number; readonly answer: unknown }>();

  constructor(source: StatusSource) {
    this.#source = source;
  }

  get isReady(): boolean {
    return this.#source.isReady;
  }

  get notReady(): string {
    return this.#source.notReady;
  }

  report(): unknown {
    return this.#recent('report', () => this.#source.report());
  }

  page(): ReturnType<StatusSource['page']> {
    return this.#recent('page', () => this.#source.page());
  }

  #recent<T>(name: string, make: () => T): T {
    const found = this.#answers.get(name);
    const nowMs = performance.now();
    if (found && nowMs - found.atMs < RECENT_MS) return found.answer as T;
    const answer = make();
    this.#answers.set(name, { atMs: nowMs, answer });
    return answer;
  }
}

/** The proofs that a port asks for. */
function proofsOf({ browserWorkers, publicUrl, tls, token, workerTokens }: ListenOptions): Proofs {
  const page: PageAddress | undefined = browserWorkers
    ? { isSecure: tls !== undefined, publicUrl }
    : undefined;
  return { token, workerTokens, requiresCertificate: tls?.ca !== undefined, page };
}

/** Answers a request that is no worker's. What a run does is told to those who might take part. */
async function answerRequest(
  request: IncomingMessage,
  response: ServerResponse,
  options: ListenOptions,
  admission: Admission,
): Promise<void> {
  const { browserWorkers, status } = options;
  const answer = (code: number, text: string, type = 'text/plain; charset=utf-8'): void => {
    response.writeHead(code, { 'Content-Type': type, 'Cache-Control': 'no-store', Connection: 'close' });
    response.end(request.method === 'HEAD' ? undefined : text);
  };
  const path = request.url?.split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'only GET is answered\n');
  if (path === '/healthz') return answer(200, 'ok');
  if (status && path === '/readyz')
    return status.isReady ? answer(200, 'ready') : answer(503, `${status.notReady}\n`);
  const isAdmission = browserWorkers !== undefined && path?.endsWith('/join/admission') === true;
  if (isAdmission) {
    const refusal = refusalOfReader(request, proofsOf(options)) ?? admission.refusalOfAll;
    return refusal ? answer(refusal.status, `${refusal.message}\n`) : answer(200, 'workers are taken\n');
  }
  const file = browserWorkers ? await joinPage(path ?? '') : undefined;
  if (file)
    return void response.writeHead(200, file.headers).end(request.method === 'HEAD' ? '' : file.content);
  if (!status || (path !== '/status' && path !== '/metrics'))
    return answer(404, 'a Lockstep coordinator: workers connect by WebSocket\n');
  const refusal = refusalOfReader(request, proofsOf(options));
  if (refusal) return answer(refusal.status, `${refusal.message}\n`);
  if (path === '/status') return answer(200, `${stringifyRecord(status.report(), 2)}\n`, 'application/json');
  const { text, type } = await status.page();
  answer(200, text, type);
}

function open(server: Server, { host, port }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => reject(listenError(error, host, port));
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

async function closeAll(server: Server, connections: ReadonlySet<Connection>): Promise<void> {
  const ends = [...connections].map(
    (connection) => new Promise<void>((resolve) => connection.onClose(() => resolve())),
  );
  const closed = new Promise((resolve) => server.close(resolve));
  for (const connection of connections) connection.close(CLOSE.goingAway, 'the coordinator is shutting down');
  // Those that never became WebSockets.
  server.closeAllConnections();
  await Promise.all([closed, ...ends]);
}
