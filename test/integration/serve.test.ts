// `lockstep serve`: predictions over HTTP are those of the command line, and every wrong request is told why.
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { TrainConfig } from '../../api/train.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { EXAMPLES, predicted, samplesOf, TABLES, trainAll } from '../helpers/exported-models.ts';
import { loadModel } from '../../src/predict/load-model.ts';

const TOKEN = 'a-secret-of-enough-characters';

let cwd = '';

beforeAll(async () => {
  cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-serve-'));
  const { convolutional } = EXAMPLES as Record<string, { config: TrainConfig }>;
  await trainAll(cwd, [TABLES['areas'] as TrainConfig, (convolutional as { config: TrainConfig }).config]);
});

afterAll(() => fs.rmSync(cwd, { recursive: true }));

/** Starts the command on a free port; returns the address that it logs. */
async function startServe(run: string, env: Readonly<Record<string, string>> = {}) {
  const command = CliProcess.start(['serve', `runs/${run}`, '--port', '0'], { cwd, env });
  const [, url = ''] = await command.untilStderr(/on (http:\S+:\d+)/);
  return { command, url };
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function ask(url: string, body?: unknown, init: RequestInit = {}): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const request = body === undefined ? init : { method: 'POST', body: text, ...init };
  const response = await fetch(url, request);
  return { status: response.status, body: response.status === 204 ? undefined : await response.json() };
}

const errorOf = ({ status, body }: Answer) => ({ status, ...(body as { error: object }).error });

it('predictions over HTTP are those of lockstep predict, and SIGTERM ends the server in an orderly way', async () => {
  const { command, url } = await startServe('areas');
  const lines = fs.readFileSync(path.join(cwd, 'areas.csv'), 'utf8').trimEnd().split('\n').slice(1);
  const rows = lines.map((line) => {
    const [width, height, shape] = line.split(',');
    return { width: Number(width), height: Number(height), shape };
  });
  const expected = (await predicted(cwd, 'runs/areas', 'areas.csv')).map((area) => ({ area }));
  expect(await ask(`${url}/predict`, { rows })).toEqual({ status: 200, body: { predictions: expected } });
  expect(await ask(`${url}/predict`, rows.slice(0, 1))).toEqual({
    status: 200,
    body: { predictions: expected.slice(0, 1) },
  });
  const { body: unseen } = await ask(`${url}/predict`, [{ width: 1, height: 2, shape: 'dome' }]);
  expect(unseen).toMatchObject({
    warnings: ['column "shape": 1 row with a value that training never saw; encoded as zeros'],
  });
  expect(await ask(`${url}/health`)).toEqual({ status: 200, body: { status: 'ok' } });
  expect((await fetch(`${url}/health`, { method: 'HEAD' })).status).toBe(200);
  const { body: described } = await ask(`${url}/model`);
  expect(described).toMatchObject({
    name: 'areas',
    targets: ['area'],
    classes: [],
    inputs: { columns: [{ column: 'width', kind: 'numeric' }, {}, { column: 'shape', kind: 'categorical' }] },
  });
  expect((described as { metrics: { test: { rmse: unknown } } }).metrics.test.rmse).toBeTypeOf('number');
  command.signal('SIGTERM');
  expect(await command.finished).toMatchObject({ exitCode: 143, stdout: '' });
});

