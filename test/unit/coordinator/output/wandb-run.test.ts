import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { HttpClient } from '../../../../coordinator/output/http-client.ts';
import type { RemoteLoggerOptions } from '../../../../coordinator/output/remote-logger.ts';
import { wandbIntent, WandbRun, type WandbRunOptions } from '../../../../coordinator/output/wandb-run.ts';
import { configSchema, type ConfigInput } from '../../../../src/config/schema.ts';
import { startFakeWandb, type FakeWandb } from '../../../helpers/fake-wandb.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';
import { recordTo, stepRecord, type RecordedRun } from '../../../helpers/remote-logger.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const CONFIG: ConfigInput = {
  name: 'house',
  data: { file: 'house.csv', target: 'price' },
  model: { layers: [{ kind: 'dense', units: 1 }] },
  loss: 'mse',
};
const KEY = 'k'.repeat(40);
/** A PNG of 3 by 2 pixels, as far as its header goes. */
const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452000000030000000208060000009d74661a', 'hex');

function parseConfig(tracking?: ConfigInput['tracking']) {
  return configSchema.parse({ ...CONFIG, tracking });
}

async function startFake(): Promise<FakeWandb> {
  const fake = await startFakeWandb();
  onTestFinished(() => fake.close());
  return fake;
}

function record(
  fake: Pick<FakeWandb, 'url'>,
  directory = temporaryDirectory(),
  overrides: Partial<WandbRunOptions & RemoteLoggerOptions> = {},
): RecordedRun {
  const names = { project: 'homes', entity: undefined, name: 'first', tags: ['nightly'] };
  const env = { WANDB_BASE_URL: fake.url, WANDB_API_KEY: KEY };
  const run = { ...names, config: { seed: 7 }, directory, env, ...overrides };
  return recordTo(() => new WandbRun(run), directory, overrides);
}

function stepsOf(fake: FakeWandb): unknown[] {
  return fake.history.map(({ _step }) => _step);
}

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 10_000, interval: 10 }).toBe(true);
}

describe('wandbIntent', () => {
  test('recording at W&B is off unless the user asked for it', () => {
    expect(wandbIntent(parseConfig(), {})).toBeUndefined();
    expect(wandbIntent(parseConfig(), { WANDB_API_KEY: 'key' })).toBeUndefined();
  });

  test('the W&B project is taken from the environment', () => {
    const intent = wandbIntent(parseConfig(), { WANDB_PROJECT: 'homes', WANDB_ENTITY: 'us' });
    expect(intent).toEqual({ project: 'homes', entity: 'us', name: 'house', tags: [] });
  });

  test('the config takes precedence over the environment for W&B', () => {
    const config = parseConfig({ wandb: { project: 'ours', tags: ['a'] } });
    const intent = wandbIntent(config, { WANDB_PROJECT: 'homes' });
    expect(intent).toEqual({ project: 'ours', entity: undefined, name: 'house', tags: ['a'] });
  });
});

