// A run with two workers of its own that meet a failpoint, short enough to be repeated for many of them.
import path from 'node:path';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess } from './cli.ts';
import { longRun } from './undisturbed.ts';
import type { Run } from './undisturbed.ts';

/** 30 steps of 267,521 parameters, which travel in three pieces. */
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

/** Starts it; `failpoint` holds for every process of the run. */
export function startFailing(failpoint: string): Run {
  const cwd = longRun(FAILPOINT_RUN);
  const directory = path.join(cwd, 'run');
  const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', directory];
  return { command: CliProcess.start(args, { cwd, env: { LOCKSTEP_FAILPOINT: failpoint } }), directory };
}
