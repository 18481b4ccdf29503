// `lockstep replay`: takes a step of a run again, in this process, from the newest checkpoint
// before the step or from the beginning, and compares the weights with those that the run recorded.
import fs from 'node:fs';
import { listGenerations } from '../../src/checkpoint/find-checkpoint.ts';
import { readCheckpoint } from '../../src/checkpoint/checkpoint-file.ts';
import { loadConfig } from '../../src/config/load.ts';
import { LockstepError } from '../../src/errors.ts';
import { exampleBeside } from '../../src/predict/load-model.ts';
import { UnreadableFile } from '../../src/regular-file.ts';
import { InProcessCompute } from '../training/in-process-compute.ts';
import { RunDirectory } from '../output/run-directory.ts';
import { readRecords } from '../../src/line-file.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { restoreCheckpoint } from '../persistence/resume.ts';
import { runIdentity } from '../persistence/run-identity.ts';
import { stepsPerEpoch, trainUntil } from '../training/train.ts';
import type { StepRecord } from '../training/train.ts';
import { FIRST_PROGRESS, stepsDone } from '../training/training-progress.ts';
import type { TrainingProgress } from '../training/training-progress.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The result of taking a step again. */
export interface Replay {
  readonly step: number;
  /** The step after which the recomputation began; 0 for the beginning. */
  readonly from: number;
  /** Fingerprints of the weights after the step. */
  readonly recorded: string;
  readonly recomputed: string;
  /** The first of the recomputed steps whose weights differ. */
  readonly firstDifference?: number | undefined;
}

/**
 * Takes step `step` (from 1) of the run in `directory` again.
 * @throws LockstepError for a run without that step, without its data, or of other kernels.
 */
export async function replayStep(
  directory: string,
  step: number,
  warn: (message: string) => void,
): Promise<Replay> {
  const run = new RunDirectory(directory);
  const recorded = readFingerprints(run);
  const wanted = recorded.get(step);
  if (wanted === undefined) throw notRecorded(run, step, recorded);
  const { config } = await loadConfig({ path: run.configPath, env: {} });
  const prepared = await prepareRun(config, warn, { local: { workers: 0, threads: 1 } });
  const state = await initialState(prepared);
  const progress = await startBefore(step, { run, prepared, state, warn });
  const compute = await InProcessCompute.create(prepared, state);
  let recomputed = '';
  let firstDifference: number | undefined;
  const onStep = (record: StepRecord): void => {
    // A run that resumed from another one's checkpoint has no record of the steps before.
    const expected = recorded.get(record.step) ?? record.fingerprint;
    if (expected !== record.fingerprint) firstDifference ??= record.step;
    recomputed = record.fingerprint;
  };
  const observer = { onStep, onEpoch: () => undefined };
  const { signal } = new AbortController();
  await trainUntil({ ...prepared, state, compute, observer, signal }, progress, step);
  const from = stepsDone(progress, stepsPerEpoch(prepared));
  return { step, from, recorded: wanted, recomputed, firstDifference };
}

/**
 * Reads the recorded fingerprints by step. Of a step that was taken several times, because the run
 * was resumed, the last one counts.
 * @throws LockstepError where no run has recorded anything
 */
function readFingerprints({ path, eventsPath }: RunDirectory): Map<number, string> {
  const fingerprints = new Map<number, string>();
  try {
    for (const { type, step, weights } of readRecords(eventsPath)) {
      if (type === 'stepDone' && typeof step === 'number' && typeof weights === 'string') {
        fingerprints.set(step, weights);
      }
    }
  } catch (error) {
    if (error instanceof UnreadableFile) throw noRun(path, error);
    throw error;
  }
  return fingerprints;
}

/** Restores the newest checkpoint before the step that can be read. */
async function startBefore(
  step: number,
  {
    run,
    prepared,
    state,
    warn,
  }: {
    readonly run: RunDirectory;
    readonly prepared: PreparedRun;
    readonly state: TrainingState;
    readonly warn: (message: string) => void;
  },
): Promise<TrainingProgress> {
  const expected = { identity: runIdentity(prepared), stepsPerEpoch: stepsPerEpoch(prepared) };
  const generations = await listGenerations(run.checkpointsPath);
  for (const generation of generations.filter((candidate) => candidate.step < step)) {
    try {
      return restoreCheckpoint(await readCheckpoint(generation.path), state, expected).progress;
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
      warn(error.message);
    }
  }
  return FIRST_PROGRESS;
}

function noRun(directory: string, { code, message }: UnreadableFile): LockstepError {
  const isMissing = code === 'ENOENT' || code === 'ENOTDIR';
  const found = fs.existsSync(directory) ? 'no events.jsonl in it' : 'no such directory';
  const why = isMissing ? found : `events.jsonl: ${message}`;
  return new LockstepError({
    category: 'usage',
    code: 'E_NO_RUN',
    message: `${directory} holds no run: ${why}`,
    help: `name the directory of a run${exampleBeside(directory)}`,
  });
}

function notRecorded(run: RunDirectory, step: number, recorded: ReadonlyMap<number, string>): LockstepError {
  // Sorted, for a call takes no million arguments.
  const steps = [...recorded.keys()].sort((a, b) => a - b);
  const has = steps.length === 0 ? 'no steps' : `steps ${steps[0]} to ${steps.at(-1)}`;
  return new LockstepError({
    category: 'usage',
    code: 'E_REPLAY_STEP',
    message: `${run.eventsPath} has no step ${step}: it records ${has}`,
  });
}
