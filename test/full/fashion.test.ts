// All of Fashion-MNIST, as a user would train it. A minute of work, so it has a tier of its own.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { CliProcess, ROOT } from '../helpers/cli.ts';

const CONFIG = path.join(ROOT, 'examples/fashion/fashion-full.yaml');
const IMAGES = '/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz';
const DEADLINE_MS = 400_000;

test.skipIf(!fs.existsSync(IMAGES))(
  'the MLP 784-256-128-10 reaches a test accuracy of 0.88 in 10 epochs (needs the Debian package dataset-fashion-mnist)',
  async () => {
    const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-fashion-'));
    onTestFinished(() => fs.rmSync(cwd, { recursive: true }));
    const command = CliProcess.start(['train', CONFIG, '--workers', '2', '--json'], {
      cwd,
      deadlineMs: DEADLINE_MS,
    });
    const { exitCode, stdout, stderr } = await command.finished;
    expect(exitCode, stderr).toBe(0);
    const { test: tested, samplesSeen } = JSON.parse(stdout) as Summary;
    expect(samplesSeen).toBe(10 * 54_000);
    expect(tested).toHaveProperty('accuracy');
    if (tested && 'accuracy' in tested) expect(tested.accuracy).toBeGreaterThanOrEqual(0.88);
  },
  DEADLINE_MS,
);
