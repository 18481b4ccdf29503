// A run with two local workers that meet a failpoint, short enough to be repeated for many failpoints.
import path from 'node:path';
import { expect } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess } from './cli.ts';
import { readRosterEvents } from './run-records.ts';
import { expectUndisturbedEnd, longRun } from './undisturbed.ts';
import type { Run } from './undisturbed.ts';

/** 30 steps of 267,521 parameters, which travel in three buckets. */
export const FAILPOINT_RUN: Partial<ConfigInput> = {
  epochs: 2,
  model: {
    layers: [
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 512, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
};

/** The notice of a worker process that died at its failpoint. */
export const KILLED = /worker \d+ \(pid \d+\) ended: SIGKILL; starting it again/;

/** Starts the run; `failpoint` applies to every process of it. */
export function startFailing(failpoint: string, values = FAILPOINT_RUN): Run {
  const cwd = longRun(values);
  const directory = path.join(cwd, 'run');
  const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', directory];
  return { command: CliProcess.start(args, { cwd, env: { LOCKSTEP_FAILPOINT: failpoint } }), directory };
}

/**
 * Asserts that a worker is lost to the failpoint, as `told` on stderr, and that the run ends as if it had not
 * been.
 */
export async function expectSurvived(failpoint: string, told: RegExp, values = FAILPOINT_RUN): Promise<void> {
  const run = startFailing(failpoint, values);
  await expectUndisturbedEnd(run, values);
  expect(run.command.stderr).toMatch(told);
  expect(readRosterEvents(run.directory).slice(0, 3)).toContainEqual(
    expect.stringMatching(/^workerLeft [12]$/),
  );
}
