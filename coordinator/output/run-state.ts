// Whether the run in a directory is over, going on, or interrupted, as its files tell.
import fs from 'node:fs';
import { hasLiveOwner } from '../../src/checkpoint/run-lock.ts';
import { RunDirectory } from './run-directory.ts';

/** A finished run has its result; an interrupted one has none, and can resume if it has a checkpoint. */
export type RecordedState = 'running' | 'finished' | 'interrupted';

/** The state of a run. One whose owner is on another machine counts as running: this one cannot tell. */
export function stateOfRun(directory: string): RecordedState {
  const { summaryPath } = new RunDirectory(directory);
  if (fs.existsSync(summaryPath)) return 'finished';
  return hasLiveOwner(directory) ? 'running' : 'interrupted';
}
