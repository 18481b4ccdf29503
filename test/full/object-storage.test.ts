// Data and checkpoints in object storage, in a real store on this machine.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { CheckpointMirror, MirroredRun } from '../../coordinator/object-storage/checkpoint-mirror.ts';
import { CliProcess, runCli, type CliResult } from '../helpers/cli.ts';
import { missingForObjects, ObjectServer } from '../helpers/object-server.ts';
import { expectUndisturbed, RESUMABLE, trainResumable } from '../helpers/resumable-run.ts';
import { readBits, readRecords } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const missing = missingForObjects();
const title = (text: string): string =>
  missing === undefined ? text : `${text} (skipped: needs ${missing})`;

let server: ObjectServer;

beforeAll(async () => {
  if (missing === undefined) server = await ObjectServer.start();
}, 60_000);

afterAll(() => (missing === undefined ? server.close() : undefined));

/** A directory with `table.yaml`, whose table is in the store. */
async function remoteTable(key: string): Promise<string> {
  const cwd = tableRun(RESUMABLE);
  await server.put(key, fs.readFileSync(path.join(cwd, 'table.csv')));
  fs.rmSync(path.join(cwd, 'table.csv'));
  return cwd;
}

const train = (cwd: string, args: readonly string[], env: Record<string, string> = {}): Promise<CliResult> =>
  trainResumable(cwd, args, { ...server.env, ...env });

