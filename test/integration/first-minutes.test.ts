// The first five minutes: from data without a config to a trained model, and what is said where data, flags
// or the machine do not suffice.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { PROGRAM, ROOT, runCli } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const HOUSE = path.join(ROOT, 'examples/house/house.csv.gz');

interface TestSummary {
  readonly test: { readonly r2?: number; readonly accuracy?: number };
}

/** A table of 200 rows whose class depends on two columns. */
function writeFlowers(cwd: string): void {
  const rows = Array.from({ length: 200 }, (_, row) => {
    const [a, b] = [(row * 37) % 101, (row * 53) % 97];
    return `${row + 1},${a},${b / 10},${a > b ? 'tall' : 'short'}`;
  });
  fs.writeFileSync(path.join(cwd, 'flowers.csv'), ['id,a,b,kind', ...rows, ''].join('\n'));
}

/** Bright and dark pictures, 30 each, with some noise. */
async function writePictures(cwd: string): Promise<void> {
  for (const [name, level] of [
    ['bright', 170],
    ['dark', 60],
  ] as const) {
    fs.mkdirSync(path.join(cwd, 'photos', name), { recursive: true });
    for (let k = 0; k < 30; k++) {
      const pixels = Buffer.from(Array.from({ length: 144 }, (_, at) => level + ((at * 31 + k * 17) % 50)));
      const file = path.join(cwd, 'photos', name, `${k}.png`);
      await sharp(pixels, { raw: { width: 12, height: 12, channels: 1 } })
        .toColourspace('b-w')
        .png()
        .toFile(file);
    }
  }
}

describe('init and train', () => {
  it('init writes a config for a shipped table that train takes as it stands', async () => {
    const cwd = temporaryDirectory();
    const { exitCode, stdout, stderr } = await runCli(['init', HOUSE, '--target', 'price'], { cwd });
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'house.yaml\n' });
    expect(stderr).toContain(
      'target    price, numbers above 0, skewed (2.5): mse on log, then standardize\n',
    );
    expect(stderr).toContain('left out  age (tells the same as "yrbuilt")\n');
    expect(stderr).toMatch(/^next {6}node .*lockstep\.js train house\.yaml$/m);
    const trained = await runCli(
      ['train', 'house.yaml', '--json', '--set', 'epochs=4', '--set', 'plots=false'],
      {
        cwd,
      },
    );
    expect(trained.exitCode).toBe(0);
    expect((JSON.parse(trained.stdout) as TestSummary).test.r2).toBeGreaterThan(0.6);
  });

  it('init writes a config for a folder of pictures whose model tells them apart', async () => {
    const cwd = temporaryDirectory();
    await writePictures(cwd);
    const env = { LOCKSTEP_CACHE_DIR: '' };
    expect((await runCli(['init', 'photos'], { cwd, env })).stdout).toBe('photos.yaml\n');
    const { exitCode, stdout } = await runCli(['train', 'photos.yaml', '--json', '--set', 'plots=false'], {
      cwd,
      env,
    });
    expect(exitCode).toBe(0);
    expect((JSON.parse(stdout) as TestSummary).test.accuracy).toBe(1);
  });

  it('init in a pipe takes the likeliest target with --yes, and leaves an existing file alone', async () => {
    const cwd = temporaryDirectory();
    writeFlowers(cwd);
    const first = await runCli(['init', 'flowers.csv', '--yes', '--output', 'a.yaml'], { cwd });
    expect(first).toMatchObject({ exitCode: 0, stdout: 'a.yaml\n' });
    const written = fs.readFileSync(path.join(cwd, 'a.yaml'), 'utf8');
    expect(written).toContain('  target: kind # the column to predict: 2 distinct texts\n');
    const second = await runCli(['init', 'flowers.csv', '--yes', '--output', 'a.yaml'], { cwd });
    expect(second).toEqual({
      exitCode: 2,
      stdout: '',
      stderr:
        'error[E_INIT_EXISTS]: a.yaml exists\n  help: name another file with --output, or replace it with --force\n',
    });
    expect(
      (await runCli(['init', 'flowers.csv', '--yes', '--output', 'a.yaml', '--force'], { cwd })).exitCode,
    ).toBe(0);
    expect(fs.readFileSync(path.join(cwd, 'a.yaml'), 'utf8')).toBe(written);
  });
});

