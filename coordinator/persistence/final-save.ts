// Everything that a run saves at its end: the model and the last checkpoint or, of a run that ends
// early, what it has reached.
import path from 'node:path';
import { writeResultFile } from '../output/results.ts';
import type { RunDirectory } from '../output/run-directory.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { describeSaved } from '../training/run-descriptions.ts';
import type { TrainingState } from '../training/training-state.ts';
import { LockstepError } from '../../src/errors.ts';
import type { BeforeChange } from '../../src/line-file.ts';
import type { Logger } from '../../src/log.ts';
import { DESCRIPTION_FILE, encodeDescription, WEIGHTS_FILE } from '../../src/predict/model-files.ts';
import { shellWord } from '../../src/printable.ts';
import type { Checkpointer } from './checkpointer.ts';
import { encodeWeights } from './snapshot.ts';

/** A run at its end, and where it saves. */
export interface EndingRun {
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  /** Undefined where the config asks for no checkpoints. */
  readonly checkpointer: Checkpointer | undefined;
  readonly directory: RunDirectory;
  readonly log: Logger;
}

/**
 * Saves a finished run: the model, even if the last checkpoint cannot be saved; and after it, since
 * a checkpoint in flight takes the space that the model needs.
 * @throws LockstepError (exit 4) if one of them could not be saved
 */
export async function saveFinished(run: EndingRun): Promise<void> {
  const [checkpoint] = await Promise.allSettled([run.checkpointer?.finish()]);
  await saveRunModel(run);
  if (checkpoint.status === 'rejected') throw checkpoint.reason;
}

/**
 * Saves what a run that ends early has reached: its progress, and the best weights of its finished
 * epochs. Resolves to whether the run can resume later.
 * @param reason the error that ended the run
 */
export async function saveUnfinished(run: EndingRun, reason: unknown): Promise<boolean> {
  const { checkpointer, directory, log, state } = run;
  const isSaved = async (save: () => Promise<void>): Promise<boolean> => {
    try {
      await save();
      return true;
    } catch (error) {
      // What ended the run is what the user must hear about; this comes on top, unless it is the same.
      const { message } = error as Error;
      const isNew = message !== (reason as Error | undefined)?.message;
      if (isNew) log.error(`could not save what the run had reached: ${message}`);
      return false;
    }
  };
  // Nobody wants to resume from weights that diverge.
  const canResume = checkpointer && !(reason instanceof LockstepError && reason.category === 'diverged');
  if (
    canResume &&
    (await isSaved(() => checkpointer.finish())) &&
    (await checkpointer.hasSaved().catch(() => false))
  ) {
    log.info(`to resume, give the same command with --resume last --run-dir ${shellWord(directory.path)}`);
  }
  if (state.hasBest) {
    state.setCurrent('best');
    const isKept = await isSaved(() => saveRunModel(run));
    if (isKept) log.info(`the best weights so far are in ${directory.modelPath}`);
  }
  return canResume ?? false;
}

async function saveRunModel({ directory, log, prepared, state }: EndingRun): Promise<void> {
  await saveModel(directory.modelPath, prepared, state, directory.requireSurely);
  directory.becomeLatest((message) => log.warn(message));
}

/**
 * Writes `model.safetensors` (PyTorch's layout and names of a Sequential) and `config.json` (layers, fitted
 * transforms, names of features, targets and classes) into `directory`.
 * @throws LockstepError (exit 4) if the disk refuses one of them.
 */
export async function saveModel(
  directory: string,
  { config, data }: Pick<PreparedRun, 'config' | 'data'>,
  state: TrainingState,
  beforeChange?: BeforeChange,
): Promise<void> {
  const { model } = state;
  const weightsSha256 = state.weightsSha256();
  await writeResultFile(
    path.join(directory, WEIGHTS_FILE),
    encodeWeights(state, weightsSha256),
    beforeChange,
  );
  const description = encodeDescription(describeSaved({ config, data, model }, weightsSha256));
  await writeResultFile(path.join(directory, DESCRIPTION_FILE), description, beforeChange);
}
