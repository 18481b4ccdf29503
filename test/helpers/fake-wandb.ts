// A stand-in for the Weights & Biases service on a free local port: the GraphQL calls and the file stream
// that @wandb/sdk makes, recorded for the test.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeWandb {
  readonly url: string;
  /** Variables of every UpsertBucket mutation. */
  readonly upserts: Record<string, unknown>[];
  /** Lines of wandb-history.jsonl, parsed. */
  readonly history: Record<string, unknown>[];
  /** Places of the first lines that requests with history have. */
  readonly offsets: number[];
  /** Last wandb-summary.json, parsed. */
  summary: Record<string, unknown> | undefined;
  /** Exit code sent with the end of the run. */
  exitCode: number | undefined;
  /** `user:password` of the last request. */
  credentials: string | undefined;
  numRequests: number;
  close(): Promise<void>;
}

/** Behaviour: `answer` as the service does; `refuse` with 401; `hang`: accept requests and never answer. */
export type FakeBehaviour = 'answer' | 'refuse' | 'hang';

interface StreamBody {
  readonly files?: Record<string, { readonly content: readonly string[]; readonly offset: number }>;
  readonly complete?: boolean;
  readonly exitcode?: number;
}

export async function startFakeWandb(behaviour: FakeBehaviour = 'answer'): Promise<FakeWandb> {
  const server = http.createServer((request, response) => {
    fake.numRequests += 1;
    fake.credentials = Buffer.from(
      (request.headers.authorization ?? '').slice('Basic '.length),
      'base64',
    ).toString();
    if (behaviour === 'hang') return;
    if (behaviour === 'refuse') {
      response
        .writeHead(401, { 'content-type': 'application/json' })
        .end('{"errors":[{"message":"bad key"}]}');
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
      const answer =
        request.url === '/graphql'
          ? answerGraphql(fake, body as GraphqlBody)
          : takeFiles(fake, body as StreamBody);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const fake: FakeWandb = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upserts: [],
    history: [],
    offsets: [],
    summary: undefined,
    exitCode: undefined,
    credentials: undefined,
    numRequests: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}

interface GraphqlBody {
  readonly query: string;
  readonly variables: Record<string, unknown>;
}

function answerGraphql(fake: FakeWandb, { query, variables }: GraphqlBody): object {
  if (query.includes('query Viewer'))
    return { data: { viewer: { id: '1', entity: 'tester', flags: '{}', teams: null } } };
  fake.upserts.push(variables);
  const bucket = { id: '2', name: variables['name'], displayName: variables['displayName'] };
  return { data: { upsertBucket: { bucket, inserted: true } } };
}

function takeFiles(fake: FakeWandb, { files = {}, complete, exitcode }: StreamBody): object {
  const history = files['wandb-history.jsonl'];
  if (history) fake.offsets.push(history.offset);
  for (const line of files['wandb-history.jsonl']?.content ?? []) fake.history.push(parse(line));
  const summary = files['wandb-summary.json']?.content.at(-1);
  if (summary !== undefined) fake.summary = parse(summary);
  if (complete) fake.exitCode = exitcode;
  return {};
}

function parse(line: string): Record<string, unknown> {
  return JSON.parse(line) as Record<string, unknown>;
}
