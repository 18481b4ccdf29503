// A directory in which workers and the coordinator keep packed datasets.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { hashDataset } from '../../src/data/dataset/hash-dataset.ts';
import type { RowLayout } from '../../src/data/dataset/packed-dataset.ts';
import type { WelcomeMessage } from '../../src/protocol/message-types.ts';
import { CliProcess } from '../helpers/cli.ts';
import { FakeCoordinator, type FakeSession } from '../helpers/fake-coordinator.ts';
import { startCoordinator, startWorker, type NetworkRun } from '../helpers/network-run.ts';
import { missingForDisks, SmallDisk } from '../helpers/small-disk.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const missing = missingForDisks();

/** A dataset of one chunk: 4 MiB are the most. */
const LAYOUT: RowLayout = {
  numRows: 4096,
  featureShape: [200],
  featureType: 'f32',
  featureScale: 1,
  targetKind: 'values',
  targetWidth: 1,
  numClasses: 0,
  hasSampleWeights: false,
};
const DATASET = new Uint8Array(
  Float32Array.from({ length: 4096 * 201 }, (_, index) => (index % 17) / 17).buffer,
);
const SHA256 = hashDataset({ layout: LAYOUT, blob: DATASET });
const WELCOME: WelcomeMessage = {
  type: 'welcome',
  run: 'a run of this test',
  worker: 1,
  layers: [{ kind: 'dense', units: 1, activation: 'linear', bias: true }],
  seed: 7,
  loss: { kind: 'mse' },
  batchSize: 64,
  shards: 2,
  numerics: 'strict',
  layout: LAYOUT,
  datasetSha256: SHA256,
  nonce: 'c'.repeat(16),
};

/** A worker with that cache, told of the dataset. */
async function welcomed(cache: string): Promise<{ worker: CliProcess; session: FakeSession }> {
  const coordinator = await FakeCoordinator.open();
  const args = ['worker', coordinator.url, '--dataset-cache', cache];
  const worker = CliProcess.start(args, { cwd: temporaryDirectory() });
  const session = await coordinator.session(1);
  await session.next('hello');
  session.send(WELCOME);
  return { worker, session };
}

/** Sends the dataset that the worker asks for, and then tells it that the run is over. */
async function serve(welcome: Awaited<ReturnType<typeof welcomed>>): Promise<string> {
  await welcome.session.next('fetch');
  return sendDataset(welcome);
}

function sendDataset(welcome: Awaited<ReturnType<typeof welcomed>>): Promise<string> {
  welcome.session.send({ type: 'chunk', sha256: SHA256, offset: 0 }, DATASET);
  return finish(welcome);
}

/** Resolves to what the worker has logged; it must have all it needs. */
async function finish({ worker, session }: Awaited<ReturnType<typeof welcomed>>): Promise<string> {
  await session.next('ready');
  session.send({ type: 'stop', reason: 'the test is over' });
  const { exitCode, stderr } = await worker.finished;
  expect(exitCode, stderr).toBe(0);
  return stderr;
}

const sha256Of = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex');
const BYTES = createHash('sha256').update(DATASET).digest('hex');

