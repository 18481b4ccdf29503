// The use of a trained model: it predicts and is evaluated again, from the command line and from programs as
// users write them.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { PROGRAM, runCli } from '../helpers/cli.ts';
import { readSummary } from '../helpers/run-records.ts';
import { TABLE_CONFIG, tableRun, tableText, writeTableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const NUM_LINES = tableText().trimEnd().split('\n').length;

const trained = new Map<string, Promise<string>>();

afterAll(async () => {
  for (const cwd of await Promise.all(trained.values())) fs.rmSync(cwd, { recursive: true });
});

/** A directory with a finished run in `run`, which tests share: they may add files. */
function trainedTable(numerics: 'strict' | 'fused' = 'strict'): Promise<string> {
  const found = trained.get(numerics) ?? trainTable(numerics);
  trained.set(numerics, found);
  return found;
}

async function trainTable(numerics: 'strict' | 'fused'): Promise<string> {
  const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-trained-'));
  writeTableRun(cwd, {
    numerics,
    data: { ...TABLE_CONFIG.data, targetTransform: ['standardize'] },
    model: {
      layers: [
        { kind: 'dense', units: 16, activation: 'relu' },
        { kind: 'batchNorm' },
        { kind: 'dropout', rate: 0.1 },
        { kind: 'dense', units: 1 },
      ],
    },
  });
  const args = ['train', 'table.yaml', '--workers', '1', '--threads', '2', '--run-dir', 'run'];
  expect(await runCli(args, { cwd })).toMatchObject({ exitCode: 0 });
  return cwd;
}

describe('lockstep evaluate', () => {
  it.each(['strict', 'fused'] as const)(
    'lockstep evaluate gives the metrics of the summary bit for bit (%s kernels)',
    async (numerics) => {
      const cwd = await trainedTable(numerics);
      const summary = readSummary(path.join(cwd, 'run'));
      const test = await runCli(['evaluate', 'run', '--json'], { cwd });
      expect(JSON.parse(test.stdout)).toEqual(summary.test);
      expect(test.stderr).toMatch(/^ +test\nloss +0\.\d+\n/);
      const validation = await runCli(['evaluate', 'run/model', '--split', 'validation', '--json'], { cwd });
      expect(JSON.parse(validation.stdout)).toEqual(summary.validation);
    },
  );

  it('lockstep evaluate describes an error in one message and exits with its code', async () => {
    const cwd = tableRun();
    expect(await runCli(['evaluate', 'nowhere'], { cwd })).toMatchObject({
      exitCode: 4,
      stdout: '',
      stderr:
        `error[E_MODEL_NOT_FOUND]: no trained model at ${cwd}/nowhere: no such directory\n` +
        '  help: name the directory of a run that has finished an epoch, such as runs/latest\n',
    });
    expect(await runCli(['evaluate', 'nowhere', '--split', 'all'], { cwd })).toMatchObject({ exitCode: 2 });
  });
});

describe('lockstep predict', () => {
  it('lockstep predict gives one line per row, which agrees with the mean absolute error of an evaluation', async () => {
    const cwd = await trainedTable();
    const { exitCode, stdout, stderr } = await runCli(['predict', 'run', 'table.csv'], { cwd });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [header, ...predicted] = stdout.trimEnd().split('\n');
    expect(header).toBe('y');
    expect(predicted).toHaveLength(NUM_LINES - 1);
    const actual = tableText()
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => Number(line.split(',').at(-1)));
    const error = actual.reduce((sum, y, row) => sum + Math.abs(y - Number(predicted[row])), 0);
    const evaluated = await runCli(['evaluate', 'run', '--data', 'table.csv', '--json'], { cwd });
    const { mae } = JSON.parse(evaluated.stdout) as { mae: number };
    // Targets were rounded to float32.
    expect(error / actual.length).toBeCloseTo(mae, 6);

    await runCli(['predict', 'run', 'table.csv', '--output', 'predicted.csv'], { cwd });
    expect(fs.readFileSync(path.join(cwd, 'predicted.csv'), 'utf8')).toBe(stdout);
    expect(await runCli(['predict', 'run', 'table.csv', '--output', 'none/a.csv'], { cwd })).toMatchObject({
      exitCode: 1,
      stderr:
        'error[E_OUTPUT]: cannot write to none/a.csv: no such directory\n' +
        '  help: make the directory first, or name a file in one that exists\n',
    });
  });

  it.each([
    ['linked.csv', 'the file to predict'],
    ['run/../table.csv', 'the file to predict'],
    ['run/model/model.safetensors', 'a file of the model'],
  ])('lockstep predict does not overwrite %s, %s', async (output, what) => {
    const cwd = await trainedTable();
    if (!fs.existsSync(path.join(cwd, 'linked.csv')))
      fs.symlinkSync('table.csv', path.join(cwd, 'linked.csv'));
    const before = fs.readFileSync(path.join(cwd, output));
    expect(await runCli(['predict', 'run', 'table.csv', '--output', output], { cwd })).toMatchObject({
      exitCode: 2,
      stderr: `error[E_OUTPUT]: --output ${output} is ${what}\n  help: name another file for the predictions\n`,
    });
    expect(fs.readFileSync(path.join(cwd, output)).equals(before)).toBe(true);
  });

  it('lockstep predict replaces a file through a link, keeps its mode, and leaves no temporary file', async () => {
    const cwd = await trainedTable();
    const directory = temporaryDirectory();
    const [file, link] = [path.join(directory, 'old.csv'), path.join(directory, 'link.csv')];
    fs.writeFileSync(file, 'old\n', { mode: 0o600 });
    fs.symlinkSync('old.csv', link);
    expect(await runCli(['predict', 'run', 'table.csv', '--output', link], { cwd })).toMatchObject({
      exitCode: 0,
    });
    expect(fs.readFileSync(file, 'utf8').split('\n')).toHaveLength(NUM_LINES + 1);
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    expect(fs.lstatSync(link).isSymbolicLink()).toBe(true);
    expect(fs.readdirSync(directory).sort()).toEqual(['link.csv', 'old.csv']);
  });

  it.each(['/dev/stdout', 'pipe'])('lockstep predict writes to %s without replacing it', async (output) => {
    const cwd = await trainedTable();
    const directory = temporaryDirectory();
    const [table, run, pipe] = [
      path.join(cwd, 'table.csv'),
      path.join(cwd, 'run'),
      path.join(directory, 'pipe'),
    ];
    execFileSync('mkfifo', [pipe]);
    const reader = spawn('cat', [pipe], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void reader.kill());
    let piped = '';
    reader.stdout.setEncoding('utf8').on('data', (text: string) => (piped += text));
    const closed = new Promise((resolve) => reader.once('close', resolve));
    const ended = await runCli(['predict', run, table, '--output', output], { cwd: directory });
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
    if (output === 'pipe') await closed;
    expect((ended.stdout + piped).split('\n')).toHaveLength(NUM_LINES + 1);
    expect(fs.statSync(pipe).isFIFO()).toBe(true);
  });

  it.skipIf(!fs.existsSync('/dev/full'))('lockstep predict reports a full disk', async () => {
    const cwd = await trainedTable();
    expect(await runCli(['predict', 'run', 'table.csv', '--output', '/dev/full'], { cwd })).toMatchObject({
      exitCode: 1,
      stderr:
        'error[E_OUTPUT]: cannot write to /dev/full: no space left\n' +
        '  help: make room there, or name a place that can be written\n',
    });
  });

  it('lockstep predict refuses a table without a column, a row without a value, and images', async () => {
    const cwd = await trainedTable();
    const [header, first] = tableText().split('\n') as [string, string];
    fs.writeFileSync(path.join(cwd, 'few.csv'), 'x0,x1\n1,2\n');
    expect(await runCli(['predict', 'run', 'few.csv'], { cwd })).toMatchObject({
      exitCode: 3,
      stdout: '',
      stderr:
        'error[E_DATA_COLUMNS]: no column "x2", which the model was trained on\n' +
        '  help: give the table the columns of the training data\n',
    });
    fs.writeFileSync(path.join(cwd, 'gap.csv'), `${header}\n${first}\n${first.replace(/^[^,]*/, '')}\n`);
    const { exitCode, stderr } = await runCli(['predict', 'run', 'gap.csv'], { cwd });
    expect(exitCode).toBe(3);
    expect(stderr).toContain(
      'error[E_DATA_MISSING]: column "x0": 1 of 1 cell missing ("" 1)\n  --> gap.csv:3:1',
    );
    const image = [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4];
    fs.writeFileSync(path.join(cwd, 'image.idx'), Uint8Array.from(image));
    expect(await runCli(['predict', 'run', 'image.idx'], { cwd })).toMatchObject({
      exitCode: 3,
      stderr:
        'error[E_DATA_FORMAT]: image.idx is an IDX file, of images or labels, not a table\n' +
        '  help: a table is CSV or TSV; a config names images as { images: FILE, labels: FILE }\n',
    });
  });

  it('lockstep predict exits normally when its reader stops reading', async () => {
    const cwd = await trainedTable();
    const [header = '', ...rows] = tableText().trimEnd().split('\n');
    const many = Array.from({ length: 100 }, () => rows.join('\n')).join('\n');
    fs.writeFileSync(path.join(cwd, 'many.csv'), `${header}\n${many}\n`);
    const child = spawn(process.execPath, [PROGRAM, 'predict', 'run', 'many.csv'], { cwd });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.once('data', () => child.stdout.destroy());
    const exitCode = await new Promise((resolve) => child.once('close', resolve));
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  });
});
