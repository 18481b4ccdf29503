// The start of a run, from the beginning or a checkpoint, and everything that lets it
// resume later or roll back.
import type { RunDirectory } from '../output/run-directory.ts';
import type { ResumePoint } from '../output/run-recorder.ts';
import { Checkpointer } from './checkpointer.ts';
import { readSource, restoreCheckpoint } from './resume.ts';
import type { ResumeSource } from './resume.ts';
import { Rollback, THE_BEGINNING } from './rollback.ts';
import { runIdentity } from './run-identity.ts';
import { checkpointBytes } from '../training/memory-plan.ts';
import { initialState } from '../training/prepare.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { stepsPerEpoch } from '../training/train.ts';
import { FIRST_PROGRESS, stepsDone } from '../training/training-progress.ts';
import type { TrainingProgress } from '../training/training-progress.ts';
import type { TrainingState } from '../training/training-state.ts';
import { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import type { SavedCheckpoint } from '../../src/checkpoint/checkpoint-store.ts';
import { LockstepError } from '../../src/errors.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import type { Logger } from '../../src/log.ts';
import { Memory } from '../../src/memory.ts';

/** The parts that a run starts with. */
export interface RunStartOptions {
  readonly directory: RunDirectory;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  /** The run or checkpoint to resume from; undefined for a run that begins. */
  readonly source: ResumeSource | undefined;
  readonly allowOlder: boolean | undefined;
  /** `performance.now()` of the session's start. */
  readonly startedMs: number;
  readonly log: Logger;
}

/** The point at which a run starts, and the means to save it and to roll it back. */
export interface RunStart {
  readonly progress: TrainingProgress;
  /** The point that the run resumes from; undefined for a run that begins. */
  readonly resumed: ResumePoint | undefined;
  /** Undefined where the config asks for no checkpoints. */
  readonly checkpointer: Checkpointer | undefined;
  readonly rollback: Rollback;
  /** Time that the run has taken so far, in all sessions. */
  readonly wallSeconds: () => number;
  /**
   * Called when a checkpoint is on the disk, and when the run was rolled back; both do
   * nothing until they are set.
   */
  onSaved: (saved: SavedCheckpoint) => void;
  onRolledBack: (point: ResumePoint) => void;
}

/**
 * Restores the state that the run starts from.
 * @throws LockstepError (exit 4) for a source that it cannot resume from.
 */
export async function startOrResume(options: RunStartOptions): Promise<RunStart> {
  const { directory, prepared, state, source, allowOlder, startedMs, log } = options;
  const { audit, checkpoint, name } = prepared.config;
  const store = await CheckpointStore.open({
    directory: directory.checkpointsPath,
    numKept: checkpoint ? checkpoint.keep : 1,
    byteLength: checkpointBytes(prepared),
    logger: log,
    beforeChange: directory.requireSurely,
    onSaved: (written) => start.onSaved(written),
  });
  const identity = runIdentity(prepared);
  const initialFingerprint = state.fingerprint;
  const perEpoch = stepsPerEpoch(prepared);
  const found =
    source && (await readSource(source, { allowOlder, warn: (fields, text) => log.warn(fields, text) }));
  const manifest = found && restoreCheckpoint(found, state, { identity, stepsPerEpoch: perEpoch });
  const progress = manifest?.progress ?? FIRST_PROGRESS;
  const secondsBefore = manifest?.wallSeconds ?? 0;
  const wallSeconds = (): number => secondsBefore + (performance.now() - startedMs) / 1000;
  const pointAt = (reached: TrainingProgress, from: string): ResumePoint => ({
    step: stepsDone(reached, perEpoch),
    epochs: reached.history.length,
    from,
    wallSeconds: wallSeconds(),
  });
  // A run that begins again drops the records of its first attempt, as one that resumes drops later ones.
  const resumed = source && pointAt(progress, found?.path ?? THE_BEGINNING);
  if (found) await store.continueFrom(found.step);
  const saved = { name, identity, stepsPerEpoch: perEpoch, state, store, start: progress, wallSeconds };
  const checkpointer = checkpoint ? new Checkpointer({ config: checkpoint, ...saved }) : undefined;
  const onDone = (reached: TrainingProgress, from: string): void => {
    checkpointer?.wentBack(reached);
    start.onRolledBack(pointAt(reached, from));
  };
  const rollback = new Rollback({
    policy: audit.onLie,
    state,
    identity,
    stepsPerEpoch: perEpoch,
    store,
    source: found?.path,
    recreateInitial: () => recreateInitial(prepared, initialFingerprint),
    log,
    onDone,
  });
  const start: RunStart = {
    progress,
    resumed,
    checkpointer,
    rollback,
    wallSeconds,
    onSaved: () => undefined,
    onRolledBack: () => undefined,
  };
  return start;
}

/**
 * Makes the initial state once more, in a memory that nobody keeps.
 * @throws LockstepError (exit 4) if `model.init` has changed meanwhile
 */
async function recreateInitial(prepared: PreparedRun, fingerprint: string): Promise<TrainingState> {
  const memory = new Memory();
  const kernels = await instantiateKernels(prepared.kernelModule, memory.wasm);
  const state = await initialState({ ...prepared, kernels, memory });
  if (state.fingerprint === fingerprint) return state;
  throw new LockstepError({
    category: 'checkpoint',
    code: 'E_INIT_WEIGHTS',
    message: `model.init ${prepared.config.model.init} has changed since the run began, and the run has to start over`,
    help: 'start a new run',
  });
}
