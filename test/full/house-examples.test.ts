// The programs in examples/ that train on the houses, which result in the weights of the command line.
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { installedFile, runExample, runInstalled } from '../helpers/example-run.ts';
import { readSummary } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

/** The program's output for one epoch, and the summary of the same training by the command line. */
async function trainBoth(program: string): Promise<{ stdout: string; summary: Summary }> {
  const cwd = temporaryDirectory();
  const stdout = (await runExample(program, ['1'], cwd)).toString();
  const config = installedFile('examples/house/house.yaml');
  const values = ['epochs=1', 'plots=false'].flatMap((value) => ['--set', value]);
  const args = ['train', config, ...values, '--workers', '1', '--run-dir', 'run'];
  expect(await runInstalled(args, { cwd })).toMatchObject({ exitCode: 0 });
  return { stdout, summary: readSummary(path.join(cwd, 'run')) };
}

it('examples/api/train.mjs results in the weights of the command line by the typed API', async () => {
  const { stdout, summary } = await trainBoth('api/train.mjs');
  expect(stdout).toMatch(/^epoch 1 {2}loss 0\.\d{4}\n/);
  expect(stdout).toContain(`weights sha256 ${summary.weightsSha256}\n`);
  expect(stdout.match(/^predicted price: \$\d+$/gm)).toHaveLength(2);
  const r2 = (summary.test as { r2: number }).r2.toFixed(4);
  expect(stdout).toContain(`test/r2 ${r2}; equal to the run's: true\n`);
});

it('examples/in-process/train.mjs results in the weights of the command line by the engine alone', async () => {
  const { stdout, summary } = await trainBoth('in-process/train.mjs');
  expect(stdout).toMatch(/^epoch 1 {2}loss 0\.\d{4}\n/);
  expect(stdout).toContain(`\nweights sha256 ${summary.weightsSha256}\n`);
});
