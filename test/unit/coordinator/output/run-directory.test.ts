import fs from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { LockstepError } from '../../../../src/errors.ts';
import { JsonlFile, readRecords } from '../../../../src/line-file.ts';
import {
  JsonlMetricLogger,
  MultiLogger,
  type MetricLogger,
} from '../../../../coordinator/output/metric-logger.ts';
import { openRunDirectory } from '../../../../coordinator/output/run-directory.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const STARTED_AT = new Date(2026, 10, 2, 9, 5, 7);

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

async function refusal(attempt: Promise<unknown>): Promise<Pick<LockstepError, 'code' | 'message' | 'help'>> {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  if (!(error instanceof LockstepError)) throw new Error(`no refusal but ${String(error)}`);
  return { code: error.code, message: error.message, help: error.help };
}

/** The code of the refusal, or "none". */
function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'none',
    (error: unknown) => (error as LockstepError).code,
  );
}

describe('openRunDirectory', () => {
  test.each(['output.log', 'metrics.jsonl', 'events.jsonl'])(
    'a directory in the place of %s is refused by name',
    async (name) => {
      const run = await openRunDirectory({ name: 'house', directory: path.join(root, 'a') });
      const file = path.join(run.path, name);
      fs.mkdirSync(file);
      const open = async (): Promise<unknown> => run.openRecords(() => new JsonlFile(file));
      expect(await refusal(open())).toEqual({
        code: 'E_RUN_DIR',
        message: `cannot write ${file}: it is a directory`,
        help: 'choose another directory with --run-dir',
      });
    },
  );

  test('a run directory is named by time and run, and has its subdirectories', async () => {
    const run = await openRunDirectory({ name: 'house', parent: root, startedAt: STARTED_AT });
    expect(run.path).toBe(path.join(root, '20261102-090507-house'));
    expect(fs.readdirSync(run.path).sort()).toEqual(['checkpoints', 'lock', 'model', 'plots']);
  });

  test('the link "latest" points to the latest run that has produced something useful', async () => {
    const open = (second: number) =>
      openRunDirectory({ name: 'house', parent: root, startedAt: new Date(2026, 10, 2, 9, 5, second) });
    const latest = (): string => fs.readlinkSync(path.join(root, 'latest'));
    const [first, second, third] = [await open(1), await open(2), await open(3)];
    expect(fs.existsSync(path.join(root, 'latest'))).toBe(false);
    second.becomeLatest(expect.fail);
    expect(latest()).toBe('20261102-090502-house');
    first.becomeLatest(expect.fail);
    expect(latest()).toBe('20261102-090502-house');
    third.becomeLatest(expect.fail);
    expect(latest()).toBe('20261102-090503-house');
    // A deleted run blocks no later link.
    fs.rmSync(third.path, { recursive: true });
    (await open(2)).becomeLatest(expect.fail);
    expect(latest()).toBe('20261102-090502-house-2');
  });

  test('a closed run directory leaves no trace, unless the run has begun or the user has put something there', async () => {
    const directory = path.join(root, 'deep', 'mine');
    await (await openRunDirectory({ name: 'house', directory })).close();
    expect(fs.readdirSync(root)).toEqual([]);
    const begun = await openRunDirectory({ name: 'house', directory });
    fs.writeFileSync(begun.logPath, '');
    await begun.close();
    expect(fs.readdirSync(directory).sort()).toEqual(['checkpoints', 'model', 'output.log', 'plots']);
    fs.rmSync(begun.logPath);
    fs.writeFileSync(path.join(directory, 'plots', 'mine'), '');
    await begun.close();
    expect(fs.readdirSync(directory)).toEqual(['plots']);
  });

  test('a directory that several runs open at once goes to one of them, and the others are refused', async () => {
    for (let round = 0; round < 30; round++) {
      const directory = path.join(root, `deep-${round}`, 'mine');
      const attempts = Array.from({ length: 4 }, () => openRunDirectory({ name: 'house', directory }));
      const codes = await Promise.all(attempts.map(codeOf));
      expect(codes.sort()).toEqual([...Array<string>(3).fill('E_RUN_IN_USE'), 'none']);
      expect(fs.readdirSync(directory).sort()).toEqual(['checkpoints', 'lock', 'model', 'plots']);
    }
  });

  test('a directory can be opened while another run fails and removes it', async () => {
    for (let round = 0; round < 30; round++) {
      const directory = path.join(root, `deep-${round}`, 'mine');
      const failing = openRunDirectory({ name: 'house', directory, bytesNeeded: 1e18 });
      const codes = await Promise.all([failing, openRunDirectory({ name: 'house', directory })].map(codeOf));
      expect([
        ['E_RUN_DIR', 'none'],
        ['E_RUN_DIR', 'E_RUN_IN_USE'],
        ['E_RUN_IN_USE', 'none'],
      ]).toContainEqual(codes);
    }
  });

  test('runs that start in the same second get different directories', async () => {
    const options = { name: 'house', parent: root, startedAt: STARTED_AT };
    await openRunDirectory(options);
    const second = await openRunDirectory(options);
    expect(path.basename(second.path)).toBe('20261102-090507-house-2');
  });

  test('a run omits the link "latest" if something else has its name, and warns once', async () => {
    fs.mkdirSync(path.join(root, 'latest', 'mine'), { recursive: true });
    const run = await openRunDirectory({ name: 'house', parent: root, startedAt: STARTED_AT });
    const warnings: string[] = [];
    run.becomeLatest((message) => warnings.push(message));
    run.becomeLatest((message) => warnings.push(message));
    expect(warnings).toEqual([`${path.join(root, 'latest')} is not a link, so it does not lead to this run`]);
    expect(fs.readdirSync(root).sort()).toEqual(['20261102-090507-house', 'latest']);
    expect(fs.readdirSync(path.join(root, 'latest'))).toEqual(['mine']);
  });

  test('a directory chosen by the user is used, and made if it is missing', async () => {
    const directory = path.join(root, 'deep', 'mine');
    const run = await openRunDirectory({ name: 'house', directory });
    expect(run.path).toBe(directory);
    run.becomeLatest(expect.fail);
    expect(fs.existsSync(path.join(root, 'deep', 'latest'))).toBe(false);
  });

  test('a directory that holds a finished run is refused, unless that run is resumed', async () => {
    const run = await openRunDirectory({ name: 'house', directory: path.join(root, 'a') });
    await run.writeSummary(HOUSE_SUMMARY);
    await run.close();
    expect(await refusal(openRunDirectory({ name: 'house', directory: run.path }))).toEqual({
      code: 'E_RUN_EXISTS',
      message: `${run.path} holds a finished run`,
      help: 'choose another --run-dir',
    });
    const resumed = await openRunDirectory({ name: 'house', directory: run.path, isResuming: true });
    expect(resumed.path).toBe(run.path);
  });

  test('a directory that holds an unfinished run is refused', async () => {
    const directory = path.join(root, 'a');
    const run = await openRunDirectory({ name: 'house', directory });
    fs.writeFileSync(run.metricsPath, '{"_step":1}\n');
    expect((await refusal(openRunDirectory({ name: 'house', directory }))).message).toBe(
      `${directory} holds an unfinished run`,
    );
  });

  test('a directory whose run ended before its first step is reused', async () => {
    const directory = path.join(root, 'b');
    const first = await openRunDirectory({ name: 'house', directory });
    fs.writeFileSync(first.metricsPath, '');
    await first.close();
    expect((await openRunDirectory({ name: 'house', directory })).path).toBe(directory);
  });

  test.each(['config.yaml', 'events.jsonl', 'model'])(
    'a %s that no run wrote is left alone, and its directory is refused',
    async (name) => {
      const directory = path.join(root, 'mine');
      fs.mkdirSync(directory);
      fs.writeFileSync(path.join(directory, 'table.csv'), '');
      const run = await openRunDirectory({ name: 'house', directory });
      expect(run.path).toBe(directory);
      await run.close();
      fs.writeFileSync(path.join(directory, name), 'mine');
      expect(await refusal(openRunDirectory({ name: 'house', directory }))).toEqual({
        code: 'E_RUN_EXISTS',
        message: `${directory} holds a ${name} that no run wrote`,
        help: 'choose another --run-dir',
      });
      expect(fs.readFileSync(path.join(directory, name), 'utf8')).toBe('mine');
    },
  );

  test('the refusal of a directory that cannot be written says why', async () => {
    const file = path.join(root, 'file');
    fs.writeFileSync(file, '');
    expect(await refusal(openRunDirectory({ name: 'house', directory: file }))).toEqual({
      code: 'E_RUN_DIR',
      message: `cannot write ${file}: the path exists and is not a directory`,
      help: 'choose another directory with --run-dir',
    });
    const below = path.join(file, 'run');
    expect((await refusal(openRunDirectory({ name: 'house', directory: below }))).message).toBe(
      `cannot write ${below}: a part of the path is a file`,
    );
    const taken = path.join(root, 'run');
    fs.mkdirSync(taken);
    fs.writeFileSync(path.join(taken, 'checkpoints'), '');
    expect((await refusal(openRunDirectory({ name: 'house', directory: taken }))).message).toBe(
      `cannot write ${path.join(taken, 'checkpoints')}: the path exists and is not a directory`,
    );
    // Directories made before the refusal are gone.
    expect(fs.readdirSync(taken)).toEqual(['checkpoints']);
  });

  test('a lack of disk space is refused with the amount that is missing', async () => {
    const directory = path.join(root, 'a');
    const { message } = await refusal(openRunDirectory({ name: 'house', directory, bytesNeeded: 1e18 }));
    expect(message).toMatch(/: no space left \(need 909494.7 TiB, free \d+(\.\d)? ([KMGT]i)?B\)$/);
  });

  test('resuming removes what a killed process left half-written', async () => {
    const directory = path.join(root, 'a');
    await (await openRunDirectory({ name: 'house', directory })).close();
    fs.mkdirSync(directory);
    const leftover = path.join(directory, '.summary.json.0123456789ab.tmp');
    fs.writeFileSync(leftover, '{');
    const resumed = await openRunDirectory({ name: 'house', directory, isResuming: true });
    await resumed.removeLeftovers();
    expect(fs.existsSync(leftover)).toBe(false);
  });

  test('the config and the summary are written in formats that other programs read', async () => {
    const run = await openRunDirectory({ name: 'house', parent: root });
    await run.writeConfig('name: house\n');
    await run.writeSummary(HOUSE_SUMMARY);
    expect(fs.readFileSync(run.configPath, 'utf8')).toBe('name: house\n');
    expect(JSON.parse(fs.readFileSync(run.summaryPath, 'utf8'))).toEqual(HOUSE_SUMMARY);
  });

  test('a result that cannot be written is named in the error', async () => {
    const run = await openRunDirectory({ name: 'house', parent: root });
    fs.mkdirSync(run.summaryPath);
    const error: unknown = await run.writeSummary(HOUSE_SUMMARY).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'E_RESULT_SAVE', exitCode: 4 });
    expect((error as Error).message).toMatch(/summary\.json: not written \(it is a directory\)$/);
  });
});

