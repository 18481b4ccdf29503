// `lockstep runs`: lists and comparisons of runs that were trained for it.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { readSummary } from '../helpers/run-records.ts';
import { writeTableRun } from '../helpers/table-run.ts';

let directory: string | undefined;

async function lockstepIn(cwd: string, ...args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runCli(args, { cwd });
  if (exitCode !== 0) throw new Error(stderr);
  return stdout;
}

/** The directory in which all tests look at the same runs, which the first of them trains. */
async function trainedRuns(): Promise<string> {
  if (directory !== undefined) return directory;
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-runs-'));
  writeTableRun(directory);
  await lockstepIn(directory, 'train', 'table.yaml', '--run-dir', 'runs/first');
  const long = 'a-name-that-is-much-longer-than-a-line-of-a-terminal-has-room-for-beside-the-rest';
  const settings = ['epochs=3', 'optimizer.learningRate=0.01', 'name=other'].flatMap((value) => [
    '--set',
    value,
  ]);
  await lockstepIn(directory, 'train', 'table.yaml', '--run-dir', `runs/${long}`, ...settings);
  const runs = path.join(directory, 'runs');
  // A run that was killed has no summary.
  fs.cpSync(path.join(runs, 'first'), path.join(runs, 'killed'), { recursive: true });
  fs.rmSync(path.join(runs, 'killed/summary.json'));
  fs.mkdirSync(path.join(runs, 'no run'));
  return directory;
}

async function lockstep(...args: readonly string[]): Promise<string> {
  return lockstepIn(await trainedRuns(), ...args);
}

afterAll(() => directory && fs.rmSync(directory, { recursive: true }));

describe('lists of runs', () => {
  it('a list has a line of at most 80 columns for each run, the newest first, and nothing of other directories', async () => {
    const lines = (await lockstep('runs')).trimEnd().split('\n');
    expect(lines.every((line) => line.length <= 80)).toBe(true);
    const [head = '', newest = '', ...rest] = lines;
    expect(head.split(/ {2,}/)).toEqual(['run', 'started', 'state', 'epochs', 'val loss', 'test', 'weights']);
    expect(newest).toMatch(/^a-n.*….*rest +\d\d-\d\d \d\d:\d\d +done +3\/3 +0\.\d+ +r2 \S+ +[0-9a-f]{8}$/);
    expect(rest.map((line) => line.split(/ +/)[0]).sort()).toEqual(['first', 'killed']);
    expect(rest.find((line) => line.startsWith('killed'))).toMatch(/ stopped +2\/2 +0\.\d+ *$/);
  });

  it('a list can be filtered by name, sorted by loss, and read as JSON', async () => {
    const found = JSON.parse(await lockstep('runs', '--name', 'OTHER', '--json')) as { directory: string }[];
    expect(found.map(({ directory }) => path.basename(directory).slice(0, 6))).toEqual(['a-name']);
    const runs = JSON.parse(await lockstep('runs', 'runs', '--sort', 'val', '--json')) as {
      validationLoss: number;
      state: string;
      weightsSha256?: string;
      test?: Record<string, number>;
    }[];
    const losses = runs.map(({ validationLoss }) => validationLoss);
    expect(losses).toEqual([...losses].sort((a, b) => a - b));
    const { weightsSha256, test } = readSummary(path.join(await trainedRuns(), 'runs/first'));
    const first = runs.find((run) => run.weightsSha256 === weightsSha256);
    expect(first?.test).toMatchObject({ loss: test?.loss });
    expect(runs.map(({ state }) => state).sort()).toEqual(['finished', 'finished', 'interrupted']);
  });

  it('a comparison has the results side by side, and only the config values that differ', async () => {
    const text = await lockstep('runs', 'compare', 'first', 'killed', 'runs/first', '--plot', 'losses.svg');
    expect(text).toContain('a  runs/first\nb  runs/killed\nc  runs/first\n');
    expect(text).toMatch(/^state +finished +interrupted +finished$/m);
    expect(text).toContain('the configs are equal');
    expect(fs.readFileSync(path.join(await trainedRuns(), 'losses.svg'), 'utf8')).toContain('>killed</text>');
    const [other] = fs.readdirSync(path.join(await trainedRuns(), 'runs'));
    const { config } = JSON.parse(await lockstep('runs', 'compare', 'first', String(other), '--json')) as {
      config: unknown;
    };
    expect(config).toEqual({
      epochs: [2, 3],
      name: ['table', 'other'],
      'optimizer.learningRate': [0.003, 0.01],
    });
  });

  it.each([
    [['runs', 'nowhere'], 'error[E_NO_RUN]: cannot list nowhere: no such directory'],
    [['runs', 'compare', 'first'], 'error[E_COMPARE]: 1 runs to compare; expected 2 to 8'],
    [['runs', 'compare', 'first', 'none'], 'error[E_NO_RUN]: none holds no run'],
    [
      ['runs', 'compare', 'first', 'killed', '--plot', 'a.png'],
      'error[E_OUTPUT]: --plot a.png: expected a name that ends in .svg',
    ],
  ])('%j is refused with exit code 2', async (args, message) => {
    const { exitCode, stderr } = await runCli(args, { cwd: await trainedRuns() });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });

  it('a directory without runs is no error', async () => {
    expect(await lockstep('runs', 'runs/no run')).toBe('no runs\n');
  });
});
