// What a run must come to whatever happens to it: a run long enough for something to happen in its middle, and the
// hash of its weights when nothing does.
import { expect } from 'vitest';
import type { CliProcess } from './cli.ts';
import { trainInProcess } from './in-process-training.ts';
import type { Training } from './in-process-training.ts';
import { readSummary } from './run-records.ts';
import { TABLE_CONFIG, tableRun } from './table-run.ts';

/** A command that trains what `longRun` holds, and where it puts its results. */
export interface Run {
  readonly command: CliProcess;
  readonly directory: string;
}

/**
 * A directory with `table.yaml` and `table.csv`: 450 steps, of which 15 make an epoch. After each epoch averaged
 * weights take the place of those that training moves, which then come back: versions that no step made.
 */
export function longRun(): string {
  const data = { ...TABLE_CONFIG.data, split: { test: 0 } };
  return tableRun({ epochs: 30, data, clip: { norm: 0.5 }, ema: { decay: 0.99 } });
}

/** Asserts that the run ends well, with the weights of a run to which nothing happened. */
export async function expectUndisturbedEnd({ command, directory }: Run): Promise<void> {
  expect(await command.finished).toMatchObject({ exitCode: 0, stdout: '' });
  undisturbed ??= trainInProcess(longRun());
  expect(readSummary(directory).weightsSha256).toBe((await undisturbed).weightsSha256);
}

let undisturbed: Promise<Training> | undefined;
