// A disk that fills up in the middle of a run: the run continues without records and checkpoints, says so,
// and resumes both when there is room. Only a last save that fails ends it with an error. A disk that fails
// in other ways gets three attempts.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import { readLast } from '../../src/checkpoint/find-checkpoint.ts';
import { readCheckpoint } from '../../src/checkpoint/checkpoint-file.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import type { CliResult } from '../helpers/cli.ts';
import { trainInProcess } from '../helpers/in-process-training.ts';
import type { Training } from '../helpers/in-process-training.ts';
import { hashSavedWeights, listCheckpoints, readRecords, readSummary } from '../helpers/run-records.ts';
import { untilEpoch } from '../helpers/run-records.ts';
import { missingForDisks, SmallDisk } from '../helpers/small-disk.ts';
import { longRun } from '../helpers/undisturbed.ts';

const missing = missingForDisks();
const needs = missing === undefined ? '' : ` (skipped: needs ${missing})`;

/** A run wants 16 MiB for its records before it begins. */
const DISK_BYTES = 24 * 2 ** 20;
/** 450 steps in 30 epochs, slow enough for the disk to fail in the middle. */
const SLOW = { LOCKSTEP_FAILPOINT: 'coordinator.afterStep:sleep=10' };

interface DiskRun {
  readonly cwd: string;
  readonly disk: SmallDisk;
  readonly command: CliProcess;
  readonly directory: string;
  readonly checkpoints: string;
  /** Files of the checkpoints that were there when the disk was full, by name. */
  readonly before: ReadonlyMap<string, Buffer>;
}

/** A run whose disk has become full after two epochs, but for `spare` bytes, as it has said. */
async function startOnFullDisk(config: Partial<ConfigInput> = {}, spare = 0): Promise<DiskRun> {
  const cwd = longRun(config);
  const disk = new SmallDisk(DISK_BYTES);
  const directory = path.join(disk.path, 'run');
  const command = CliProcess.start(['train', 'table.yaml', '--workers', '0', '--run-dir', directory], {
    cwd,
    env: SLOW,
  });
  await untilEpoch(command, directory, 2);
  const checkpoints = path.join(directory, 'checkpoints');
  const before = await stopBetweenSaves(command, checkpoints, () => {
    disk.fill(spare);
    return readFiles(checkpoints);
  });
  await command.untilStderr(/WARN: the checkpoint of step \d+ is NOT written: no space left on the disk/);
  return { cwd, disk, command, directory, checkpoints, before };
}

/** Runs `action` while the process is stopped and no checkpoint is being written. */
async function stopBetweenSaves<Result>(
  command: CliProcess,
  checkpoints: string,
  action: () => Result,
): Promise<Result> {
  for (;;) {
    command.signal('SIGSTOP');
    try {
      await untilStopped(command.pid);
      if (temporaries(checkpoints).length === 0) return action();
    } finally {
      command.signal('SIGCONT');
    }
    await sleep(5);
  }
}

async function untilStopped(pid: number): Promise<void> {
  const state = (): string => fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '');
  while (!state().startsWith('T')) await sleep(1);
}

function temporaries(folder: string): string[] {
  return fs.readdirSync(folder).filter((name) => name.endsWith('.tmp'));
}

function readFiles(folder: string): ReadonlyMap<string, Buffer> {
  return new Map(fs.readdirSync(folder).map((name) => [name, fs.readFileSync(path.join(folder, name))]));
}

/** Steps of the checkpoints that the run has reported. */
function savedSteps(directory: string): number[] {
  const events = readRecords(directory, 'events.jsonl').filter(({ type }) => type === 'checkpointSaved');
  return events.map(({ step }) => Number(step));
}

/** Asserts that the run has the weights of `longRun` without any fault, and that they are in its model. */
async function expectSameWeights(directory: string): Promise<void> {
  undisturbed ??= trainInProcess(longRun());
  const { weightsSha256 } = await undisturbed;
  expect(readSummary(directory).weightsSha256).toBe(weightsSha256);
  expect(hashSavedWeights(directory)).toBe(weightsSha256);
}

let undisturbed: Promise<Training> | undefined;

