// What a run saves and prints: files that others read, whose names and formats must not change.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { hashSavedWeights, readRecords, readSummary } from '../helpers/run-records.ts';
import { TABLE_CONFIG, tableRun } from '../helpers/table-run.ts';

const WITH_TRANSFORM = {
  data: { ...TABLE_CONFIG.data, targetTransform: ['standardize' as const] },
  plots: true,
};

/** Trains into `run`; returns what was printed. */
async function train(
  cwd: string,
  ...flags: readonly string[]
): Promise<{ stdout: string; directory: string }> {
  const directory = path.join(cwd, 'run');
  const { exitCode, stdout } = await runCli(['train', 'table.yaml', '--run-dir', 'run', ...flags], { cwd });
  expect(exitCode).toBe(0);
  return { stdout, directory };
}

function textOf(...names: readonly string[]): string {
  return fs.readFileSync(path.join(...names), 'utf8');
}

function filesUnder(directory: string): string[] {
  const entries = fs.readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .sort();
}

describe('the directory of a run', () => {
  it('a run directory holds the config, the records, the model and the plots', async () => {
    const cwd = tableRun(WITH_TRANSFORM);
    const { stdout, directory } = await train(cwd, '--workers', '2', '--json', '--set', 'name=renamed');

    const images = ['png', 'svg', 'vl.json'];
    const splitPlots = ['predicted-vs-actual', 'residuals', 'residual-histogram'].flatMap((plot) => [
      `test-${plot}`,
      `validation-${plot}`,
    ]);
    const runPlots = ['loss-curves', 'metrics', 'learning-rate', 'gradient-norm', 'importance'];
    const plots = [...runPlots, ...splitPlots].flatMap((plot) =>
      images.map((type) => `plots/${plot}.${type}`),
    );
    const records = [
      'config.yaml',
      'events.jsonl',
      'metrics.jsonl',
      'output.log',
      'report.html',
      'summary.json',
    ];
    const model = ['model/config.json', 'model/model.safetensors'];
    const files = filesUnder(directory).filter((file) => !file.startsWith('checkpoints/'));
    expect(files).toEqual([...records, ...model, ...plots].sort());

    expect(stdout).toBe(textOf(directory, 'summary.json'));
    const summary = readSummary(directory);
    const errors = { rmse: number(), mae: number(), r2: number() };
    const measured = { loss: number(), ...errors, mape: number(), transformed: errors };
    expect(summary).toEqual({
      name: 'renamed',
      seed: 7,
      shards: 8,
      numerics: 'strict',
      kernelWidth: number(),
      wire: { gradients: 'f32' },
      weightsSha256: hashSavedWeights(directory),
      epochs: 2,
      steps: 26,
      samplesSeen: 1600,
      workers: 2,
      wallSeconds: number(),
      trainSeconds: number(),
      samplesPerSecond: number(),
      train: { loss: number() },
      validation: measured,
      test: measured,
      baseline: { kind: 'mean', ...errors },
      best: { epoch: 2, loss: summary.validation?.loss },
    });
    expect(summary.samplesPerSecond).toBeCloseTo(summary.samplesSeen / summary.trainSeconds);

    expect(JSON.parse(textOf(directory, 'model/config.json'))).toMatchObject({
      weightsSha256: summary.weightsSha256,
      inputShape: [8],
      layers: [
        { kind: 'dense', units: 64, activation: 'relu' },
        { kind: 'dense', units: 1 },
      ],
      featureNames: ['x0', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7'],
      targetNames: ['y'],
    });
    expectRecords(directory, summary.weightsSha256);
  });

  it('a run directory under runs/ is named after its time and name, and runs/latest points to it', async () => {
    const cwd = tableRun({ epochs: 1 });
    const { exitCode } = await runCli(['train', 'table.yaml', '--workers', '0'], { cwd });
    expect(exitCode).toBe(0);
    expect(fs.readdirSync(path.join(cwd, 'runs'))).toEqual([
      expect.stringMatching(/^\d{8}-\d{6}-table$/),
      'latest',
    ]);
    expect(readSummary(path.join(cwd, 'runs/latest')).epochs).toBe(1);

    const again = await runCli(['train', 'table.yaml', '--run-dir', 'runs/latest'], { cwd });
    expect(again.exitCode).toBe(2);
    expect(again.stderr).toMatch(/^error\[E_RUN_EXISTS\]: runs\/latest holds a finished run\n {2}help: /);
  });
});

function number(): number {
  return expect.any(Number) as number;
}

function expectRecords(directory: string, weightsSha256: string): void {
  const metrics = readRecords(directory, 'metrics.jsonl');
  const epochEnds = metrics.filter((record) => 'train/loss' in record);
  const steps = metrics.filter((record) => !('train/loss' in record));
  expect(steps.map(({ _step }) => _step)).toEqual(Array.from({ length: 26 }, (_, step) => step + 1));
  const always = { _runtime: number(), _timestamp: number() };
  expect(steps[0]).toEqual({
    _step: 1,
    epoch: 1,
    'train/stepLoss': number(),
    lr: 0.003,
    gradNorm: number(),
    ...always,
  });
  expect(epochEnds.map(({ _step, epoch }) => [_step, epoch])).toEqual([
    [13, 1],
    [26, 2],
  ]);
  const validation = [
    'loss',
    'rmse',
    'mae',
    'r2',
    'mape',
    'transformed/rmse',
    'transformed/mae',
    'transformed/r2',
  ];
  const names = ['train/loss', ...validation.map((name) => `val/${name}`), 'samplesPerSecond', 'workers'];
  expect(Object.keys(epochEnds[0]!).sort()).toEqual(
    ['_runtime', '_step', '_timestamp', 'epoch', ...names].sort(),
  );

  const events = readRecords(directory, 'events.jsonl');
  const eachStep = events.filter(({ type }) => type === 'stepDone');
  const fingerprint = expect.stringMatching(/^[0-9a-f]{16}$/) as string;
  expect(eachStep.map(({ time: _, ...event }) => event)).toEqual(
    Array.from({ length: 26 }, (_, step) => ({
      type: 'stepDone',
      step: step + 1,
      weights: fingerprint,
      chain: fingerprint,
    })),
  );
  expect(events.some(({ type }) => type === 'checkpointSaved')).toBe(true);
  const others = events
    .map(({ type }) => type)
    .filter((type) => !/^(stepDone|checkpointSaved)$/.test(String(type)));
  expect(others).toEqual([
    'runStarted',
    ...['workerJoined', 'workerJoined', 'epochDone', 'epochDone', 'workerLeft', 'workerLeft'],
    'runFinished',
  ]);
  expect(events[0]).toEqual({
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
    type: 'runStarted',
    name: 'renamed',
    seed: 7,
    numerics: 'strict',
    datasetSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
  });
  expect(events.at(-1)).toMatchObject({ weightsSha256 });
  const log = textOf(directory, 'output.log').trimEnd().split('\n');
  expect(log.map((line) => (JSON.parse(line) as { msg: string }).msg)).toContain(`run directory run`);
}

describe('a config', () => {
  it('a config is printed in full as it is saved in the run directory, and reads back unchanged', async () => {
    const cwd = tableRun();
    const flags = ['--set', 'epochs=1', '--set', 'data.split.test=0'];
    const print = async (file: string, ...args: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await runCli(['train', file, '--print-config', ...args], { cwd });
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      return stdout;
    };
    const printed = await print('table.yaml', ...flags);
    expect(printed).toContain('beta1: 0.9\n');
    fs.writeFileSync(path.join(cwd, 'resolved.yaml'), printed);
    expect(await print('resolved.yaml')).toBe(printed);
    const { directory } = await train(cwd, '--workers', '0', ...flags);
    expect(textOf(directory, 'config.yaml')).toBe(printed);
    expect(readSummary(directory)).not.toHaveProperty('test');
  });

  it('--dry-run checks a config, says what the run would take, and leaves no files', async () => {
    const cwd = tableRun();
    const args = ['train', 'table.yaml', '--dry-run'];
    const { exitCode, stdout, stderr } = await runCli([...args, '--workers', '2'], { cwd });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain('data     800 training, 100 validation, 100 test rows\n');
    expect(stdout).toMatch(/^0 +dense 8 -> 64 relu +64 +576$/m);
    expect(stdout).toMatch(/^column +kind +distinct +missing +values +becomes +inputs$/m);
    expect(stdout).toContain('steps    13 an epoch, 2 epochs, batch 64 in 8 shards\n');
    expect(stdout).toMatch(/^worker {3}up to \d+\.\d MiB with one thread: /m);
    expect(stdout).toMatch(/^here {5}up to \d+\.\d MiB in all: Node\.js 224\.0 MiB, /m);
    const alone = await runCli([...args, '--threads', '3'], { cwd });
    expect(alone.stdout).toMatch(/^here {5}up to \d+\.\d MiB with 3 threads: Node\.js 224\.0 MiB, /m);
    expect(alone.stdout).not.toMatch(/^worker/m);
    expect(fs.readdirSync(cwd).sort()).toEqual(['table.csv', 'table.yaml']);
  });
});
