import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { HttpClient } from '../../../../coordinator/output/http-client.ts';
import { mlflowIntent, MlflowRun, type MlflowRunOptions } from '../../../../coordinator/output/mlflow-run.ts';
import type { RemoteLoggerOptions } from '../../../../coordinator/output/remote-logger.ts';
import { configSchema, type ConfigInput } from '../../../../src/config/schema.ts';
import { startFakeMlflow, type FakeMlflow } from '../../../helpers/fake-mlflow.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';
import { recordTo, stepRecord, type RecordedRun } from '../../../helpers/remote-logger.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const CONFIG: ConfigInput = {
  name: 'house',
  data: { file: 'house.csv', target: 'price', features: Array.from({ length: 200 }, (_, i) => `f${i}`) },
  model: { layers: [{ kind: 'dense', units: 1 }] },
  loss: 'mse',
};

function parseConfig(tracking?: ConfigInput['tracking']) {
  return configSchema.parse({ ...CONFIG, tracking });
}

async function startFake(options?: { artifacts: string }): Promise<FakeMlflow> {
  const fake = await startFakeMlflow(options);
  onTestFinished(() => fake.close());
  return fake;
}

function record(
  uri: string,
  directory: string,
  overrides: Partial<MlflowRunOptions & RemoteLoggerOptions> = {},
): RecordedRun {
  const run = { uri, experiment: 'homes', name: 'first', config: parseConfig(), directory, env: {} };
  return recordTo((say) => new MlflowRun({ ...run, ...say, ...overrides }), directory, overrides);
}

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 10_000, interval: 10 }).toBe(true);
}

/** Steps that the server has of the learning rate. */
function stepsOf(fake: FakeMlflow, run = 'run1'): number[] {
  return (fake.runs.get(run)?.metrics ?? []).filter(({ key }) => key === 'lr').map(({ step }) => step);
}

test('MLflow is asked for by the config or the environment, and the config takes precedence', () => {
  expect(mlflowIntent(parseConfig(), {})).toBeUndefined();
  expect(mlflowIntent(parseConfig({ mlflow: {} }), {})).toBeUndefined();
  const env = { MLFLOW_TRACKING_URI: 'http://a', MLFLOW_EXPERIMENT_NAME: 'x' };
  expect(mlflowIntent(parseConfig(), env)).toEqual({ uri: 'http://a', experiment: 'x' });
  expect(mlflowIntent(parseConfig({ mlflow: { uri: 'http://b' } }), {})).toEqual({
    uri: 'http://b',
    experiment: 'house',
  });
  const config = parseConfig({ mlflow: { uri: 'http://b', experiment: 'y' } });
  expect(mlflowIntent(config, env)).toEqual({ uri: 'http://b', experiment: 'y' });
});

test('MLflow gets the config within its limits, every metric, the result, the files and the end', async () => {
  const fake = await startFake();
  const directory = temporaryDirectory();
  fs.mkdirSync(path.join(directory, 'plots'));
  fs.writeFileSync(path.join(directory, 'plots/loss curves.svg'), '<svg/>');
  fs.writeFileSync(path.join(directory, 'summary.json'), '{}');
  const { logger, log, infos, warnings } = record(`${fake.url}/`, directory, {
    env: { MLFLOW_TRACKING_TOKEN: 'secret' },
  });
  for (let step = 1; step <= 2500; step++) log(stepRecord(step));
  log({ _step: 2500, _runtime: 1, _timestamp: 2000.5, 'val/r2': -Infinity });
  await logger.finish(HOUSE_SUMMARY);
  expect(warnings).toEqual([]);
  expect(infos).toEqual([
    `MLflow: recording run run1 at ${fake.url}/`,
    'MLflow: 2,501 records and 2 files are there',
  ]);
  expect(fake.authorization).toBe('Bearer secret');
  const run = fake.runs.get('run1')!;
  expect(fake.experiments.get('homes')).toBe(run.experimentId);
  expect({ name: run.name, status: run.status }).toEqual({ name: 'first', status: 'FINISHED' });
  expect(run.params.get('optimizer.learningRate')).toBe('0.001');
  expect(run.params.get('data.features')).toHaveLength(500);
  expect(Math.max(...fake.batches)).toBeLessThanOrEqual(1000);
  expect(stepsOf(fake)).toEqual(Array.from({ length: 2500 }, (_, index) => index + 1));
  expect(run.metrics[0]).toEqual({ key: 'lr', value: 0.5, timestamp: 1_000_250, step: 1 });
  expect(run.metrics.find(({ key }) => key === 'val/r2')?.value).toBe('-Infinity');
  expect(run.metrics.find(({ key }) => key === 'test/mae')).toMatchObject({ value: 19_000, step: 2500 });
  expect([...fake.artifacts]).toEqual([
    ['1/run1/artifacts/summary.json', '{}'],
    ['1/run1/artifacts/plots/loss curves.svg', '<svg/>'],
  ]);
});