describe('errors of init', () => {
  it.each([
    [
      'without a target in a pipe',
      ['flowers.csv'],
      2,
      /^error\[E_INIT_TARGET\]: the column to predict is not named; columns: id, a, b, kind\n {2}help: node .* init flowers\.csv --target kind, or another column\n$/,
    ],
    [
      'an unknown target',
      ['flowers.csv', '--target', 'kinds'],
      2,
      /^error\[E_CONFIG_COLUMN\]: no column "kinds"; columns: id, a, b, kind\n {2}help: did you mean "kind"\?\n$/,
    ],
    ['an empty file', ['empty.csv'], 3, /^error\[E_DATA_EMPTY\]: empty\.csv is empty \(0 bytes\)\n$/],
    [
      'a table of one column',
      ['one.csv', '--target', 'y'],
      3,
      /^error\[E_DATA_COLUMNS\]: the table has one column, "y": there is nothing to learn it from\n/,
    ],
    [
      'a picture',
      ['photo.png'],
      3,
      /^error\[E_DATA_FORMAT\]: photo\.png is a PNG picture, which is not read\n/,
    ],
    [
      'a file that is missing',
      ['flower.csv'],
      3,
      /^error\[E_DATA_UNREADABLE\]: cannot read flower\.csv: no such file .*\n {2}help: did you mean flowers\.csv\?\n$/,
    ],
    [
      'labels of a table',
      ['flowers.csv', '--labels', 'one.csv'],
      2,
      /^error\[E_INIT_LABELS\]: --labels is for images and arrays; flowers\.csv is a table or a text\n/,
    ],
  ])('init refuses %s and writes nothing', async (_, args, exitCode, stderr) => {
    const cwd = temporaryDirectory();
    writeFlowers(cwd);
    fs.writeFileSync(path.join(cwd, 'empty.csv'), '');
    fs.writeFileSync(path.join(cwd, 'one.csv'), 'y\n1\n2\n3\n');
    fs.writeFileSync(path.join(cwd, 'photo.png'), Buffer.from('89504e470d0a1a0a0000', 'hex'));
    const before = fs.readdirSync(cwd);
    const result = await runCli(['init', ...args], { cwd });
    expect(result).toMatchObject({ exitCode, stdout: '' });
    expect(result.stderr).toMatch(stderr);
    expect(fs.readdirSync(cwd)).toEqual(before);
  });
});

describe('inspect', () => {
  it('inspect shows the same columns for data as for the config that init writes, in 80 characters', async () => {
    const cwd = temporaryDirectory();
    writeFlowers(cwd);
    await runCli(['init', 'flowers.csv', '--target', 'kind'], { cwd });
    const ofData = await runCli(['inspect', 'flowers.csv', '--target', 'kind'], { cwd });
    const ofConfig = await runCli(['inspect', 'flowers.yaml'], { cwd });
    const columnsIn = (text: string): string | undefined => /^column .*\n(?:.+\n)*/m.exec(text)?.[0];
    expect(columnsIn(ofData.stdout)).toMatch(/^kind +text +2 .*the target$/m);
    expect(columnsIn(ofConfig.stdout)).toBe(columnsIn(ofData.stdout));
    expect(ofData.stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(ofData.stdout).toContain('- "id" counts the rows\n');
    const dry = await runCli(['train', 'flowers.yaml', '--dry-run'], { cwd });
    expect(columnsIn(dry.stdout)?.split('\n').length).toBe(columnsIn(ofData.stdout)?.split('\n').length);
  });

  it('inspect --json has the facts of every column and the classes', async () => {
    const cwd = temporaryDirectory();
    writeFlowers(cwd);
    const { stdout } = await runCli(['inspect', 'flowers.csv', '--json'], { cwd });
    const report = JSON.parse(stdout) as { columns: { name: string }[] };
    expect(report).toMatchObject({ kind: 'table', samples: 200, target: { name: 'kind', isGuess: true } });
    expect(report.columns[1]).toMatchObject({
      name: 'a',
      kind: 'number',
      distinct: 101,
      least: 0,
      most: 100,
    });
    expect(report.columns[0]).toMatchObject({ use: 'drop', becomes: 'left out', why: 'counts the rows' });
  });
});

describe('doctor', () => {
  it('doctor finds this machine ready, and says what each check found', async () => {
    const cwd = temporaryDirectory();
    const { exitCode, stdout } = await runCli(['doctor'], { cwd });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ok {6}kernels {7}give the known answer$/m);
    expect(stdout).toMatch(/^ok {6}threads {7}share memory$/m);
    expect(stdout.endsWith('\nready to train\n')).toBe(true);
    const json = await runCli(['doctor', '--json'], { cwd });
    expect(JSON.parse(json.stdout)).toContainEqual({
      name: 'kernels',
      state: 'ok',
      found: 'give the known answer',
    });
  });
});

describe('completion', () => {
  it.each([
    [['ins'], ['inspect']],
    [['train', '--res'], ['--resume']],
    [
      ['train', '--topology', ''],
      ['star', 'tree'],
    ],
    [
      ['bench', 's'],
      ['scale', 'step', 'simulate'],
    ],
    [
      ['bench', 'step', '--w'],
      ['--workload', '--workers'],
    ],
    [['completion', 'z'], ['zsh']],
    [['train', 'a.yaml', '--run-dir', 'x'], []],
  ])('bash completes %j to %j', async (words, expected) => {
    const script = [
      'source <("$NODE" "$PROGRAM" completion bash)',
      'COMP_WORDS=(lockstep "$@"); COMP_CWORD=$#; _lockstep; printf "%s\\n" "${COMPREPLY[@]}"',
    ].join('\n');
    const env = { PATH: process.env['PATH'], NODE: process.execPath, PROGRAM };
    const { stdout } = await promisify(execFile)('bash', ['-c', script, 'bash', ...words], { env });
    expect(stdout.split('\n').filter(Boolean)).toEqual(expected);
  });
});
