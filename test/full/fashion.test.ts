// All of Fashion-MNIST, as a user would train it. A minute of work, so it has a tier of its own.
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { CliProcess, ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const IMAGES = '/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz';
const DEADLINE_MS = 900_000;

test.skipIf(!fs.existsSync(IMAGES)).each([
  { model: 'MLP 784-256-128-10', config: 'fashion-full.yaml', flags: [], epochs: 10, accuracy: 0.88 },
  {
    model: 'CNN with two convolutions',
    config: 'cnn.yaml',
    flags: ['--workers', '2'],
    epochs: 5,
    accuracy: 0.9,
  },
])(
  'the $model reaches a test accuracy of $accuracy in $epochs epochs (needs the Debian package dataset-fashion-mnist)',
  async ({ config, flags, epochs, accuracy }) => {
    const cwd = temporaryDirectory();
    const file = path.join(ROOT, 'examples/fashion', config);
    const command = CliProcess.start(['train', file, ...flags, '--json'], {
      cwd,
      deadlineMs: DEADLINE_MS,
    });
    const { exitCode, stdout, stderr } = await command.finished;
    expect(exitCode, stderr).toBe(0);
    const { test: tested, samplesSeen } = JSON.parse(stdout) as Summary;
    expect(samplesSeen).toBe(epochs * 54_000);
    expect(tested).toHaveProperty('accuracy');
    if (tested && 'accuracy' in tested) expect(tested.accuracy).toBeGreaterThanOrEqual(accuracy);
  },
  DEADLINE_MS,
);
