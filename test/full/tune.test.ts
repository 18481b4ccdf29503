// `lockstep tune`: trials, early stops, resuming, and what is wrong with a search.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { TuneResult } from '../../coordinator/output/trials.ts';
import { runCli } from '../helpers/cli.ts';
import { tableRun } from '../helpers/table-run.ts';

const TUNE = ['tune', 'table.yaml', '--workers', '0', '--run-dir', 'search', '--json'];
const RATES = ['--vary', 'optimizer.learningRate=log:1e-4..0.1', '--vary', 'batchSize=[32, 64]'];

function withoutTimes({ trials, ...rest }: TuneResult): object {
  return { ...rest, trials: trials.map(({ seconds: _seconds, ...trial }) => trial) };
}

describe('lockstep tune', () => {
  it('a search finds the best of its trials, and resumes to the same result after it was cut off', async () => {
    const cwd = tableRun({ epochs: 2 });
    const flags = [...TUNE, ...RATES, '--trials', '3'];
    const whole = await runCli(flags, { cwd });
    expect(whole.exitCode).toBe(0);
    const result = JSON.parse(whole.stdout) as TuneResult;
    const losses = result.trials.map(({ best }) => best.at(-1) as number);
    expect(losses[result.bestTrial - 1]).toBe(Math.min(...losses));
    expect(new Set(losses).size).toBe(3);
    expect(whole.stderr).toContain('train on with: --set ');
    const search = path.join(cwd, 'search');
    expect(fs.readFileSync(path.join(search, 'trials.svg'), 'utf8')).toContain('learningRate');
    // The last trial was under way: its directory is there, and its line is not.
    const file = path.join(search, 'trials.jsonl');
    const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
    fs.writeFileSync(file, `${lines.slice(0, 2).join('\n')}\n`);
    const resumed = await runCli([...flags, '--resume'], { cwd });
    expect(withoutTimes(JSON.parse(resumed.stdout) as TuneResult)).toEqual(withoutTimes(result));
    expect(resumed.stderr).not.toContain('trial 2/3');
    const other = await runCli([...TUNE, '--vary', 'batchSize=[8]', '--resume'], { cwd });
    expect(other.stderr).toContain('error[E_TUNE_RESUME]: search is a search of other values');
  });

  it('trials that cannot be trained are told of, and the others go on', async () => {
    const cwd = tableRun({ epochs: 1 });
    const vary = ['--vary', 'model.layers.0.units=[0, 4]', '--method', 'grid'];
    const { stdout, stderr, exitCode } = await runCli([...TUNE, ...vary], { cwd });
    const { bestTrial, trials } = JSON.parse(stdout) as TuneResult;
    expect([exitCode, bestTrial, ...trials.map(({ state }) => state)]).toEqual([0, 2, 'failed', 'finished']);
    expect(stderr).toContain('model.layers.0.units');
    const none = await runCli(
      [...TUNE.slice(0, 4), '--run-dir', 'none', '--vary', 'epochs=[0]', '--method', 'grid'],
      { cwd },
    );
    expect(none).toMatchObject({ exitCode: 1 });
    expect(none.stderr).toContain('error[E_TUNE_FAILED]: no trial of 1 could be trained');
  });

  it.each([
    [[], 'error[E_TUNE_VALUES]: there is nothing to vary'],
    [['--vary', 'a=[1]', '--resume'], 'error[E_FLAG_UNUSED]: --resume requires --run-dir'],
    [
      ['--vary', 'a=[1]', '--set', 'data.split.validation=0'],
      'error[E_TUNE_VALIDATION]: table has no validation',
    ],
  ])('the flags %j are refused', async (flags, message) => {
    const cwd = tableRun();
    const result = await runCli(['tune', 'table.yaml', ...flags], { cwd });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(message);
    expect(fs.readdirSync(cwd).sort()).toEqual(['table.csv', 'table.yaml']);
  });
});