it('every request that cannot be answered gets a status, a code and words', async () => {
  const { url } = await startServe('areas');
  const predict = `${url}/predict`;
  const good = { width: 1, height: 2, shape: 'box' };
  expect(errorOf(await ask(predict, [good, { ...good, height: 'tall' }]))).toEqual({
    status: 422,
    code: 'E_DATA_NOT_A_NUMBER',
    message: 'row 1: column "height": "tall" is not a number (1 of 2 cells)',
  });
  expect(errorOf(await ask(predict, [{ width: 1, shape: 'box' }]))).toEqual({
    status: 422,
    code: 'E_DATA_COLUMNS',
    message: 'row 0 has no column "height", which the model was trained on',
    help: 'give it a value, or null where the value is missing',
  });
  expect(errorOf(await ask(predict, '{"rows":'))).toMatchObject({ status: 400, code: 'E_SERVE_BODY' });
  expect(errorOf(await ask(predict, { rows: 3 }))).toEqual({
    status: 400,
    code: 'E_SERVE_BODY',
    message: 'expected rows, got 3',
    help: 'send {"rows":[...]} or a list of rows',
  });
  expect(errorOf(await ask(predict, Array(10_001).fill(good)))).toEqual({
    status: 413,
    code: 'E_TOO_LARGE',
    message: '10,001 rows; a request may have 10,000',
    help: 'send fewer rows in a request',
  });
  expect(errorOf(await ask(`${url}/nothing`))).toMatchObject({ status: 404, code: 'E_SERVE_PATH' });
  expect(errorOf(await ask(predict))).toEqual({
    status: 405,
    code: 'E_SERVE_METHOD',
    message: '/predict takes POST',
  });
  const page = { headers: { origin: 'http://example.com' } };
  expect(errorOf(await ask(predict, [good], page))).toMatchObject({ status: 403, code: 'E_SERVE_ORIGIN' });
  // A page can lead a name of its own to this machine; `fetch` does not let a test do so.
  const { port } = new URL(url);
  const rebound = http.get({ port, path: '/model', headers: { host: `example.com:${port}` } });
  const [answer] = (await once(rebound, 'response')) as [http.IncomingMessage];
  expect(answer.resume().statusCode).toBe(403);
});

it('a body above the limit is refused before it has come', async () => {
  const { url } = await startServe('areas');
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const headers = { 'content-length': String(17 * 2 ** 20) };
    const request = http.request(`${url}/predict`, { method: 'POST', headers });
    request.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject);
    request.write('[');
  });
  expect(status).toBe(413);
});

it('with a token only requests that show it are answered, besides the question of health', async () => {
  const { url } = await startServe('areas', { LOCKSTEP_TOKEN: TOKEN });
  const rows = [{ width: 1, height: 2, shape: 'box' }];
  expect((await ask(`${url}/health`)).status).toBe(200);
  expect(errorOf(await ask(`${url}/predict`, rows))).toEqual({
    status: 401,
    code: 'E_TOKEN',
    message: 'a token is required',
    help: 'send Authorization: Bearer TOKEN',
  });
  const withToken = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });
  expect((await ask(`${url}/model`, undefined, withToken(`${TOKEN}s`))).status).toBe(401);
  expect((await ask(`${url}/predict`, rows, withToken(TOKEN))).status).toBe(200);
});

it('beyond loopback a token is required', async () => {
  expect(await runCli(['serve', 'runs/areas', '--host', '0.0.0.0'], { cwd })).toMatchObject({
    exitCode: 2,
    stderr:
      'error[E_TOKEN_REQUIRED]: listening on 0.0.0.0 without a token would let anyone predict who reaches the port\n' +
      '  help: give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127.0.0.1\n',
  });
});

it('a model of images takes the bytes of each as a list', async () => {
  const { url } = await startServe('convolutional');
  const example = EXAMPLES['convolutional'];
  if (!example) throw new Error('no such example');
  const image = [...samplesOf(example).subarray(0, 128)];
  const [expected] = (await loadModel(path.join(cwd, 'runs/convolutional'))).predict(Uint8Array.from(image));
  const { body } = await ask(`${url}/predict`, { rows: [image] });
  const [found] = (body as { predictions: { probabilities: Record<string, number> }[] }).predictions;
  expect(Object.values(found?.probabilities ?? {})).toEqual(
    expected?.kind === 'class' ? [...expected.probabilities] : [],
  );
  expect(errorOf(await ask(`${url}/predict`, [image.map((byte) => byte / 255)]))).toEqual({
    status: 422,
    code: 'E_DATA_FORMAT',
    message: 'row 0: expected a list of 128 whole numbers from 0 to 255',
  });
});

it('a port that is taken ends the command with the exit code of a network, as it does everywhere', async () => {
  const { url } = await startServe('areas');
  const { port } = new URL(url);
  const { exitCode, stderr } = await runCli(['serve', 'runs/areas', '--port', port], { cwd });
  expect({ exitCode, stderr }).toEqual({
    exitCode: 5,
    stderr: `error[E_PORT_IN_USE]: port ${port} on 127.0.0.1 is in use\n  help: port 0 picks a free one\n`,
  });
});
