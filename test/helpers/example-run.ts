// The package as a user has it, installed from its tarball (test/installed-package.ts), and its examples.
import path from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, inject } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { runCli } from './cli.ts';
import type { CliOptions, CliResult } from './cli.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** Longest time of such a training. */
export const EXAMPLE_DEADLINE_MS = 1_200_000;
/** The images of Fashion-MNIST, where the Debian package dataset-fashion-mnist has put them. */
export const FASHION_IMAGES = '/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz';

/** A file of the installed package. */
export function installedFile(name: string): string {
  return path.join(inject('project'), 'node_modules/lockstep', name);
}

/** Runs the installed command line. */
export function runInstalled(args: readonly string[], options: CliOptions): Promise<CliResult> {
  return runCli(args, { ...options, program: installedFile('dist/bin/lockstep.js') });
}

/** Runs a program of `examples/`; resolves to its stdout. */
export async function runExample(name: string, args: readonly string[], cwd: string): Promise<Buffer> {
  const program = installedFile(path.join('examples', name));
  const options = { cwd, encoding: 'buffer' } as const;
  return (await promisify(execFile)(process.execPath, [program, ...args], options)).stdout;
}

/** Trains a config of `examples/` for so many epochs. */
export async function trainExample(
  name: string,
  epochs: number,
  flags: readonly string[] = [],
): Promise<Summary> {
  const config = installedFile(path.join('examples', name));
  const args = ['train', config, '--set', `epochs=${epochs}`, ...flags, '--json'];
  const options = { cwd: temporaryDirectory(), deadlineMs: EXAMPLE_DEADLINE_MS };
  const { exitCode, stdout, stderr } = await runInstalled(args, options);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as Summary;
}
