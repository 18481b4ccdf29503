// `lockstep train --folds`: a run for each fold, what they have in common, and resuming.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CrossValidation } from '../../coordinator/commands/cross-validate.ts';
import { runCli } from '../helpers/cli.ts';
import { readSummary } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';

const FOLDS = ['train', 'table.yaml', '--workers', '0', '--run-dir', 'folds'];

describe('lockstep train --folds', () => {
  it('each fold is a run of its own, whose tests have a mean and a deviation', async () => {
    const cwd = tableRun({ epochs: 1 });
    const { exitCode, stderr, stdout } = await runCli([...FOLDS, '--folds', '3', '--json'], { cwd });
    expect(exitCode).toBe(0);
    const result = JSON.parse(stdout) as CrossValidation;
    const summaries = [1, 2, 3].map((fold) => readSummary(path.join(cwd, 'folds', `fold-${fold}`)));
    expect(result.runs.map(({ weightsSha256 }) => weightsSha256)).toEqual(
      summaries.map(({ weightsSha256 }) => weightsSha256),
    );
    const losses = summaries.map(({ test }) => test?.loss as number);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / 3;
    const variance = losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / 2;
    expect(result.test['loss']).toEqual({ mean, deviation: Math.sqrt(variance), values: losses });
    expect(JSON.parse(fs.readFileSync(path.join(cwd, 'folds/folds.json'), 'utf8'))).toEqual(result);
    expect(stderr).toMatch(/^fold 1\/3$[^]*^fold 3\/3$[^]*^ +mean +deviation +lowest +highest$/m);
    // A fold is evaluated as any run is.
    const evaluated = await runCli(['evaluate', 'folds/fold-2', '--json'], { cwd });
    expect(JSON.parse(evaluated.stdout)).toEqual(summaries[1]?.test);
  });

  it('finished folds are kept, and those that lack a summary resume to the same weights', async () => {
    const cwd = tableRun({ epochs: 2 });
    const folds = [...FOLDS, '--folds', '2', '--json'];
    const whole = await runCli(folds, { cwd });
    fs.rmSync(path.join(cwd, 'folds/folds.json'));
    fs.rmSync(path.join(cwd, 'folds/fold-2/summary.json'));
    const resumed = await runCli([...folds, '--resume', 'last'], { cwd });
    expect(resumed.stderr).toContain('fold 1/2: finished before\n');
    expect(resumed.stderr).toContain('resuming');
    expect(JSON.parse(resumed.stdout)).toEqual(JSON.parse(whole.stdout));
    const other = await runCli([...folds, '--resume', 'last', '--set', 'seed=8'], { cwd });
    expect(other).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining(
        'error[E_FOLDS_CONFIG]: folds/fold-1 is the run of another config',
      ) as string,
    });
  });

  it('folds do not enter the directory of another run', async () => {
    const cwd = tableRun({ epochs: 1 });
    await runCli(FOLDS, { cwd });
    const files = fs.readdirSync(path.join(cwd, 'folds'));
    expect(await runCli([...FOLDS, '--folds', '2'], { cwd })).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('error[E_RUN_EXISTS]: folds holds a finished run') as string,
    });
    expect(fs.readdirSync(path.join(cwd, 'folds'))).toEqual(files);
  });

  it.each([
    [
      ['--folds', '3', '--resume', 'last'],
      'error[E_FOLDS_RESUME]: folds resume all from their last checkpoints',
    ],
    [['--folds', '1'], 'expected a whole number from 2 to 100.'],
    [['--folds', '3', '--set', 'data.split.time=x1'], 'data.split.fold: does not go with data.split.time'],
  ])('the flags %j are refused', async (flags, message) => {
    const cwd = tableRun();
    const result = await runCli(['train', 'table.yaml', ...flags], { cwd });
    expect(result).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) as string });
    expect(fs.readdirSync(cwd).sort()).toEqual(['table.csv', 'table.yaml']);
  });
});
