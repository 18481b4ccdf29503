// The example that uses the engine without the command line arrives at the same weights as the command line.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { ROOT, runCli } from '../helpers/cli.ts';
import { hashSavedWeights } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/table-run.ts';

it('training with the engine alone gives the same bits as the command line', async () => {
  const cwd = temporaryDirectory();
  const example = path.join(ROOT, 'examples/in-process/train.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [example, '1'], { cwd });
  const config = path.join(ROOT, 'examples/house/house.yaml');
  await runCli(['train', config, '--set', 'epochs=1', '--workers', '1', '--run-dir', 'run'], { cwd });
  expect(stdout).toMatch(/^epoch 1 {2}loss 0\.\d{4}\nweights sha256 [0-9a-f]{64}\n$/);
  expect(stdout).toContain(`weights sha256 ${hashSavedWeights(path.join(cwd, 'run'))}\n`);
});