describe('metric loggers', () => {
  const record = (step: number) => ({
    _step: step,
    _runtime: step / 10,
    _timestamp: 1.7e9,
    'train/loss': 1 / step,
  });
  const read = (file: string): number[] =>
    fs
      .readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { _step: number })._step);

  test('a record is on disk, in one line, as soon as it is logged', async () => {
    const file = path.join(root, 'metrics.jsonl');
    const logger = new JsonlMetricLogger(file);
    logger.log({ ...record(2), 'val/r2': Number.NaN, 'val/rmse': Infinity });
    expect(fs.readFileSync(file, 'utf8')).toBe(
      '{"_step":2,"_runtime":0.2,"_timestamp":1700000000,"train/loss":0.5,"val/r2":"NaN","val/rmse":"Infinity"}\n',
    );
    await logger.finish();
    expect(() => logger.log(record(3))).toThrow(new Error('the file is closed'));
  });

  test('resuming drops the steps that will be taken again, and a torn last line', async () => {
    const file = path.join(root, 'metrics.jsonl');
    const first = new JsonlMetricLogger(file);
    for (const step of [1, 2, 3]) first.log(record(step));
    await first.finish();
    fs.appendFileSync(file, '{"_step":4,"_run');
    const second = new JsonlMetricLogger(file);
    second.keepLeading(({ _step }) => Number(_step) <= 3);
    second.log(record(4));
    await second.finish();
    expect(read(file)).toEqual([1, 2, 3, 4]);
    const third = new JsonlMetricLogger(file);
    third.keepLeading(({ _step }) => Number(_step) <= 2);
    third.log(record(3));
    await third.finish();
    expect(read(file)).toEqual([1, 2, 3]);
  });

  test('records are read whole even if they are long or cross the slices that a file is read in', () => {
    const file = path.join(root, 'metrics.jsonl');
    const jsonl = new JsonlFile(file);
    const lengths = [10, 2 ** 20 - 40, 60, 3 * 2 ** 20, 5, 2 ** 20 - 12];
    const records = lengths.map((length, step) => ({ step, text: 'é'.repeat(length) }));
    for (const one of records) jsonl.append(one);
    expect([...readRecords(file)]).toEqual(records);
    jsonl.keepLeading(({ step }) => Number(step) < 4);
    jsonl.append({ step: 9 });
    jsonl.close();
    expect([...readRecords(file)].map(({ step }) => step)).toEqual([0, 1, 2, 3, 9]);
  });

  test('a logger that fails causes one warning and stops neither the others nor the run', async () => {
    const steps: number[] = [];
    const good: MetricLogger = {
      log: ({ _step }) => void steps.push(_step),
      finish: () => Promise.resolve(),
    };
    const bad: MetricLogger = {
      log: () => {
        throw new Error('disk on fire');
      },
      finish: () => Promise.reject(new Error('still on fire')),
    };
    const warnings: string[] = [];
    const logger = new MultiLogger(
      new Map([
        ['metrics.jsonl', bad],
        ['other', good],
      ]),
      (message) => warnings.push(message),
    );
    logger.log(record(1));
    logger.log(record(2));
    await logger.finish(HOUSE_SUMMARY);
    expect(steps).toEqual([1, 2]);
    expect(warnings).toEqual(['metrics.jsonl: records are lost there: disk on fire']);
  });

  test.skipIf(!fs.existsSync('/dev/full'))('a full disk is an error of the append', () => {
    const file = new JsonlFile('/dev/full');
    expect(() => file.append({ a: 1 })).toThrow('ENOSPC: no space left on device, write');
    file.close();
  });
});