describe('the dataset cache of a worker', () => {
  it('a worker keeps the dataset that it fetched, and the next one fetches nothing', async () => {
    const cache = path.join(temporaryDirectory(), 'not', 'there yet');
    expect(await serve(await welcomed(cache))).toContain(`dataset of 3.1 MiB kept as ${cache}/${SHA256}`);
    expect(fs.readdirSync(cache)).toEqual([SHA256]);
    expect(sha256Of(path.join(cache, SHA256))).toBe(BYTES);
    // `ready` follows `welcome`: any `fetch` would fail the test.
    expect(await finish(await welcomed(cache))).toContain(`dataset of 3.1 MiB read from ${cache}/${SHA256}`);
  });

  const changed = Buffer.from(DATASET);
  changed[1_000_000] = (changed[1_000_000] as number) ^ 1;
  it.each([
    ['another bit', changed, 'its bytes are not those of its name'],
    ['an end too early', DATASET.subarray(0, 1000), `it has 1000 bytes, not ${DATASET.length}`],
    ['nothing in it', new Uint8Array(0), `it has 0 bytes, not ${DATASET.length}`],
  ])('a file with %s is fetched and written again', async (_what, bytes, reason) => {
    const cache = temporaryDirectory();
    const file = path.join(cache, SHA256);
    fs.writeFileSync(file, bytes);
    expect(await serve(await welcomed(cache))).toContain(
      `WARN: dataset cache: ${file}: ${reason}; the dataset is fetched instead`,
    );
    expect(sha256Of(file)).toBe(BYTES);
    await finish(await welcomed(cache));
  });

  it('a pipe with the name of a dataset is not waited for, and a file takes its place', async () => {
    const cache = temporaryDirectory();
    const file = path.join(cache, SHA256);
    expect(spawnSync('mkfifo', [file]).status).toBe(0);
    const log = await serve(await welcomed(cache));
    expect(log).toContain(`${file}: it is a pipe, not a regular file; the dataset is fetched instead`);
    expect(sha256Of(file)).toBe(BYTES);
  });

  it('a directory with the name of a dataset stays, and the run goes on without the cache', async () => {
    const cache = temporaryDirectory();
    const file = path.join(cache, SHA256);
    fs.mkdirSync(file);
    const log = await serve(await welcomed(cache));
    expect(log).toContain(`${file}: it is a directory; the dataset is fetched instead`);
    expect(log).toMatch(/WARN: dataset cache: .* is not written: EISDIR/);
    expect(fs.readdirSync(cache)).toEqual([SHA256]);
  });

  it.skipIf(missing !== undefined)(
    `a full disk is a warning, and leaves nothing behind${missing === undefined ? '' : ` (skipped: needs ${missing})`}`,
    async () => {
      const { path: cache } = new SmallDisk(2 ** 20);
      const log = await serve(await welcomed(cache));
      expect(log).toMatch(/WARN: dataset cache: .* is not written: ENOSPC/);
      expect(fs.readdirSync(cache)).toEqual([]);
    },
  );

  it('workers that fetch at the same time leave one file', async () => {
    const cache = temporaryDirectory();
    const workers = await Promise.all([welcomed(cache), welcomed(cache), welcomed(cache)]);
    await Promise.all(workers.map(({ session }) => session.next('fetch')));
    await Promise.all(workers.map(sendDataset));
    expect(fs.readdirSync(cache)).toEqual([SHA256]);
    expect(sha256Of(path.join(cache, SHA256))).toBe(BYTES);
  });
});

describe('the dataset cache of a coordinator', () => {
  /** Starts two workers, by the variable and by the flag, and resolves to their logs once the run is right. */
  async function logsOf(run: NetworkRun, cache: string): Promise<readonly string[]> {
    const workers = [
      startWorker(run, run.url, { env: { LOCKSTEP_DATASET_CACHE: cache } }),
      startWorker(run, run.url, { flags: ['--dataset-cache', cache] }),
    ];
    await expectUndisturbedEnd(run);
    return Promise.all(workers.map(async ({ finished }) => (await finished).stderr));
  }

  it('workers read what the coordinator has written, and the weights are the same bits', async () => {
    const cache = temporaryDirectory();
    const flags = ['--min-workers', '2', '--dataset-cache', cache];
    const first = await startCoordinator({ flags });
    const [name] = fs.readdirSync(cache);
    for (const log of await logsOf(first, cache)) expect(log).toContain(`read from ${cache}/${name}`);
    const { mtimeMs } = fs.statSync(path.join(cache, name as string));
    const second = await startCoordinator({ flags });
    expect(fs.readdirSync(cache)).toEqual([name]);
    await logsOf(second, cache);
    // The time of the last use, by which old files are found.
    expect(fs.statSync(path.join(cache, name as string)).mtimeMs).toBeGreaterThan(mtimeMs);
  });

  it('a streamed dataset is not kept, which the log says', async () => {
    const cache = temporaryDirectory();
    const flags = ['--dataset-cache', cache, '--set', 'data.stream=true'];
    const run = await startCoordinator({ flags });
    expect(fs.readdirSync(cache)).toEqual([]);
    run.command.signal('SIGTERM');
    const { stderr } = await run.command.finished;
    expect(stderr).toContain('the dataset is streamed, so --dataset-cache does not take it');
  });
});
