// Predictions over HTTP: JSON in, JSON out. It knows a model, and nothing of runs or files.
import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { LockstepError, quoteValue } from '../errors.ts';
import { parseJson } from '../json.ts';
import { predictionObject } from '../predict/predictions.ts';
import type { RunMetrics } from '../predict/run-metrics.ts';
import type { PredictInput } from '../predict/samples.ts';
import type { TrainedModel } from '../predict/trained-model.ts';
import { formatBytes } from '../memory.ts';
import { formatCount } from '../printable.ts';
import { namesLoopback } from '../protocol/connection.ts';
import { listenError } from '../protocol/listen-error.ts';
import { createHttpServer, problemOfClient, type TlsFiles, type TlsLog } from '../protocol/tls.ts';
import { isAuthorized } from '../protocol/token.ts';
import { sizeOf } from '../shape.ts';

const MAX_BODY_BYTES = 16 * 2 ** 20;
const MAX_ROWS = 10_000;
const MAX_REQUESTS = 32;
const MAX_CONNECTIONS = 256;
/** Longest time that requests have to end once the server is told to stop. */
const END_MS = 10_000;
const HTTP_LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
  maxHeaderSize: 8192,
} as const;

/** The model to serve, and where. */
export interface ServeOptions {
  readonly model: TrainedModel;
  readonly metrics: RunMetrics;
  /** Takes the warnings that the model has given since the last call. */
  readonly takeWarnings: () => readonly string[];
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  /** Without them the port speaks no TLS. */
  readonly tls: TlsFiles | undefined;
  readonly log: TlsLog;
  /** Told of errors that are no client's fault. */
  readonly onBug: (error: unknown) => void;
}

/** A listening server. */
export interface PredictionServer {
  readonly port: number;
  /** Answers what has begun, and closes the port. */
  close(): Promise<void>;
}

/** Opens the port. @throws LockstepError (exit 5) where it is taken or not ours to open. */
export async function startServer(options: ServeOptions): Promise<PredictionServer> {
  const handler = new RequestHandler(options);
  const { host, log, port, tls } = options;
  const server = createHttpServer({ ...HTTP_LIMITS, tls, log }, (request, response) => {
    void handler.answer(request, response);
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ host, port });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw listenError(error, host, port);
  }
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server) };
}

async function closeServer(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), END_MS);
  await closed;
  clearTimeout(timer);
}

/** An error of a request, with its HTTP status. */
class RequestError extends Error {
  readonly status: number;
  readonly code: string;
  readonly help: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: `E_${string}`,
    message: string,
    { help, headers = {} }: { help?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.help = help;
    this.headers = headers;
  }
}

/** The methods of each path. */
const PATHS: Readonly<Record<string, readonly string[]>> = {
  '/health': ['GET', 'HEAD'],
  '/model': ['GET', 'HEAD'],
  '/predict': ['POST'],
};

class RequestHandler {
  readonly #options: ServeOptions;
  #numRequests = 0;

  constructor(options: ServeOptions) {
    this.#options = options;
  }

