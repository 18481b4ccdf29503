// `--dry-run`: every check of a run that can be made before it takes any time or leaves a file behind.
import type { Config } from '../../src/config/schema.ts';
import { describePlan } from './describe-plan.ts';
import type { LocalCompute } from '../training/memory-plan.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import { findResumeSource, readSource, restoreCheckpoint } from '../persistence/resume.ts';
import { runIdentity } from '../persistence/run-identity.ts';
import { stepsPerEpoch } from '../training/train.ts';
import { stepsDone } from '../training/training-progress.ts';

/** The settings of a dry run: those of the run. */
export interface DryRunOptions {
  readonly config: Config;
  readonly runDirectory: string | undefined;
  readonly resume: string | undefined;
  readonly allowOlder: boolean;
  readonly local: LocalCompute | undefined;
  readonly warn: (message: string) => void;
}

/** Describes the plan of the run. @throws LockstepError for everything that the run would be refused for. */
export async function dryRun({ config, warn, ...options }: DryRunOptions): Promise<string> {
  const { allowOlder, local, resume, runDirectory } = options;
  const prepared = await prepareRun(config, warn, { local });
  const state = await initialState(prepared);
  if (resume === undefined) return describePlan(prepared);
  const source = await findResumeSource({ resume, runDirectory, name: config.name });
  const found = await readSource(source, { allowOlder, warn: (_, message) => warn(message) });
  const run = { identity: runIdentity(prepared), stepsPerEpoch: stepsPerEpoch(prepared) };
  const { progress } = restoreCheckpoint(found, state, run);
  const step = stepsDone(progress, run.stepsPerEpoch).toLocaleString('en-US');
  return `${describePlan(prepared)}resume   after step ${step}, from ${found.path}\n`;
}
