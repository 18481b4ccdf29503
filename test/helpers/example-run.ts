// A training of an example by the command line, as a user would run it.
import path from 'node:path';
import { expect } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { ROOT, runCli } from './cli.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** Longest time of such a training. */
export const EXAMPLE_DEADLINE_MS = 1_200_000;
/** The images of Fashion-MNIST, where the Debian package dataset-fashion-mnist has put them. */
export const FASHION_IMAGES = '/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz';

/** Trains a config of `examples/` for so many epochs. */
export async function trainExample(
  name: string,
  epochs: number,
  flags: readonly string[] = [],
): Promise<Summary> {
  const config = path.join(ROOT, 'examples', name);
  const args = ['train', config, '--set', `epochs=${epochs}`, ...flags, '--json'];
  const options = { cwd: temporaryDirectory(), deadlineMs: EXAMPLE_DEADLINE_MS };
  const { exitCode, stdout, stderr } = await runCli(args, options);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as Summary;
}