  /** Answers a request; never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#numRequests += 1;
    try {
      send(request, response, 200, await this.#result(request));
    } catch (error) {
      this.#sendError(request, response, error);
    } finally {
      this.#numRequests -= 1;
    }
  }

  async #result(request: IncomingMessage): Promise<object> {
    const path = (request.url ?? '').replace(/\?.*$/s, '');
    const methods = Object.hasOwn(PATHS, path) ? PATHS[path] : undefined;
    if (methods === undefined) {
      const help = 'POST /predict, GET /health or GET /model';
      throw new RequestError(404, 'E_SERVE_PATH', `nothing is at ${quoteValue(path)}`, { help });
    }
    this.#admit(request, path);
    if (!methods.includes(request.method ?? '')) {
      const headers = { Allow: methods.join(', ') };
      throw new RequestError(405, 'E_SERVE_METHOD', `${path} takes ${methods.join(' or ')}`, { headers });
    }
    if (path === '/health') return { status: 'ok' };
    return path === '/model' ? this.#describe() : this.#predict(await readBody(request));
  }

  #admit({ headers: { origin, host, authorization }, socket }: IncomingMessage, path: string): void {
    const { tls, token } = this.#options;
    // Any page in a browser on this machine could reach a loopback port, and lead a name of its own there.
    if (origin !== undefined || (token === undefined && !namesLoopback(host)))
      throw new RequestError(403, 'E_SERVE_ORIGIN', 'requests of web pages are not answered', {
        help: 'use the address that was printed, from a program',
      });
    if (path === '/health') return;
    const problem = tls?.ca === undefined ? undefined : problemOfClient(socket);
    if (problem !== undefined) throw new RequestError(403, 'E_CLIENT_CERTIFICATE', problem);
    if (token !== undefined && !isAuthorized(authorization, token)) {
      throw new RequestError(
        401,
        'E_TOKEN',
        authorization === undefined ? 'a token is required' : 'wrong token',
        {
          help: 'send Authorization: Bearer TOKEN',
          headers: { 'WWW-Authenticate': 'Bearer' },
        },
      );
    }
    if (this.#numRequests <= MAX_REQUESTS) return;
    const message = `more than ${MAX_REQUESTS} requests at once`;
    throw new RequestError(503, 'E_SERVE_BUSY', message, {
      help: 'try again later, or send several rows in a request',
      headers: { 'Retry-After': '1' },
    });
  }

  #describe(): object {
    const { model, metrics } = this.#options;
    const { description, inputShape, layers, targetNames, classNames } = model;
    const { name, weightsSha256, transforms } = description;
    const columns = transforms.features.flatMap((feature) =>
      'column' in feature ? [{ column: feature.column, kind: feature.kind }] : [],
    );
    const inputs =
      columns.length > 0 ? { columns } : { shape: inputShape, kind: transforms.features[0]?.kind };
    return { name, weightsSha256, inputs, targets: targetNames, classes: classNames, layers, metrics };
  }

  #predict(text: string): object {
    const { model, takeWarnings } = this.#options;
    const { transforms } = model.description;
    const predictions = model
      .predict(inputOf(model, rowsOf(text)))
      .map((prediction) => predictionObject(prediction, transforms));
    const warnings = takeWarnings();
    return warnings.length > 0 ? { predictions, warnings } : { predictions };
  }

  #sendError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    // What an unfinished request has warned of is of no other.
    this.#options.takeWarnings();
    if (error instanceof RequestError) {
      const { status, code, message, help, headers } = error;
      send(request, response, status, { error: { code, message, help } }, headers);
    } else if (error instanceof LockstepError) {
      const { code, message, help } = error;
      send(request, response, 422, { error: { code, message, help } });
    } else if (!request.destroyed) {
      this.#options.onBug(error);
      const message = 'the server has a bug; its log has more';
      send(request, response, 500, { error: { code: 'E_BUG', message } });
    }
  }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  content: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = Buffer.from(`${JSON.stringify(content)}\n`);
  // A body that was not read would be taken for the next request.
  const end = request.complete ? {} : { Connection: 'close' };
  const own = { 'Content-Type': 'application/json', 'Content-Length': body.byteLength };
  response.writeHead(status, { ...own, 'Cache-Control': 'no-store', ...end, ...headers });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const tooLarge = new RequestError(
    413,
    'E_TOO_LARGE',
    `the body is larger than ${formatBytes(MAX_BODY_BYTES)}`,
    { help: 'send fewer rows in a request' },
  );
  if (Number(request.headers['content-length']) > MAX_BODY_BYTES) throw tooLarge;
  const chunks: Buffer[] = [];
  let numBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    numBytes += chunk.length;
    if (numBytes > MAX_BODY_BYTES) throw tooLarge;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The rows of a body. */
function rowsOf(text: string): readonly unknown[] {
  let body: unknown;
  try {
    body = parseJson(text);
  } catch (error) {
    const message = `the body is no JSON (${(error as Error).message})`;
    throw new RequestError(400, 'E_SERVE_BODY', message);
  }
  const rows: unknown = typeof body === 'object' && body !== null && 'rows' in body ? body.rows : body;
  if (!Array.isArray(rows)) {
    throw new RequestError(400, 'E_SERVE_BODY', `expected rows, got ${quoteValue(rows)}`, {
      help: 'send {"rows":[...]} or a list of rows',
    });
  }
  if (rows.length <= MAX_ROWS) return rows;
  const message = `${formatCount(rows.length)} rows; a request may have ${formatCount(MAX_ROWS)}`;
  throw new RequestError(413, 'E_TOO_LARGE', message, { help: 'send fewer rows in a request' });
}

/** Rows as the model takes them: JSON has no bytes, which models of images and texts take. */
function inputOf({ description, inputShape }: TrainedModel, rows: readonly unknown[]): PredictInput {
  const [first] = description.transforms.features;
  const takesBytes =
    first?.kind === 'pixels' ||
    first?.kind === 'bytes' ||
    (first?.kind === 'array' && first.byteScale !== null);
  if (!takesBytes) return rows as PredictInput;
  const width = sizeOf(inputShape);
  const isByte = (value: unknown): boolean =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255;
  for (const [index, row] of rows.entries()) {
    if (!Array.isArray(row) || row.length !== width || !row.every(isByte)) {
      const message = `row ${index}: expected a list of ${formatCount(width)} whole numbers from 0 to 255`;
      throw new RequestError(422, 'E_DATA_FORMAT', message);
    }
  }
  return Uint8Array.from((rows as number[][]).flat());
}
