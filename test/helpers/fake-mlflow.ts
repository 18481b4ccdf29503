// A stand-in for a server of MLflow on a free local port: the calls of its REST API that Lockstep makes,
// with its limits, recorded for the test.
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FakeMlflow {
  readonly url: string;
  readonly experiments: Map<string, string>;
  readonly runs: Map<string, FakeRun>;
  /** Bodies of artifacts by their path. */
  readonly artifacts: Map<string, string>;
  /** Metrics of each log-batch. */
  readonly batches: number[];
  /** Header of the last request. */
  authorization: string | undefined;
  numRequests: number;
  /** A status and an error code for all requests, or `hang`: take them and never answer. */
  trouble: { readonly status: number; readonly code: string } | 'hang' | undefined;
  /** The end of a path of which the next request is answered with 503. */
  failsOnce: string | undefined;
  close(): Promise<void>;
}

export interface FakeRun {
  readonly experimentId: string;
  readonly name: string;
  status: string;
  readonly params: Map<string, string>;
  readonly metrics: {
    readonly key: string;
    readonly value: unknown;
    readonly timestamp: number;
    readonly step: number;
  }[];
}

interface Body {
  readonly name: string;
  readonly run_id: string;
  readonly run_name: string;
  readonly experiment_id: string;
  readonly status: string;
  readonly metrics?: FakeRun['metrics'];
  readonly params?: readonly { readonly key: string; readonly value: string }[];
}

class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

export async function startFakeMlflow({ artifacts = 'mlflow-artifacts:/1' } = {}): Promise<FakeMlflow> {
  const server = http.createServer((request, response) => {
    fake.numRequests += 1;
    fake.authorization = request.headers.authorization;
    const { trouble } = fake;
    if (trouble === 'hang') return;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const send = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      try {
        if (trouble) throw new ApiError(trouble.status, trouble.code);
        if (fake.failsOnce !== undefined && request.url?.endsWith(fake.failsOnce)) {
          fake.failsOnce = undefined;
          throw new ApiError(503, 'TEMPORARILY_UNAVAILABLE');
        }
        send(200, answer(fake, request, Buffer.concat(chunks).toString(), artifacts));
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        send(error.status, { error_code: error.code, message: 'refused' });
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const fake: FakeMlflow = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    experiments: new Map(),
    runs: new Map(),
    artifacts: new Map(),
    batches: [],
    authorization: undefined,
    numRequests: 0,
    trouble: undefined,
    failsOnce: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}

function answer(fake: FakeMlflow, request: http.IncomingMessage, text: string, artifacts: string): object {
  const url = new URL(request.url ?? '', fake.url);
  const prefix = '/api/2.0/mlflow-artifacts/artifacts/';
  if (request.method === 'PUT' && url.pathname.startsWith(prefix)) {
    fake.artifacts.set(decodeURIComponent(url.pathname.slice(prefix.length)), text);
    return {};
  }
  const body = (text === '' ? {} : JSON.parse(text)) as Body;
  switch (`${request.method} ${url.pathname.replace('/api/2.0/mlflow/', '')}`) {
    case 'GET experiments/get-by-name': {
      const experiment_id = fake.experiments.get(url.searchParams.get('experiment_name') ?? '');
      if (experiment_id === undefined) throw new ApiError(404, 'RESOURCE_DOES_NOT_EXIST');
      return { experiment: { experiment_id } };
    }
    case 'POST experiments/create':
      fake.experiments.set(body.name, String(fake.experiments.size + 1));
      return { experiment_id: String(fake.experiments.size) };
    case 'POST runs/create': {
      const run_id = `run${fake.runs.size + 1}`;
      const run = { experimentId: body.experiment_id, name: body.run_name, status: 'RUNNING' };
      fake.runs.set(run_id, { ...run, params: new Map(), metrics: [] });
      return { run: { info: { run_id, artifact_uri: `${artifacts}/${run_id}/artifacts` } } };
    }
    case 'GET runs/get': {
      const run_id = url.searchParams.get('run_id') ?? '';
      const latest = new Map(runOf(fake, run_id).metrics.map((metric) => [metric.key, metric]));
      const info = { run_id, artifact_uri: `${artifacts}/${run_id}/artifacts` };
      return { run: { info, data: { metrics: [...latest.values()] } } };
    }
    case 'POST runs/update':
      runOf(fake, body.run_id).status = body.status;
      return {};
    case 'POST runs/log-batch':
      return logBatch(fake, body);
    default:
      throw new ApiError(404, 'ENDPOINT_NOT_FOUND');
  }
}

function runOf(fake: FakeMlflow, id: string): FakeRun {
  const run = fake.runs.get(id);
  if (!run) throw new ApiError(404, 'RESOURCE_DOES_NOT_EXIST');
  return run;
}

function logBatch(fake: FakeMlflow, { run_id, metrics = [], params = [] }: Body): object {
  const run = runOf(fake, run_id);
  const isTooMuch = metrics.length > 1000 || params.length > 100;
  const areBad = params.some(({ key, value }) => value.length > 500 || !/^[\w\-. /]{1,250}$/.test(key));
  if (isTooMuch || areBad) throw new ApiError(400, 'INVALID_PARAMETER_VALUE');
  for (const { key, value } of params) {
    if ((run.params.get(key) ?? value) !== value) throw new ApiError(400, 'INVALID_PARAMETER_VALUE');
    run.params.set(key, value);
  }
  if (metrics.length > 0) fake.batches.push(metrics.length);
  run.metrics.push(...metrics);
  return {};
}
