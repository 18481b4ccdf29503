// The checkpoints in a directory, and the one of them to resume from. Only reads: the
// directory may be another run's.
import fs from 'node:fs/promises';
import path from 'node:path';
import { readCheckpoint } from './checkpoint-file.ts';
import type { Checkpoint } from './checkpoint-file.ts';
import { renameFile } from '../durable-write.ts';
import { LockstepError, systemErrorCode } from '../errors.ts';

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
      `the checkpoint of step ${newest.step} cannot be used (${error.message}): resuming from that of step ${whole.step}`,
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
    ? `step ${newest.step} is lost; the checkpoint of step ${older.step} is whole: add --allow-older to resume from it`
    : `step ${newest.step} is lost, and there is no older checkpoint that is whole`;
  return new LockstepError({ category: 'checkpoint', code: 'E_CHECKPOINT', message, help, cause });
}

/** A checkpoint in the directory, by its name alone. */
export interface Generation {
  readonly path: string;
  readonly step: number;
  readonly isBest: boolean;
}

/** Wide enough that names sort as steps do in most runs; longer numbers are read, too. */
const STEP_DIGITS = 9;

const NAME = /^step-(\d{9,15})(-best)?\.safetensors$/;

/** The end of the name of a checkpoint that a run abandoned by resuming from an older one. */
const ABANDONED = '.abandoned';

/**
 * `step-000000120.safetensors`; `step-000000120-best.safetensors` where it was the best of the run so far.
 */
export function generationName({ step, isBest }: Pick<Generation, 'step' | 'isBest'>): string {
  return `step-${String(step).padStart(STEP_DIGITS, '0')}${isBest ? '-best' : ''}.safetensors`;
}

/** The checkpoint that a path, or the key of an object, names; undefined for any other file. */
export function generationOf(file: string): Generation | undefined {
  const [, step, best] = NAME.exec(path.basename(file)) ?? [];
  return step === undefined ? undefined : { path: file, step: Number(step), isBest: best !== undefined };
}

/**
 * The checkpoints in a directory, the newest first; none where there is no directory. @throws
 * LockstepError (exit 4)
 */
export async function listGenerations(directory: string): Promise<Generation[]> {
  const names = await fs.readdir(directory).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return [];
    const message = `cannot look for checkpoints: ${(error as Error).message}`;
    throw new LockstepError({ category: 'checkpoint', code: 'E_NO_CHECKPOINT', message, cause: error });
  });
  const generations = names.flatMap((name) => generationOf(path.join(directory, name)) ?? []);
  return generations.sort((a, b) => b.step - a.step);
}

/** The best one: each best replaces the one before it. `generations` come newest first. */
function findBest(generations: readonly Generation[]): Generation | undefined {
  return generations.find(({ isBest }) => isBest);
}

/**
 * The checkpoints that may go: neither among the `numKept` newest nor the best. `generations` come
 * newest first.
 */
export function findSuperseded(generations: readonly Generation[], numKept: number): Generation[] {
  const best = findBest(generations);
  return generations.slice(numKept).filter((generation) => generation !== best);
}

/** Takes a checkpoint out of the list; its data stay until a newer one is safe. */
export async function abandon(generation: Generation): Promise<void> {
  await renameFile(generation.path, generation.path + ABANDONED);
}

/** Paths of what was taken out of the list. */
export async function listAbandoned(directory: string): Promise<string[]> {
  const names = await fs.readdir(directory);
  return names.filter((name) => name.endsWith(ABANDONED)).map((name) => path.join(directory, name));
}