test('a run that resumes is the same run at MLflow, and no record is there twice or missing', async () => {
  const fake = await startFake();
  const directory = temporaryDirectory();
  const first = record(fake.url, directory);
  for (const step of [1, 2, 3, 4]) first.log(stepRecord(step));
  await first.logger.finish(undefined);
  expect(fake.runs.get('run1')?.status).toBe('FAILED');
  const resumed = record(fake.url, directory);
  // Step 3 was in no checkpoint and is taken again; step 5 never reached the server.
  resumed.goBackTo(2);
  for (const step of [3, 4, 5]) resumed.log(stepRecord(step));
  await resumed.logger.finish(HOUSE_SUMMARY);
  expect([...fake.runs.keys()]).toEqual(['run1']);
  expect(stepsOf(fake)).toEqual([1, 2, 3, 4, 5]);
  expect(fake.runs.get('run1')?.status).toBe('FINISHED');
});

test('a run that MLflow has lost, or that another server had, is a new one with all its records', async () => {
  const fake = await startFake();
  const directory = temporaryDirectory();
  fs.writeFileSync(
    path.join(directory, 'mlflow.json'),
    JSON.stringify({ uri: `${fake.url}/`, runId: 'gone' }),
  );
  const { logger, log, warnings } = record(fake.url, directory);
  for (const step of [1, 2]) log(stepRecord(step));
  await logger.finish(HOUSE_SUMMARY);
  expect(warnings).toEqual([]);
  expect(stepsOf(fake)).toEqual([1, 2]);
});

test('a wrong token is one warning, the token is not in it, and nothing more is asked', async () => {
  const fake = await startFake();
  fake.trouble = { status: 401, code: 'UNAUTHENTICATED' };
  const { logger, log, warnings } = record(fake.url, temporaryDirectory(), {
    env: { MLFLOW_TRACKING_TOKEN: 'secret' },
  });
  log(stepRecord(1));
  await logger.finish(HOUSE_SUMMARY);
  expect(warnings).toEqual([
    'MLflow: HTTP 401 {"error_code":"UNAUTHENTICATED","message":"refused"}; nothing more is sent; to send the rest later: lockstep runs sync RUN',
  ]);
  expect(fake.numRequests).toBe(1);
});

test('a server that answers again gets what has waited, after one warning', async () => {
  const fake = await startFake();
  fake.trouble = { status: 503, code: 'TEMPORARILY_UNAVAILABLE' };
  const { logger, log, warnings } = record(fake.url, temporaryDirectory());
  log(stepRecord(1));
  await until(() => fake.numRequests >= 2);
  fake.trouble = undefined;
  await until(() => stepsOf(fake).length === 1);
  await logger.finish(HOUSE_SUMMARY);
  expect(fake.runs.get('run1')?.status).toBe('FINISHED');
  expect(warnings).toEqual([
    'MLflow: HTTP 503 {"error_code":"TEMPORARILY_UNAVAILABLE","message":"refused"}; it is asked again, and ' +
      'metrics are in the run directory',
  ]);
});

test('a server that fails between the run and its parameters has one run, with all of them', async () => {
  const fake = await startFake();
  fake.failsOnce = 'runs/log-batch';
  const { logger, warnings } = record(fake.url, temporaryDirectory());
  await logger.finish(HOUSE_SUMMARY);
  expect(warnings).toEqual([expect.stringMatching(/^MLflow: HTTP 503 .*; it is asked again/)]);
  expect([...fake.runs.keys()]).toEqual(['run1']);
  expect(fake.runs.get('run1')?.params.get('optimizer.learningRate')).toBe('0.001');
});