describe('a run at W&B', () => {
  test('W&B gets config, tags, every metric with its time, the result and the exit code', async () => {
    const fake = await startFake();
    const { logger, log, infos, warnings } = record(fake);
    log(stepRecord(10, { 'train/loss': 0.5 }));
    log(stepRecord(20, { 'val/r2': -Infinity, 'val/rmse': NaN }));
    await logger.finish(HOUSE_SUMMARY);
    expect(warnings).toEqual([]);
    expect(infos).toEqual([
      expect.stringMatching(/^W&B: recording at \S+\/tester\/homes\/runs\/[0-9a-f]{8}$/),
      'W&B: 2 records and 0 files are there',
    ]);
    expect(fake.credentials).toBe(`api:${KEY}`);
    expect(fake.upserts).toMatchObject([
      { project: 'homes', displayName: 'first', config: '{"seed":{"value":7}}', tags: ['nightly'] },
    ]);
    expect([...fake.streams]).toEqual([
      `/files/tester/homes/${String(fake.upserts[0]?.['name'])}/file_stream`,
    ]);
    expect(fake.history.slice(0, 2)).toEqual([
      { _step: 10, _runtime: 2.5, _timestamp: 1002.5, lr: 0.5, 'train/loss': 0.5 },
      { _step: 20, _runtime: 5, _timestamp: 1005, lr: 0.5, 'val/r2': '-Infinity', 'val/rmse': 'NaN' },
    ]);
    // The run took 14 s, 9 of them after its last record.
    expect(fake.history[2]).toMatchObject({ _step: 20, _runtime: 14, _timestamp: 1014, 'best/epoch': 27 });
    expect(fake.history).toHaveLength(3);
    expect(fake.summary).toMatchObject({
      'train/loss': 0.5,
      'test/mae': 19_000,
      'test/transformed/r2': 0.82,
    });
    expect(fake.exitCode).toBe(0);
  });

  test('W&B gets the model and what describes it as files, and the plots as images of the last row', async () => {
    const fake = await startFake();
    const directory = temporaryDirectory();
    for (const folder of ['plots', 'model']) fs.mkdirSync(path.join(directory, folder));
    const weights = Buffer.from([0, 255, 1]);
    fs.writeFileSync(path.join(directory, 'model/model.safetensors'), weights);
    fs.writeFileSync(path.join(directory, 'plots/loss-curves.png'), PNG);
    fs.writeFileSync(path.join(directory, 'plots/loss-curves.svg'), '<svg/>');
    fs.writeFileSync(path.join(directory, 'config.yaml'), 'seed: 7\n');
    const { logger, log, warnings } = record(fake, directory);
    log(stepRecord(1));
    await logger.finish(HOUSE_SUMMARY);
    expect(warnings).toEqual([]);
    expect(Object.fromEntries(fake.files)).toEqual({
      'lockstep/config.yaml': Buffer.from('seed: 7\n'),
      'lockstep/model/model.safetensors': weights,
      'media/images/plots/loss-curves.png': PNG,
    });
    expect(fake.uploaded).toEqual([...fake.files.keys()]);
    expect(fake.history.at(-1)?.['plots/loss-curves']).toEqual({
      _type: 'image-file',
      path: 'media/images/plots/loss-curves.png',
      format: 'png',
      sha256: '994e2e1d84bd2bca4d62a6fad37b123c2c16474c2881355bebf28896b9be2851',
      size: 33,
      width: 3,
      height: 2,
    });
  });

  test('a run of which W&B takes no files has all its metrics there, and its end', async () => {
    const fake = await startFake();
    const { logger, log, warnings } = record(fake);
    fake.trouble = 'noFiles';
    log(stepRecord(1));
    await logger.finish(HOUSE_SUMMARY);
    expect(warnings).toEqual([
      'W&B: the service refuses: Cannot query field; nothing more is sent; to send the rest later: lockstep runs sync RUN',
    ]);
    expect({ steps: stepsOf(fake), exitCode: fake.exitCode }).toEqual({ steps: [1, 1], exitCode: 0 });
  });

  test('a run that resumes is the same run at W&B, and its records have the places that they had', async () => {
    const fake = await startFake();
    const directory = temporaryDirectory();
    const first = record(fake, directory);
    for (const step of [1, 2, 3]) first.log(stepRecord(step));
    await first.logger.finish(undefined);
    expect({ steps: stepsOf(fake), exitCode: fake.exitCode }).toEqual({ steps: [1, 2, 3], exitCode: 1 });
    const resumed = record(fake, directory);
    // Step 3 was in no checkpoint and is taken again.
    resumed.goBackTo(2);
    for (const step of [3, 4]) resumed.log(stepRecord(step));
    await resumed.logger.finish(HOUSE_SUMMARY);
    expect(fake.streams.size).toBe(1);
    expect({ steps: stepsOf(fake), exitCode: fake.exitCode }).toEqual({
      steps: [1, 2, 3, 4, 4],
      exitCode: 0,
    });
  });

  test('the rows of steps that a run takes back make way for those that replace them, in their order', async () => {
    const fake = await startFake();
    const { logger, log, goBackTo } = record(fake);
    for (const step of [1, 2, 3, 4]) log(stepRecord(step, { lr: 9 }));
    await until(() => logger.numSent === 4);
    goBackTo(2);
    for (const step of [3, 4, 5]) log(stepRecord(step));
    await logger.finish(undefined);
    expect(fake.history.map(({ _step, lr }) => [_step, lr])).toEqual([
      [1, 9],
      [2, 9],
      [3, 0.5],
      [4, 0.5],
      [5, 0.5],
    ]);
    expect(fake.offsets).toEqual([0, 2]);
  });

  test('a run that goes back twice, the second time less far, replaces all rows since the first', async () => {
    const fake = await startFake();
    const { logger, log, goBackTo } = record(fake);
    for (const step of [1, 2, 3, 4]) log(stepRecord(step, { lr: 9 }));
    await until(() => logger.numSent === 4);
    goBackTo(1);
    for (const step of [2, 3, 4]) log(stepRecord(step, { lr: 8 }));
    goBackTo(3);
    log(stepRecord(4));
    await logger.finish(undefined);
    expect(fake.history.map(({ lr }) => lr)).toEqual([9, 8, 8, 0.5]);
  });

  test('a run that goes back and then ends early leaves no row of the steps that it took back', async () => {
    const fake = await startFake();
    const { logger, log, goBackTo } = record(fake);
    for (const step of [1, 2, 3, 4]) log(stepRecord(step));
    await until(() => logger.numSent === 4);
    goBackTo(1);
    await logger.finish(HOUSE_SUMMARY);
    expect(stepsOf(fake)).toEqual([1, 1, 1, 1]);
  });

  test('rows that W&B answers with an error are sent again', async () => {
    const fake = await startFake();
    const { logger, log, warnings } = record(fake);
    await until(() => fake.upserts.length === 1);
    fake.trouble = 503;
    log(stepRecord(1));
    await until(() => warnings.length === 1);
    fake.trouble = undefined;
    log(stepRecord(2));
    await logger.finish(HOUSE_SUMMARY);
    expect(warnings).toEqual([
      'W&B: HTTP 503 {"error":"refused"}; it is asked again, and metrics are in the run directory',
    ]);
    expect({ steps: stepsOf(fake), exitCode: fake.exitCode }).toEqual({ steps: [1, 2, 2], exitCode: 0 });
  });

  test('a wrong key is one warning, the key is not in it, and nothing more is asked', async () => {
    const fake = await startFake();
    fake.trouble = 401;
    const { logger, log, warnings } = record(fake);
    log(stepRecord(10));
    await logger.finish(HOUSE_SUMMARY);
    log(stepRecord(20));
    await logger.finish(HOUSE_SUMMARY);
    expect(warnings).toEqual([
      'W&B: HTTP 401 {"error":"refused"}; nothing more is sent; to send the rest later: lockstep runs sync RUN',
    ]);
    expect(fake.numRequests).toBe(1);
  });

  test('W&B that never answers delays the end by no more than the deadline', async () => {
    const fake = await startFake();
    fake.trouble = 'hang';
    const http = new HttpClient({ deadlineMs: 300 });
    const { logger, log, warnings } = record(fake, temporaryDirectory(), { http, endDeadlineMs: 1000 });
    const startedMs = performance.now();
    log(stepRecord(10));
    await logger.finish(HOUSE_SUMMARY);
    expect(performance.now() - startedMs).toBeLessThan(3000);
    expect(warnings).toEqual([
      expect.stringMatching(/^W&B: no answer from 127\.0\.0\.1:\d+ within 0\.3 s; it is asked again/),
      expect.stringMatching(/^W&B: .* within .* s; nothing more is sent/),
    ]);
  });

  test('the key of W&B is the one that wandb login left, where the environment has none', async () => {
    const fake = await startFake();
    const home = temporaryDirectory();
    const machines = 'machine other password no\nmachine 127.0.0.1\n  login user\n  password yes\n';
    fs.writeFileSync(path.join(home, '.netrc'), machines);
    const { logger } = record(fake, home, { env: { WANDB_BASE_URL: fake.url, HOME: home } });
    await logger.finish(undefined);
    expect(fake.credentials).toBe('api:yes');
  });

  test('a run without a key for W&B is refused before anything is sent', async () => {
    const fake = await startFake();
    const home = temporaryDirectory();
    fs.writeFileSync(path.join(home, '.netrc'), 'machine 127.0.0.1 login user\nmachine other password no\n');
    expect(() => record(fake, home, { env: { WANDB_BASE_URL: fake.url, HOME: home } })).toThrow(
      'there is no key: set WANDB_API_KEY',
    );
    expect(fake.numRequests).toBe(0);
  });
});