describe.skipIf(missing !== undefined)(`a disk that fills up during a run${needs}`, () => {
  test('a disk that is full for a while costs only records: the weights are the same, and later saves succeed', async () => {
    const run = await startOnFullDisk();
    const { command, directory, checkpoints, before, disk } = run;
    const [, lost] = await command.untilStderr(
      /WARN: the checkpoint of step (\d+) is NOT written.*Training continues/,
    );
    // Training continues meanwhile: a later checkpoint fails, too.
    await command.untilStderr(new RegExp(`step (?!${lost} )\\d+ is NOT written`));
    await stopBetweenSaves(command, checkpoints, () => expect(readFiles(checkpoints)).toEqual(before));
    disk.makeRoom();
    const { exitCode, stdout, stderr } = await command.finished;
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: '' });
    await expectSameWeights(directory);
    expect(Math.max(...savedSteps(directory))).toBe(450);
    for (const name of listCheckpoints(directory)) await readCheckpoint(path.join(checkpoints, name));
    expect(temporaries(checkpoints)).toEqual([]);
    // Every line is whole.
    for (const name of ['metrics.jsonl', 'events.jsonl', 'output.log']) {
      const lines = fs.readFileSync(path.join(directory, name), 'utf8').trimEnd().split('\n');
      for (const line of lines) expect(() => void JSON.parse(line), line).not.toThrow();
    }
  });

  test('a disk that stays full ends the run at its last save with an error; the run resumes once there is room', async () => {
    const { cwd, command, directory, checkpoints, before, disk } = await startOnFullDisk();
    const { exitCode, stdout, stderr } = await command.finished;
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 4, stdout: '' });
    expect(stderr).toContain('epoch 30/30');
    expect(stderr).toMatch(
      /\nerror\[E_RESULT_SAVE\]: \S*\/model\/model\.safetensors: not written \(no space left\)\n {2}help: .*--resume last\n$/,
    );
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(readFiles(checkpoints)).toEqual(before);
    expect(fs.existsSync(path.join(directory, 'summary.json'))).toBe(false);

    disk.makeRoom();
    const args = ['train', 'table.yaml', '--workers', '0', '--run-dir', directory, '--resume', 'last'];
    expect(await runCli(args, { cwd })).toMatchObject({ exitCode: 0 });
    await expectSameWeights(directory);
  });

  test('a disk with room for the model but not for the last checkpoint ends the run and names the checkpoint', async () => {
    // The model takes 282 KB, the records 0.2 MB, and a checkpoint with its optimizer state and averages 1.4
    // MB.
    const layers = [
      { kind: 'dense', units: 512 },
      { kind: 'dense', units: 128 },
      { kind: 'dense', units: 1 },
    ] as const;
    const { command, directory } = await startOnFullDisk({ model: { layers: [...layers] } }, 800_000);
    const { exitCode, stderr } = await command.finished;
    expect(exitCode, stderr).toBe(4);
    expect(stderr).toMatch(
      /\nerror\[E_CHECKPOINT_SAVE\]: \S*\.safetensors: not written \(no space left on the disk\)\n {2}help: .*--resume last\n$/,
    );
    expect(fs.existsSync(path.join(directory, 'model/model.safetensors'))).toBe(true);
  });
});

describe('a run whose disk fails in other ways', () => {
  const trainFailing = (cwd: string, calls: readonly string[]): Promise<CliResult> => {
    const failpoints = calls.map((call) => `checkpoint.${call}:throw=EIO`);
    const env = { LOCKSTEP_FAILPOINT: [SLOW.LOCKSTEP_FAILPOINT, ...failpoints].join() };
    return runCli(['train', 'table.yaml', '--workers', '0', '--run-dir', 'run'], { cwd, env });
  };
  const attemptsOf = (stderr: string): number => stderr.match(/ is written again: EIO/g)?.length ?? 0;

  test('a run whose disk fails now and then repeats failed saves and results in the same weights', async () => {
    const cwd = longRun();
    const { exitCode, stderr } = await trainFailing(cwd, [
      ...['write#1', 'fsync#2', 'rename#3', 'fsyncDirectory#4'],
    ]);
    expect({ exitCode, attempts: attemptsOf(stderr) }, stderr).toEqual({ exitCode: 0, attempts: 4 });
    await expectSameWeights(path.join(cwd, 'run'));
  });

  test('a run whose disk fails three times in a row ends at the next save and resumes from an earlier checkpoint', async () => {
    const cwd = longRun();
    const { exitCode, stderr } = await trainFailing(cwd, ['fsync#5', 'fsync#6', 'fsync#7']);
    expect({ exitCode, attempts: attemptsOf(stderr) }, stderr).toEqual({ exitCode: 4, attempts: 2 });
    expect(stderr).not.toContain('epoch 30/30');
    expect(stderr.match(/not written in 3 attempts/g)).toHaveLength(1);
    expect(stderr).toMatch(/\nerror\[E_CHECKPOINT_SAVE\]: .*\n {2}help: .*--resume last\n$/);
    const args = ['train', 'table.yaml', '--workers', '0', '--run-dir', 'run', '--resume', 'last'];
    expect(await runCli(args, { cwd })).toMatchObject({ exitCode: 0 });
    await expectSameWeights(path.join(cwd, 'run'));
  });
});

test.skipIf(missing !== undefined)(
  `a checkpoint store whose disk is full keeps its files, warns, and saves the next checkpoint once there is room${needs}`,
  async () => {
    const disk = new SmallDisk(256 * 1024);
    const warnings: string[] = [];
    const logger = {
      warn: (_fields: unknown, message?: string): void => void warnings.push(String(message)),
    };
    const store = await CheckpointStore.open({ directory: disk.path, numKept: 2, logger });
    const save = (step: number): void =>
      store.save(step, [{ name: 'x', shape: [20_000], values: new Float32Array(20_000).fill(step) }], {});
    save(1);
    await store.flush();
    disk.fill(40_000);

    save(2);
    const error: unknown = await store.flush().catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'E_CHECKPOINT_SAVE',
      exitCode: 4,
      message: `${disk.path}/step-000000002.safetensors: not written (no space left on the disk)`,
    });
    expect(warnings[0]).toContain('step 2 is NOT written: no space left on the disk. Training continues');
    expect(fs.readdirSync(disk.path).sort()).toEqual(['filler', 'step-000000001.safetensors']);
    expect((await readLast(disk.path, logger))?.step).toBe(1);

    disk.makeRoom();
    save(3);
    await store.flush();
    expect((await readLast(disk.path, logger))?.tensors.get('x')?.values[0]).toBe(3);
  },
);
