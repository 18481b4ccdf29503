import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeAll, afterAll, describe, expect, test } from 'vitest';
import { configSchema, type ConfigInput } from '../../../../src/config/schema.ts';
import {
  wandbIntent,
  WandbLogger,
  type WandbLoggerOptions,
} from '../../../../coordinator/output/wandb-logger.ts';
import type { Summary } from '../../../../coordinator/output/summary.ts';
import { compileFiles, type Compiled } from '../../../helpers/compiled.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';
import { startFakeWandb, type FakeWandb, type FakeBehaviour } from '../../../helpers/fake-wandb.ts';

const CONFIG: ConfigInput = {
  name: 'house',
  data: { file: 'house.csv', target: 'price' },
  model: { layers: [{ kind: 'dense', units: 1 }] },
  loss: 'mse',
};

const SUMMARY: Summary = {
  name: 'house',
  seed: 7,
  numerics: 'strict',
  kernelWidth: 128,
  wire: { gradients: 'f32' },
  shards: 8,
  weightsSha256: 'ab'.repeat(32),
  epochs: 2,
  steps: 20,
  samplesSeen: 5120,
  workers: 2,
  wallSeconds: 3,
  trainSeconds: 2,
  samplesPerSecond: 2560,
  train: { loss: 0.2 },
  test: { loss: 0.3, rmse: 25_000, mae: 18_000, r2: 0.81, transformed: { rmse: 0.4, mae: 0.3, r2: 0.83 } },
  best: { epoch: 2 },
};

function parseConfig(tracking?: ConfigInput['tracking']) {
  return configSchema.parse({ ...CONFIG, tracking });
}

describe('wandbIntent', () => {
  test('logging to W&B is off unless the user asked for it', () => {
    expect(wandbIntent(parseConfig(), 'run', {})).toEqual({ kind: 'off' });
    expect(wandbIntent(parseConfig(), 'run', { WANDB_API_KEY: 'key' })).toEqual({ kind: 'off' });
  });

  test('the W&B project is taken from the environment', () => {
    const intent = wandbIntent(parseConfig(), 'run', { WANDB_PROJECT: 'homes', WANDB_ENTITY: 'us' });
    expect(intent).toMatchObject({
      kind: 'on',
      run: { project: 'homes', entity: 'us', name: 'run', tags: [] },
    });
  });

  test('the config takes precedence over the environment for W&B', () => {
    const config = parseConfig({ wandb: { project: 'ours', tags: ['a'] } });
    const intent = wandbIntent(config, 'run', { WANDB_PROJECT: 'homes' });
    expect(intent).toMatchObject({ kind: 'on', run: { project: 'ours', entity: undefined, tags: ['a'] } });
  });

  test.each(['offline', 'disabled'])('WANDB_MODE=%s sends nothing, and the log says so', (mode) => {
    expect(wandbIntent(parseConfig({ wandb: { project: 'ours' } }), 'run', { WANDB_MODE: mode })).toEqual({
      kind: 'disabled',
      reason: `WANDB_MODE=${mode}: nothing is sent, metrics are in the run directory`,
    });
  });
});

