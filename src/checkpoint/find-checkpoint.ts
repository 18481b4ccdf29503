// Finds the checkpoint in a directory to resume from. Only reads: the directory may be another run's.
import { LockstepError } from '../errors.ts';
import { findBest, generationName, listGenerations, type Generation } from './generations.ts';
import { readCheckpoint, type Checkpoint } from './read-checkpoint.ts';

/** The treatment of a newest checkpoint that is damaged. */
export interface FindOptions {
  /** Take the newest whole one instead of refusing. */
  readonly allowOlder?: boolean | undefined;
  /** Told of a checkpoint that was passed over. */
  readonly warn: (fields: object, message: string) => void;
}

/**
 * The newest checkpoint; undefined if there is none. Where it is damaged, the newest whole one is named
 * or, with `allowOlder`, read, with a warning. @throws LockstepError (exit 4)
 */
export async function readLast(
  directory: string,
  { allowOlder = false, warn }: FindOptions,
): Promise<Checkpoint | undefined> {
  const [newest, ...older] = await listGenerations(directory);
  if (!newest) return undefined;
  try {
    return await readGeneration(newest);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    const whole = await findWhole(older);
    if (!whole || !allowOlder) throw damaged(newest, whole, error);
    warn(
      { damaged: newest.step, step: whole.step },
      `the checkpoint of step ${newest.step} cannot be used (${error.message}): going on from that of step ${whole.step}`,
    );
    return whole;
  }
}

/**
 * The best checkpoint of the run; undefined if there is none.
 *
 * @throws LockstepError (exit 4) if it is damaged
 */
export async function readBest(directory: string): Promise<Checkpoint | undefined> {
  const best = findBest(await listGenerations(directory));
  return best && readGeneration(best);
}

/** Reads a checkpoint that must be the one its name says. */
async function readGeneration(generation: Generation): Promise<Checkpoint> {
  const checkpoint = await readCheckpoint(generation.path);
  if (checkpoint.step === generation.step && checkpoint.isBest === generation.isBest) return checkpoint;
  throw new LockstepError({
    category: 'checkpoint',
    code: 'E_CHECKPOINT',
    message: `${generation.path}: renamed; it was written as ${generationName(checkpoint)}`,
  });
}

async function findWhole(generations: readonly Generation[]): Promise<Checkpoint | undefined> {
  for (const generation of generations) {
    try {
      return await readGeneration(generation);
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
    }
  }
  return undefined;
}

function damaged(
  newest: Generation,
  older: Checkpoint | undefined,
  { message, cause }: LockstepError,
): LockstepError {
  const help = older
    ? `step ${newest.step} is lost; the checkpoint of step ${older.step} is whole: add --allow-older to go on from it`
    : `step ${newest.step} is lost, and there is no older checkpoint that is whole`;
  return new LockstepError({ category: 'checkpoint', code: 'E_CHECKPOINT', message, help, cause });
}
