// A stand-in for the Weights & Biases service on a free local port: the calls that Lockstep makes, recorded
// for the test. Lines are kept by their place in a file, as the service does.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeWandb {
  readonly url: string;
  /** Variables of every UpsertBucket mutation. */
  readonly upserts: Record<string, unknown>[];
  /** Paths of the streams, each once. */
  readonly streams: Set<string>;
  /** Lines of wandb-history.jsonl by their places, parsed. */
  readonly history: Record<string, unknown>[];
  /** Places of the first lines that requests with history have. */
  readonly offsets: number[];
  /** Sent files by their names: their bytes. */
  readonly files: Map<string, Buffer>;
  /** Names of the files that the stream has called complete. */
  uploaded: readonly string[];
  /** Last wandb-summary.json, parsed. */
  summary: Record<string, unknown> | undefined;
  /** Exit code sent with the end of the run. */
  exitCode: number | undefined;
  /** `user:password` of the last request with one. */
  credentials: string | undefined;
  numRequests: number;
  /** A status for all requests, or `hang`: take them and never answer; `noFiles`: send no addresses for files. */
  trouble: number | 'hang' | 'noFiles' | undefined;
  close(): Promise<void>;
}

interface StreamBody {
  readonly files?: Record<string, { readonly content: readonly string[]; readonly offset: number }>;
  readonly uploaded?: readonly string[];
  readonly complete?: boolean;
  readonly exitcode?: number;
}

export async function startFakeWandb(): Promise<FakeWandb> {
  const server = http.createServer((request, response) => {
    fake.numRequests += 1;
    const { trouble } = fake;
    if (trouble === 'hang') return;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const isRefused = typeof trouble === 'number';
      const answer = isRefused ? { error: 'refused' } : take(fake, request, Buffer.concat(chunks));
      response.writeHead(isRefused ? trouble : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const fake: FakeWandb = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upserts: [],
    streams: new Set(),
    history: [],
    offsets: [],
    files: new Map(),
    uploaded: [],
    summary: undefined,
    exitCode: undefined,
    credentials: undefined,
    numRequests: 0,
    trouble: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}

function take(fake: FakeWandb, request: http.IncomingMessage, bytes: Buffer): object {
  const { authorization = '', 'x-storage': storage } = request.headers;
  const url = request.url ?? '';
  if (request.method === 'PUT' && url.startsWith('/storage/')) {
    // An address of storage has its permission in it: the key of the account is not for it.
    if (authorization !== '' || storage !== 'yes') return { error: 'wrong headers' };
    fake.files.set(decodeURIComponent(url.slice('/storage/'.length)), bytes);
    return {};
  }
  fake.credentials = Buffer.from(authorization.slice('Basic '.length), 'base64').toString();
  const body: unknown = JSON.parse(bytes.toString());
  if (url === '/graphql') return answerGraphql(fake, body as GraphqlBody);
  fake.streams.add(url);
  return takeLines(fake, body as StreamBody);
}

interface GraphqlBody {
  readonly query: string;
  readonly variables: Record<string, unknown>;
}

function answerGraphql(fake: FakeWandb, { query, variables }: GraphqlBody): object {
  if (query.includes('createRunFiles')) {
    if (fake.trouble === 'noFiles') return { data: null, errors: [{ message: 'Cannot query field' }] };
    const names = variables['files'] as string[];
    // A server of one's own may name a place of its own without itself.
    const files = names.map((name, index) => ({
      name,
      uploadUrl: `${index === 0 ? '' : fake.url}/storage/${encodeURIComponent(name)}`,
    }));
    return { data: { createRunFiles: { uploadHeaders: ['x-storage: yes'], files } } };
  }
  fake.upserts.push(variables);
  const entity = { name: variables['entity'] ?? 'tester' };
  const project = { name: variables['project'], entity };
  return { data: { upsertBucket: { bucket: { id: '2', name: variables['name'], project } } } };
}

function takeLines(fake: FakeWandb, { files = {}, uploaded, complete, exitcode }: StreamBody): object {
  const history = files['wandb-history.jsonl'];
  if (history) fake.offsets.push(history.offset);
  history?.content.forEach((line, index) => (fake.history[history.offset + index] = parse(line)));
  const summary = files['wandb-summary.json']?.content.at(-1);
  if (summary !== undefined) fake.summary = parse(summary);
  if (uploaded) fake.uploaded = uploaded;
  if (complete) fake.exitCode = exitcode;
  return {};
}

function parse(line: string): Record<string, unknown> {
  return JSON.parse(line) as Record<string, unknown>;
}