describe('WandbLogger', () => {
  const closers: (() => Promise<void> | void)[] = [];
  let compiled: Compiled;

  beforeAll(() => {
    compiled = compileFiles(['coordinator/output/wandb-thread.ts'], { withPackages: true });
  });
  afterAll(() => compiled.remove());
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  async function startLogger(
    behaviour: FakeBehaviour,
    overrides: Partial<WandbLoggerOptions> = {},
    idFile?: string,
  ): Promise<{ fake: FakeWandb; logger: WandbLogger; infos: string[]; warnings: string[] }> {
    const fake = await startFakeWandb(behaviour);
    closers.push(() => fake.close());
    const infos: string[] = [];
    const warnings: string[] = [];
    const logger = new WandbLogger(
      { project: 'homes', name: 'first', idFile, config: { seed: 7 }, tags: ['nightly'] },
      {
        info: (message) => infos.push(message),
        warn: (message) => warnings.push(message),
        env: { WANDB_BASE_URL: fake.url, WANDB_API_KEY: 'k'.repeat(40) },
        program: threadProgram(compiled),
        ...overrides,
      },
    );
    return { fake, logger, infos, warnings };
  }

  function threadProgram({ directory }: Compiled): URL {
    return pathToFileURL(path.join(directory, 'wandb-thread.js'));
  }

  test('WandbLogger records config, tags, every metric, the result and the exit code', async () => {
    const { fake, logger, infos, warnings } = await startLogger('answer');
    logger.log({ _step: 10, _runtime: 1, _timestamp: 1, 'train/loss': 0.5, 'val/loss': 0.6 });
    logger.log({ _step: 20, _runtime: 2, _timestamp: 2, 'train/loss': 0.2, 'val/loss': 0.3 });
    await logger.finish(SUMMARY);

    expect(warnings).toEqual([]);
    expect(infos).toEqual([
      expect.stringMatching(/^W&B: recording at http:\/\/127\.0\.0\.1:\d+\/tester\/homes\/runs\/\w{8}$/),
    ]);
    expect(fake.credentials).toBe(`api:${'k'.repeat(40)}`);
    expect(fake.upserts).toMatchObject([
      { project: 'homes', entity: 'tester', displayName: 'first', config: '{"seed":7}' },
      { project: 'homes', entity: 'tester', tags: ['nightly'] },
    ]);
    expect(fake.history).toMatchObject([
      { _step: 10, _runtime: 1, _timestamp: 1, 'train/loss': 0.5, 'val/loss': 0.6 },
      { _step: 20, _runtime: 2, _timestamp: 2, 'train/loss': 0.2, 'val/loss': 0.3 },
      { _step: 20, 'test/rmse': 25_000, 'test/r2': 0.81, 'test/transformed/r2': 0.83, 'best/epoch': 2 },
    ]);
    expect(fake.summary).toMatchObject({ 'train/loss': 0.2, 'test/mae': 18_000 });
    expect(fake.exitCode).toBe(0);
  });

  test('a run that resumes has the id that it had, and sends its records from the first place on', async () => {
    const idFile = path.join(temporaryDirectory(), 'wandb.json');
    const first = await startLogger('answer', {}, idFile);
    const second = (step: number) => ({ _step: step, _runtime: step, _timestamp: step, lr: step });
    first.logger.log(second(1));
    await first.logger.finish(undefined);
    const resumed = await startLogger('answer', {}, idFile);
    resumed.logger.restart([second(1), second(2)]);
    resumed.logger.log(second(2));
    resumed.logger.log({ ...second(2), 'val/loss': 0.5 });
    await resumed.logger.finish(undefined);
    const [{ fake: before }, { fake: after }] = [first, resumed];
    expect(after.upserts[0]?.['name']).toMatch(/^[0-9a-f]{8}$/);
    expect(after.upserts[0]?.['name']).toBe(before.upserts[0]?.['name']);
    expect(after.offsets).toEqual([0]);
    expect(after.history.map(({ _step, lr }) => [_step, lr])).toEqual([
      [1, 1],
      [2, 2],
      [2, 2],
      [2, 2],
    ]);
  });

  test('WandbLogger sends numbers that are not finite as the words that the service has for them', async () => {
    const { fake, logger } = await startLogger('answer');
    logger.log({ _step: 10, _runtime: 1, _timestamp: 1, 'val/r2': -Infinity, 'val/rmse': NaN });
    await logger.finish({ ...SUMMARY, test: { loss: 1, rmse: Infinity, mae: 1, r2: 0 } });
    expect(fake.history).toMatchObject([
      { _step: 10, 'val/r2': '-Infinity', 'val/rmse': 'NaN' },
      { 'test/rmse': 'Infinity' },
    ]);
  });

  test('WandbLogger tells the service that a run without a summary failed', async () => {
    const { fake, logger, warnings } = await startLogger('answer');
    logger.log({ _step: 10, _runtime: 1, _timestamp: 1, 'train/loss': 0.5 });
    await logger.finish(undefined);
    expect(warnings).toEqual([]);
    expect(fake.exitCode).toBe(1);
  });

  test('WandbLogger warns once when the service refuses, and drops further metrics silently', async () => {
    const { logger, warnings } = await startLogger('refuse');
    logger.log({ _step: 10, _runtime: 1, _timestamp: 1, 'train/loss': 0.5 });
    await logger.finish(SUMMARY);
    logger.log({ _step: 20, _runtime: 1, _timestamp: 1, 'train/loss': 0.5 });
    await logger.finish(SUMMARY);
    expect(warnings).toEqual([
      expect.stringMatching(/^W&B: .+ \(.*401.*\); metrics are in the run directory only$/),
    ]);
  });

  test('WandbLogger gives up at the deadline when the service never answers', async () => {
    const { logger, warnings } = await startLogger('hang', { deadlineMs: 1000 });
    const started = performance.now();
    logger.log({ _step: 10, _runtime: 1, _timestamp: 1, 'train/loss': 0.5 });
    await logger.finish(SUMMARY);
    expect(performance.now() - started).toBeLessThan(3000);
    expect(warnings).toEqual(['W&B: no answer within 1 s; metrics are in the run directory only']);
  });

  test('WandbLogger warns once when the optional package is missing', async () => {
    const alone = compileFiles(['coordinator/output/wandb-thread.ts'], { withPackages: false });
    closers.push(() => alone.remove());
    const { fake, logger, warnings } = await startLogger('answer', { program: threadProgram(alone) });
    await logger.finish(SUMMARY);
    expect(warnings).toEqual([
      'W&B: the optional package @wandb/sdk is not installed; metrics are in the run directory only',
    ]);
    expect(fake.numRequests).toBe(0);
  });

  test('WandbLogger asks for a key in its message, and never prompts, when there is none', async () => {
    const { fake, logger, warnings } = await startLogger('answer', {
      env: { WANDB_BASE_URL: 'http://127.0.0.1:9', HOME: '/nonexistent' },
    });
    await logger.finish(SUMMARY);
    expect(warnings).toEqual([
      'W&B: Cannot prompt for API key, set the WANDB_API_KEY environment variable; metrics are in the run directory only',
    ]);
    expect(fake.numRequests).toBe(0);
  });
});
