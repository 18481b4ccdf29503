// What a coordinator and its workers say about themselves while they run: names, numbers, `/status`, `/metrics`
// and `lockstep status`.
import { once } from 'node:events';
import fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { StatusReport } from '../../coordinator/output/run-status.ts';
import { runCli, type CliProcess } from '../helpers/cli.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { readRecords, untilEpoch } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const TOKENS = ['token-of-the-worker-alpha', 'token-of-the-worker-beta'] as const;
const WITH_TOKEN = { headers: { Authorization: `Bearer ${TOKEN}` } };

const httpUrl = ({ url }: NetworkRun, path: string): string => `${url.replace('ws:', 'http:')}${path}`;

async function answerOf(
  run: NetworkRun,
  path: string,
  init?: RequestInit,
): Promise<[status: number, text: string]> {
  const response = await fetch(httpUrl(run, path), init);
  return [response.status, await response.text()];
}

async function statusOf(run: NetworkRun): Promise<StatusReport> {
  const [status, text] = await answerOf(run, '/status', WITH_TOKEN);
  expect(status).toBe(200);
  return JSON.parse(text) as StatusReport;
}

describe('the status of a run', () => {
  it('a coordinator tells its status to those who have the token, from waiting for workers to training', async () => {
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    expect(await answerOf(run, '/healthz')).toEqual([200, 'ok']);
    expect(await answerOf(run, '/readyz')).toEqual([200, 'ready']);
    expect(await answerOf(run, '/status')).toEqual([401, 'a token is required\n']);
    expect(await answerOf(run, '/metrics', { headers: { Authorization: 'Bearer x' } })).toEqual([
      401,
      'wrong token\n',
    ]);
    const asPage = { headers: { ...WITH_TOKEN.headers, Origin: 'http://example.org' } };
    expect(await answerOf(run, '/status', asPage)).toEqual([403, 'browsers cannot be workers\n']);
    expect((await answerOf(run, '/status', { method: 'POST', ...WITH_TOKEN }))[0]).toBe(405);
    expect((await answerOf(run, '/elsewhere'))[0]).toBe(404);
    expect(await statusOf(run)).toMatchObject({
      state: 'waiting',
      numWorkers: 0,
      minWorkers: 2,
      step: 0,
      steps: 450,
      workers: [],
    });
    startWorker(run, run.url, { flags: ['--name', 'alpha'] });
    startWorker(run, run.url, { env: { SLURM_PROCID: '3' } });
    await untilEpoch(run.command, run.directory, 1);
    const report = await statusOf(run);
    expect(report).toMatchObject({ state: 'training', numWorkers: 2, directory: run.directory });
    expect(report.step).toBeGreaterThanOrEqual(15);
    expect(report.metrics['val/loss']).toBeGreaterThan(0);
    expect(report.workers.map(({ worker }) => worker).sort()).toEqual([1, 2]);
    expect(report.workers.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^worker \d \(alpha pid \d+\)$/),
        expect.stringMatching(/^worker \d \(.* rank 3 pid \d+\)$/),
      ]),
    );
    const [, page] = await answerOf(run, '/metrics', WITH_TOKEN);
    expect(page).toMatch(/^lockstep_workers\{run="\w[^"]*"\} 2$/m);
    expect(page).toMatch(/^lockstep_val_loss\{run="[^"]*"\} 0\.\d+$/m);
    expect(page).toMatch(
      /^lockstep_worker_tasks\{worker="\d",name="worker \d \(alpha pid \d+\)",run="[^"]*"\} \d+$/m,
    );
    await expectUndisturbedEnd(run);
  });

  it('lockstep status asks a coordinator, and says why it gets no answer', async () => {
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    const ask = (url: string, env = { LOCKSTEP_TOKEN: TOKEN }) =>
      runCli(['status', url], { cwd: run.cwd, env });
    expect(await ask(run.url)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(
        /: waiting, epoch 0 of 30, step 0 of 450, [\s\S]*0 workers; a step requires 2\nstart workers with: lockstep worker ws:/,
      ) as string,
    });
    expect(await ask(run.url, { LOCKSTEP_TOKEN: 'another-token-of-the-tests' })).toMatchObject({
      exitCode: 5,
      stderr: expect.stringMatching(
        /error\[E_UNAUTHORIZED\]: 127\.0\.0\.1:\d+ does not tell the status of a run \(HTTP 401: wrong token\)\n {2}help: give the token/,
      ) as string,
    });
    expect(await ask('ws://127.0.0.1:9')).toMatchObject({
      exitCode: 5,
      stderr: expect.stringMatching(/error\[E_STATUS\]: cannot ask 127\.0\.0\.1:9: .*ECONNREFUSED/) as string,
    });
    for (const name of ['a', 'b']) startWorker(run, run.url, { flags: ['--name', name] });
    await expectUndisturbedEnd(run);
  });

  it.each([
    '{"state":"training","workers":[null]}',
    '{"state":"training","workers":[],"metrics":null}',
    '[]',
    '"\\u001b[31m"',
  ])('an answer that is no status is an error of one line: %s', async (answer) => {
    const server = createServer((_, response) => response.end(answer)).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { exitCode, stderr } = await runCli(['status', `ws://127.0.0.1:${port}`], {
      cwd: temporaryDirectory(),
    });
    expect(stderr).toMatch(
      /^error\[E_STATUS\]: \S+ does not tell the status of a run \(HTTP 200: \P{Cc}*\)\n/u,
    );
    expect(exitCode).toBe(5);
  });

  it('a coordinator knows a worker that comes back by its number', async () => {
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    const fault = { LOCKSTEP_FAILPOINT: 'worker.afterSend#20:throw' };
    startWorker(run);
    startWorker(run, run.url, { env: fault });
    await expectUndisturbedEnd(run);
    const joined = readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'workerJoined');
    expect(new Set(joined.map(({ worker }) => worker))).toEqual(new Set([1, 2]));
  });

  it('a worker with a token of its own has the name of its line, and is sent away for good when the line goes', async () => {
    const run = await startCoordinator({
      flags: ['--min-workers', '3', '--worker-tokens', 'workers.txt'],
      files: { 'workers.txt': `alpha ${TOKENS[0]}\nbeta ${TOKENS[1]}\n` },
    });
    const [alpha, beta] = TOKENS.map((token) =>
      startWorker(run, run.url, { env: { LOCKSTEP_TOKEN: token } }),
    );
    await run.command.untilStderr(/worker \d \(alpha pid \d+\) joined/);
    fs.writeFileSync(path.join(run.cwd, 'workers.txt'), `beta ${TOKENS[1]}\n`);
    await run.command.untilStderr(/worker \d \(alpha pid \d+\) left: its token was taken away/);
    const { exitCode, stderr } = await (alpha as CliProcess).finished;
    expect(stderr).toMatch(/error\[E_UNAUTHORIZED\]: .* does not accept this worker's token/);
    expect(exitCode).toBe(5);
    startWorker(run);
    startWorker(run);
    await expectUndisturbedEnd(run);
    expect((await (beta as CliProcess).finished).exitCode).toBe(0);
  });

  it('a worker says in a pipe what it waits for', async () => {
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    const worker = startWorker(run);
    await worker.untilStderr(/INFO: waiting for the coordinator, which has sent no task yet, for [\d.]+ s\n/);
    startWorker(run);
    await expectUndisturbedEnd(run);
  });

  it('a worker refuses a name that could not stand in a log', async () => {
    const { exitCode, stderr } = await runCli(['worker', 'ws://127.0.0.1:9', '--name', 'a\nb'], {
      cwd: temporaryDirectory(),
    });
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/--name .*expected up to 64 visible ASCII characters/s);
  });
});
