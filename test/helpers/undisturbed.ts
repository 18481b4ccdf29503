// The required result of a run that is disturbed: a run long enough for faults in the middle, and the hash
// of its weights without any.
import { expect } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import type { CliProcess } from './cli.ts';
import { trainInProcess } from './in-process-training.ts';
import type { Training } from './in-process-training.ts';
import { readRecords, readSummary } from './run-records.ts';
import { TABLE_CONFIG, tableRun } from './table-run.ts';

/** A command that trains `longRun`, and the directory of its results. */
export interface Run {
  readonly command: CliProcess;
  readonly directory: string;
}

/**
 * A directory with `table.yaml` and `table.csv`: 450 steps unless told otherwise, of which 15 make
 * an epoch. After each epoch averaged weights take the place of those that training moves, which
 * then come back: versions that no step made.
 */
export function longRun(values: Partial<ConfigInput> = {}): string {
  const data = { ...TABLE_CONFIG.data, split: { test: 0 } };
  return tableRun({ epochs: 30, data, clip: { norm: 0.5 }, ema: { decay: 0.99 }, ...values });
}

/**
 * Asserts that the run ends well, with the weights of a run to which nothing happened, and the loss
 * of every step of it. `values` are those of `longRun`.
 */
export async function expectUndisturbedEnd(
  { command, directory }: Run,
  values: Partial<ConfigInput> = {},
): Promise<void> {
  const { exitCode, stdout, stderr } = await command.finished;
  expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: '' });
  expect(stderr).not.toMatch(/unhandled|uncaught/i);
  const key = JSON.stringify(values);
  const expected = undisturbed.get(key) ?? trainInProcess(longRun(values));
  undisturbed.set(key, expected);
  const { weightsSha256, steps } = await expected;
  expect(readSummary(directory).weightsSha256).toBe(weightsSha256);
  const losses = readRecords(directory, 'metrics.jsonl').flatMap((record) => record['train/stepLoss'] ?? []);
  expect(losses).toEqual(steps.map(({ loss }) => loss));
}

const undisturbed = new Map<string, Promise<Training>>();