test('a server that answers with a page for people is refused with the beginning of it', async () => {
  const server = http.createServer((_, response) => response.end('<!doctype html><title>Sign in</title>'));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { logger, warnings } = record(`http://127.0.0.1:${port}`, temporaryDirectory());
  await logger.finish(undefined);
  expect(warnings).toEqual([
    `MLflow: 127.0.0.1:${port} answers with no JSON: "<!doctype html><title>Sign in</title>"; nothing more is sent; ` +
      'to send the rest later: lockstep runs sync RUN',
  ]);
});

test('a server that is not there is a warning at once and one at the end, which does not wait for it', async () => {
  const fake = await startFakeMlflow();
  await fake.close();
  const { logger, log, warnings } = record(fake.url, temporaryDirectory());
  await until(() => warnings.length > 0);
  log(stepRecord(1));
  const startedMs = performance.now();
  await logger.finish(HOUSE_SUMMARY);
  expect(performance.now() - startedMs).toBeLessThan(2000);
  expect(warnings).toEqual([
    expect.stringMatching(/^MLflow: fetch failed: .*ECONNREFUSED.*; it is asked again/),
    expect.stringMatching(/^MLflow: fetch failed: .*ECONNREFUSED.*; nothing more is sent/),
  ]);
});

test('a server that never answers delays the end by no more than the deadline', async () => {
  const fake = await startFake();
  fake.trouble = 'hang';
  const { logger, log, warnings } = record(fake.url, temporaryDirectory(), { endDeadlineMs: 500 });
  log(stepRecord(1));
  const startedMs = performance.now();
  await logger.finish(HOUSE_SUMMARY);
  expect(performance.now() - startedMs).toBeLessThan(3000);
  expect(warnings).toEqual([
    'MLflow: the last records were not taken within 0.5 s; nothing more is sent; to send the rest later: lockstep runs sync RUN',
  ]);
});

test('steps that a run takes back are at MLflow again after it went back, and those before it are not', async () => {
  const fake = await startFake();
  const { logger, log, goBackTo } = record(fake.url, temporaryDirectory());
  for (const step of [1, 2, 3]) log(stepRecord(step));
  await until(() => logger.numSent === 3);
  goBackTo(1);
  for (const step of [2, 3]) log(stepRecord(step));
  await logger.finish(undefined);
  expect(stepsOf(fake)).toEqual([1, 2, 3, 2, 3]);
});

test('a run that waited for a server, and went back in the meantime, sends what holds only', async () => {
  const fake = await startFake();
  const { logger, log, goBackTo, warnings } = record(fake.url, temporaryDirectory());
  log(stepRecord(1));
  await until(() => logger.numSent === 1);
  fake.trouble = { status: 503, code: 'TEMPORARILY_UNAVAILABLE' };
  for (const step of [2, 3]) log(stepRecord(step, { lr: 9 }));
  await until(() => warnings.length === 1);
  goBackTo(1);
  fake.trouble = undefined;
  log(stepRecord(2));
  await logger.finish(undefined);
  expect(fake.runs.get('run1')?.metrics.map(({ step, value }) => [step, value])).toEqual([
    [1, 0.5],
    [2, 0.5],
  ]);
});

test('a file of more than 2 GiB is sent without reading it into memory', async () => {
  const file = path.join(temporaryDirectory(), 'large');
  fs.writeFileSync(file, '');
  fs.truncateSync(file, 2 ** 31 + 1);
  const lengths: unknown[] = [];
  const server = http.createServer((request) => {
    lengths.push(request.headers['content-length']);
    request.socket.destroy();
  });
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  await expect(new HttpClient().putFile(url, {}, file)).rejects.toThrow('fetch failed');
  expect(lengths).toEqual(['2147483649']);
});

test('files stay in the run directory where the server does not take them', async () => {
  const fake = await startFake({ artifacts: 's3://bucket' });
  const directory = temporaryDirectory();
  fs.writeFileSync(path.join(directory, 'summary.json'), '{}');
  const { logger, infos, warnings } = record(fake.url, directory);
  await logger.finish(HOUSE_SUMMARY);
  expect({ warnings, artifacts: fake.artifacts.size }).toEqual({ warnings: [], artifacts: 0 });
  expect(infos).toContain('MLflow: the server takes no files; they are in the run directory');
});

test.each(['file:///tmp/mlruns', 'nonsense'])('the address %s is refused before anything is sent', (uri) => {
  expect(() => record(uri, temporaryDirectory())).toThrow(
    'MLFLOW_TRACKING_URI or tracking.mlflow.uri is no address of a server, http:// or https://',
  );
});
