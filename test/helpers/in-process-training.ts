// A whole training in this process, with everything that it reports to an observer.
import path from 'node:path';
import { InProcessCompute } from '../../coordinator/training/in-process-compute.ts';
import { initialState, prepareRun } from '../../coordinator/training/prepare.ts';
import { restoreSnapshot, snapshotOf } from '../../coordinator/persistence/snapshot.ts';
import { train, trainUntil } from '../../coordinator/training/train.ts';
import type {
  EpochRecord,
  TrainingCheckpointer,
  StepRecord,
  StopRequest,
  TrainingResult,
  TrainingRollback,
} from '../../coordinator/training/train.ts';
import { FIRST_PROGRESS } from '../../coordinator/training/training-progress.ts';
import type { TrainingProgress } from '../../coordinator/training/training-progress.ts';
import type { TrainingState } from '../../coordinator/training/training-state.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { NamedTensor } from '../../src/safetensors.ts';

export interface Training {
  readonly result: TrainingResult;
  readonly steps: readonly StepRecord[];
  readonly epochs: readonly EpochRecord[];
  /** Saved states after every step and epoch, if requested. */
  readonly saved: readonly Saved[];
  readonly weightsSha256: string;
}

/** Everything needed to resume, as a checkpoint would hold it. */
export interface Saved {
  readonly progress: TrainingProgress;
  readonly optimizerSteps: number;
  readonly tensors: ReadonlyMap<string, NamedTensor>;
}

/** What happens to a training. */
export interface Disturbance {
  readonly stop?: StopRequest;
  readonly onStep?: (record: StepRecord) => void;
  readonly onEpoch?: (record: EpochRecord) => void;
  /** Tells whether the training goes back, once, to the first saved state. */
  readonly goesBack?: () => boolean;
}

const HERE = { workers: 0, threads: 1 };

/** Trains the config `table.yaml` in the directory, from the beginning or from a saved state. */
export async function trainInProcess(
  directory: string,
  {
    from,
    isSaving = false,
    stop,
    onStep,
    onEpoch,
    goesBack,
  }: Disturbance & { readonly from?: Saved; readonly isSaving?: boolean } = {},
): Promise<Training> {
  const { config } = await loadConfig({ path: path.join(directory, 'table.yaml'), env: {} });
  const prepared = await prepareRun(config, () => undefined, { local: HERE });
  const state = await initialState(prepared);
  if (from) restoreSnapshot(state, from.tensors, { step: from.optimizerSteps, path: 'memory' });
  const compute = await InProcessCompute.create(prepared, state);
  const steps: StepRecord[] = [];
  const epochs: EpochRecord[] = [];
  const observer = {
    onStep: (step: StepRecord) => {
      steps.push(step);
      onStep?.(step);
    },
    onEpoch: (epoch: EpochRecord) => {
      epochs.push(epoch);
      onEpoch?.(epoch);
    },
  };
  const saved: Saved[] = [];
  const checkpointer = isSaving ? saveInto(saved, state) : undefined;
  const signal = new AbortController().signal;
  const rollback = goesBack && goBackOnce(goesBack, saved, state);
  const run = { ...prepared, state, compute, observer, checkpointer, rollback, signal, stop };
  const result = await train(run, from?.progress);
  return { result, steps, epochs, saved, weightsSha256: state.weightsSha256() };
}

/** The chain of fingerprints after step `step` of `table.yaml`, as if it trained without end. */
export async function chainAfter(directory: string, step: number): Promise<string> {
  const overrides = ['epochs=500000'];
  const { config } = await loadConfig({ path: path.join(directory, 'table.yaml'), env: {}, overrides });
  const prepared = await prepareRun(config, () => undefined, { local: HERE });
  const state = await initialState(prepared);
  const compute = await InProcessCompute.create(prepared, state);
  let chain = '';
  const observer = { onStep: (record: StepRecord) => (chain = record.chain), onEpoch: () => undefined };
  const { signal } = new AbortController();
  await trainUntil({ ...prepared, state, compute, observer, signal }, FIRST_PROGRESS, step);
  return chain;
}

function goBackOnce(
  goesBack: () => boolean,
  saved: readonly Saved[],
  state: TrainingState,
): TrainingRollback {
  let isDone = false;
  return {
    get isNeeded() {
      return !isDone && goesBack();
    },
    rollBack: () => {
      isDone = true;
      const [{ tensors, optimizerSteps, progress }] = saved as [Saved];
      restoreSnapshot(state, tensors, { step: optimizerSteps, path: 'memory' });
      return Promise.resolve(progress);
    },
  };
}

function saveInto(saved: Saved[], state: TrainingState): TrainingCheckpointer {
  const save = (progress: TrainingProgress): void => {
    const tensors = snapshotOf(state).map(
      ({ name, shape, values }) => [name, { shape, values: values.slice() }] as const,
    );
    saved.push({
      progress: structuredClone(progress),
      optimizerSteps: state.step,
      tensors: new Map(tensors),
    });
  };
  return { afterStep: save, afterEpoch: save, beforeCut: save };
}