/** A port before the store, at which `onRequest` may answer in its place, or end the answer early. */
async function proxyOf(
  onRequest: (request: http.IncomingMessage, response: http.ServerResponse) => 'answered' | 'cut' | undefined,
): Promise<string> {
  const proxy = http.createServer((request, response) => {
    const how = onRequest(request, response);
    if (how === 'answered') return void request.resume();
    const { method, headers, url } = request;
    const onward = http.request(`${server.url}${url}`, { method, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers);
      if (how !== 'cut') return void answer.pipe(response);
      answer.once('data', (data: Buffer) => {
        response.write(data.subarray(0, Math.ceil(data.length / 2)), () => response.destroy());
      });
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

const SLOW_DOWN = '<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>';

const DENIED = '<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>';

describe.skipIf(missing !== undefined)(title('data in object storage'), () => {
  it('a table in a bucket gives the bits of the same file, and is copied once', async () => {
    const cwd = await remoteTable('tables/a.csv');
    const url = 's3://bucket/tables/a.csv';
    const first = await train(cwd, ['--set', `data.file=${url}`]);
    expect(first.exitCode, first.stderr).toBe(0);
    expect(first.stderr).toMatch(/s3:\/\/bucket\/tables\/a\.csv: [\d.]+ KiB in [\d.]+ s/);
    await expectUndisturbed(cwd);
    const [started] = readRecords(path.join(cwd, 'run'), 'events.jsonl');
    expect(started).toMatchObject({ objects: [{ url, byteLength: expect.any(Number) as number }] });
    expect(fs.readFileSync(path.join(cwd, 'run/config.yaml'), 'utf8')).toContain(`file: ${url}`);
    const again = await runCli(['evaluate', 'run'], { cwd, env: server.env });
    expect(again.stderr).toMatch(/a\.csv: [\d.]+ KiB, here already/);
    expect((await runCli(['replay', 'run', '--step', '2'], { cwd, env: server.env })).exitCode).toBe(0);
  });

  it('another object of the same name is copied anew', async () => {
    const cwd = await remoteTable('tables/changing.csv');
    const inspect = (): Promise<CliResult> =>
      runCli(['inspect', 's3://bucket/tables/changing.csv'], { cwd, env: server.env });
    expect((await inspect()).stdout).not.toContain('two');
    await server.put('tables/changing.csv', 'one,two\n1,2\n2,3\n');
    expect((await inspect()).stdout).toContain('two');
  });

  it('init, predict and evaluate take addresses, which a drafted config keeps', async () => {
    const cwd = await remoteTable('tables/b.csv');
    const url = 's3://bucket/tables/b.csv';
    const { env } = server;
    const drafted = await runCli(['init', url, '--yes', '--output', 'b.yaml'], { cwd, env });
    expect(drafted.exitCode, drafted.stderr).toBe(0);
    expect(fs.readFileSync(path.join(cwd, 'b.yaml'), 'utf8')).toContain(url);
    expect((await train(cwd, ['--set', `data.file=${url}`])).exitCode).toBe(0);
    const predicted = await runCli(['predict', 'run', url], { cwd, env });
    expect(predicted.stdout.trim().split('\n').length).toBeGreaterThan(100);
    const measured = await runCli(['evaluate', 'run', '--data', url], { cwd, env });
    expect(measured.exitCode, measured.stderr).toBe(0);
  });

  it('errors in an object name its address and line', async () => {
    await server.put('tables/ragged.csv', 'a,b\n1,2\n1,2,3\n');
    const { stderr } = await runCli(['inspect', 's3://bucket/tables/ragged.csv'], {
      cwd: temporaryDirectory(),
      env: server.env,
    });
    expect(stderr).toContain('--> s3://bucket/tables/ragged.csv:3');
  });

  const NO_CREDENTIALS = {
    AWS_ACCESS_KEY_ID: '',
    AWS_SECRET_ACCESS_KEY: '',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_CONFIG_FILE: '/dev/null',
  };
  it.each([
    ['s3://no-such-bucket/a.csv', {}, 3, 'E_S3_NO_BUCKET', 'there is no such bucket'],
    ['s3://bucket/no-such.csv', {}, 3, 'E_S3_NO_OBJECT', 'there is no such object'],
    ['s3://bucket/a.csv', { AWS_SECRET_ACCESS_KEY: 'no' }, 5, 'E_S3_CREDENTIALS', 'does not accept'],
    ['s3://bucket/a.csv', NO_CREDENTIALS, 5, 'E_S3_CREDENTIALS', 'no credentials were found'],
    ['s3://bucket/a.csv', { AWS_REGION: 'eu-west-1' }, 5, 'E_S3_REGION', 'expecting .us-east-1'],
    ['s3://bucket/*.csv', {}, 2, 'E_CONFIG_INVALID', 'patterns and folders are of files'],
    ['s3://bucket', {}, 2, 'E_CONFIG_INVALID', 'expected s3://BUCKET/KEY'],
  ])('%s with %o ends with exit code %i and %s', async (url, env, exitCode, code, words) => {
    const cwd = tableRun(RESUMABLE);
    const result = await train(cwd, ['--set', `data.file=${url}`], env);
    expect(result.exitCode, result.stderr).toBe(exitCode);
    expect(result.stderr).toContain(`error[${code}]: `);
    expect(result.stderr).toMatch(new RegExp(words));
    expect(result.stderr).not.toContain('NodeVersionSupportWarning');
    expect(fs.existsSync(path.join(cwd, 'run'))).toBe(false);
  });

  it('a store that does not answer is asked five times, and then named', async () => {
    const cwd = tableRun(RESUMABLE);
    const env = { AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9' };
    const { exitCode, stderr } = await train(cwd, ['--set', 'data.file=s3://bucket/a.csv'], env);
    expect(exitCode).toBe(5);
    expect(stderr.match(/asking again/g)).toHaveLength(4);
    expect(stderr).toContain('error[E_S3_UNREACHABLE]: s3://bucket/a.csv: the store does not answer');
  });

  it('a download that is cut off goes on where it was', async () => {
    const cwd = await remoteTable('tables/cut.csv');
    const ranges: (string | undefined)[] = [];
    const endpoint = await proxyOf((request) => {
      if (request.method !== 'GET') return undefined;
      ranges.push(request.headers.range);
      return ranges.length === 1 ? 'cut' : undefined;
    });
    const env = { AWS_ENDPOINT_URL_S3: endpoint };
    const result = await train(cwd, ['--set', 'data.file=s3://bucket/tables/cut.csv'], env);
    expect(result.exitCode, result.stderr).toBe(0);
    expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d*-$/);
    await expectUndisturbed(cwd);
  });

  it('a store that is overloaded for a while is asked again', async () => {
    const cwd = await remoteTable('tables/slow.csv');
    let numRefused = 0;
    const endpoint = await proxyOf((_request, response) => {
      if (++numRefused > 8) return undefined;
      response.writeHead(503, { 'content-type': 'application/xml' }).end(SLOW_DOWN);
      return 'answered';
    });
    const env = { AWS_ENDPOINT_URL_S3: endpoint };
    const result = await train(cwd, ['--set', 'data.file=s3://bucket/tables/slow.csv'], env);
    expect(result.exitCode, result.stderr).toBe(0);
    await expectUndisturbed(cwd);
  });

  it('an object with other bytes than its hash says is refused, and not kept', async () => {
    const cwd = temporaryDirectory();
    await server.put('tables/damaged.csv', 'a,b\n1,2\n', { sha256: '0'.repeat(64) });
    const { exitCode, stderr } = await runCli(['inspect', 's3://bucket/tables/damaged.csv'], {
      cwd,
      env: { ...server.env, LOCKSTEP_CACHE_DIR: path.join(cwd, 'cache') },
    });
    expect(exitCode).toBe(3);
    expect(stderr).toContain('error[E_S3_DAMAGED]: s3://bucket/tables/damaged.csv: the object came damaged');
    const kept = fs.readdirSync(path.join(cwd, 'cache'), { recursive: true, withFileTypes: true });
    expect(kept.filter((entry) => entry.isFile())).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)(title('checkpoints in object storage'), () => {
  const mirror = (name: string): string[] => ['--checkpoint-mirror', `s3://bucket/${name}`];
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

  /**
   * Asserts that the store has the files of the run in `cwd`, with their bytes, and no others; of
   * checkpoints, which another session may have left too, the last one and no more than are to be kept.
   */
  async function expectMirrored(cwd: string, prefix: string): Promise<void> {
    const directory = path.join(cwd, 'run');
    const files = fs
      .readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name, parentPath }) => path.relative(directory, path.join(parentPath, name)));
    const there = await server.list(`${prefix}/`);
    const names = files
      .map((name) => `${prefix}/${name}`)
      .filter((name) => !name.includes('/checkpoints/') || there.includes(name));
    expect(names.some((name) => name.includes('/checkpoints/step-000000040'))).toBe(true);
    expect(there).toEqual(expect.arrayContaining(names));
    const older = there.filter((name) => !names.includes(name));
    expect(older.filter((name) => !name.includes('/checkpoints/'))).toEqual([]);
    const { keep } = RESUMABLE.checkpoint;
    expect(there.filter((name) => name.includes('/checkpoints/')).length).toBeLessThanOrEqual(keep + 1);
    for (const name of names.filter((file) => !file.endsWith('/output.log')))
      expect(sha256(await server.get(name)), name).toBe(
        sha256(fs.readFileSync(path.join(directory, name.slice(prefix.length + 1)))),
      );
  }

  /** A run that was killed when the store had a checkpoint of it, and whose directory is lost. */
  async function lostRun(prefix: string): Promise<string> {
    const cwd = tableRun(RESUMABLE);
    const command = CliProcess.start(
      ['train', 'table.yaml', '--run-dir', 'run', '--workers', '0', ...mirror(prefix)],
      { cwd, env: { ...server.env, LOCKSTEP_FAILPOINT: 'coordinator.afterStep:sleep=150' } },
    );
    while ((await server.list(`${prefix}/checkpoints/`)).length < 2) await sleep(50);
    command.signal('SIGKILL');
    await command.finished;
    fs.rmSync(path.join(cwd, 'run'), { recursive: true });
    return cwd;
  }

  it('a run on another machine goes on from the store, to the same bits and records', async () => {
    const cwd = await lostRun('lost');
    const planned = await train(cwd, [...mirror('lost'), '--resume', 'auto', '--dry-run']);
    expect(planned.stdout).toMatch(/resume {3}after step \d+, from .*step-\d+(-best)?\.safetensors/);
    const result = await train(cwd, [...mirror('lost'), '--resume', 'auto']);
    expect(result.exitCode, result.stderr).toBe(0);
    expect(result.stderr).toMatch(
      /resuming after step [1-9]\d*, from run\/checkpoints|resuming after step [1-9]/,
    );
    await expectUndisturbed(cwd);
    await expectMirrored(cwd, 'lost');
    // A run that is finished is not trained again.
    fs.rmSync(path.join(cwd, 'run'), { recursive: true });
    const finished = await train(cwd, [...mirror('lost'), '--resume', 'auto']);
    expect(finished.stderr).toContain('resuming after step 40');
    await expectUndisturbed(cwd);
  });

  it('--resume with an address goes on in a new directory', async () => {
    const cwd = await lostRun('address');
    const [newest = ''] = (await server.list('address/checkpoints/')).reverse();
    const result = await train(cwd, ['--resume', `s3://bucket/${newest}`]);
    expect(result.exitCode, result.stderr).toBe(0);
    await expectUndisturbed(cwd);
    fs.rmSync(path.join(cwd, 'run'), { recursive: true });
    expect((await train(cwd, ['--resume', 's3://bucket/address'])).exitCode).toBe(0);
    await expectUndisturbed(cwd);
    const nothing = await train(cwd, ['--resume', 's3://bucket/nothing', '--set', 'name=other']);
    expect(nothing.stderr).toContain(
      'error[E_NO_CHECKPOINT]: s3://bucket/nothing holds no checkpoint to resume from',
    );
    expect(nothing.exitCode).toBe(4);
  });

  it('a damaged newest checkpoint is refused, or passed over where that is allowed', async () => {
    const cwd = await lostRun('damaged');
    const [newest = ''] = (await server.list('damaged/checkpoints/')).reverse();
    const bytes = await server.get(newest);
    const hash = sha256(bytes);
    bytes[bytes.length - 1] = bytes.at(-1) ^ 1;
    await server.put(newest, bytes, { sha256: hash });
    const refused = await train(cwd, [...mirror('damaged'), '--resume', 'auto']);
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain(`error[E_CHECKPOINT]: s3://bucket/${newest}: the object came damaged`);
    const result = await train(cwd, [...mirror('damaged'), '--resume', 'auto', '--allow-older']);
    expect(result.exitCode, result.stderr).toBe(0);
    await expectUndisturbed(cwd);
    await expectMirrored(cwd, 'damaged');
  });

  it('a run that begins does not replace another', async () => {
    const cwd = tableRun(RESUMABLE);
    expect((await train(cwd, mirror('occupied'))).exitCode).toBe(0);
    const before = await server.list('occupied/');
    const other = await train(tableRun(RESUMABLE), mirror('occupied'));
    expect(other.exitCode).toBe(2);
    expect(other.stderr).toMatch(
      /error\[E_MIRROR_EXISTS\]: s3:\/\/bucket\/occupied holds \d checkpoints of a run/,
    );
    expect(await server.list('occupied/')).toEqual(before);
    const folds = await train(cwd, [...mirror('folds'), '--folds', '3']);
    expect(folds.stderr).toContain('error[E_MIRROR_MANY]');
  });

  it('a store that lets nobody in ends a run before it begins', async () => {
    const cwd = tableRun(RESUMABLE);
    const { exitCode, stderr } = await train(cwd, mirror('closed'), { AWS_SECRET_ACCESS_KEY: 'no' });
    expect(exitCode).toBe(5);
    expect(stderr).toContain('error[E_S3_CREDENTIALS]');
    expect(fs.existsSync(path.join(cwd, 'run'))).toBe(false);
  });

  it('a run that another process has taken over is not copied any more', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 100_000 });
    const args = ['train', 'table.yaml', '--run-dir', 'run', '--workers', '0', ...mirror('taken')];
    const command = CliProcess.start(args, { cwd, env: server.env });
    while ((await server.list('taken/checkpoints/')).length === 0) await sleep(50);
    fs.rmSync(path.join(cwd, 'run/lock'));
    const { exitCode, stderr } = await command.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[E_LEASE_LOST]');
    expect(stderr).not.toContain('waiting until the run is in');
  });

  it('a store that takes nothing stops no step, and the end names what is missing', async () => {
    const cwd = tableRun(RESUMABLE);
    const endpoint = await proxyOf((request, response) => {
      if (request.method !== 'PUT') return undefined;
      response.writeHead(403, { 'content-type': 'application/xml' }).end(DENIED);
      return 'answered';
    });
    const result = await train(cwd, mirror('denied'), { AWS_ENDPOINT_URL_S3: endpoint });
    expect(result.exitCode, result.stderr).toBe(5);
    expect(result.stderr).toMatch(/WARN: s3:\/\/bucket\/denied is not up to date: .*access is denied/);
    expect(result.stderr).toMatch(
      /error\[E_MIRROR\]: the run has ended, but \d+ files did not reach s3:\/\/bucket\/denied \(.*access is denied.*\): .*summary\.json/,
    );
    await expectUndisturbed(cwd);
  });

  it('a store that stays away is waited for until the deadline', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_S3', 'http://127.0.0.1:9');
    for (const [name, value] of Object.entries(server.env))
      if (name !== 'AWS_ENDPOINT_URL_S3') vi.stubEnv(name, value);
    onTestFinished(() => void vi.unstubAllEnvs());
    const directory = temporaryDirectory();
    fs.writeFileSync(path.join(directory, 'summary.json'), '{}');
    const run = await MirroredRun.open('s3://bucket/nowhere');
    const log = { info: () => undefined, warn: () => undefined, debug: () => undefined };
    const copy = new CheckpointMirror({ run, directory, numKept: 3, there: [], log });
    const startMs = performance.now();
    await expect(copy.finish(5000)).rejects.toThrow(
      /^the run has ended, but 1 file did not reach s3:\/\/bucket\/nowhere \(.*does not answer.*\): summary\.json$/,
    );
    expect(performance.now() - startMs).toBeLessThan(15_000);
  });

  it('a store that is away in the middle of an upload stops no step, and gets all when it is back', async () => {
    // Checkpoints of several parts of 8 MiB.
    const dense = (units: number): { kind: 'dense'; units: number } => ({ kind: 'dense', units });
    const config = { ...RESUMABLE, model: { layers: [dense(150_000), dense(1)] } };
    const cwd = tableRun(config);
    const args = ['train', 'table.yaml', '--run-dir', 'run', '--workers', '0', ...mirror('away')];
    let numParts = 0;
    let isAway = false;
    const endpoint = await proxyOf((request, response) => {
      if (request.method === 'PUT' && request.url?.includes('partNumber=')) isAway ||= ++numParts === 2;
      if (!isAway) return undefined;
      response.destroy();
      return 'answered';
    });
    const command = CliProcess.start(args, {
      cwd,
      env: { ...server.env, AWS_ENDPOINT_URL_S3: endpoint },
      deadlineMs: 300_000,
    });
    await command.untilStderr(/WARN: s3:\/\/bucket\/away is not up to date: .*the run goes on/);
    expect(await server.list('away/checkpoints/')).toEqual([]);
    await server.kill();
    await command.untilStderr(/waiting until the run is in s3:\/\/bucket\/away/);
    await server.resume();
    isAway = false;
    const result = await command.finished;
    expect(result.exitCode, result.stderr).toBe(0);
    expect(result.stderr).toContain('s3://bucket/away is up to date again');
    await expectMirrored(cwd, 'away');
    const plain = tableRun(config);
    expect((await trainResumable(plain)).exitCode).toBe(0);
    expect(readBits(path.join(cwd, 'run'))).toEqual(readBits(path.join(plain, 'run')));
  }, 400_000);
});
