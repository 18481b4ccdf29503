// The names in a directory of checkpoints, and what they say. A name holds everything that decides which
// file is the last one, which is the best one and which may go: no second file could say otherwise after a
// crash.
import fs from 'node:fs/promises';
import path from 'node:path';
import { LockstepError, systemErrorCode } from '../errors.ts';

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
  const generations = names.flatMap((name) => {
    const match = NAME.exec(name);
    return match
      ? [{ path: path.join(directory, name), step: Number(match[1]), isBest: match[2] !== undefined }]
      : [];
  });
  return generations.sort((a, b) => b.step - a.step);
}

/** The best one: each best replaces the one before it. `generations` come newest first. */
export function findBest(generations: readonly Generation[]): Generation | undefined {
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
  await fs.rename(generation.path, generation.path + ABANDONED);
}

/** Paths of what was taken out of the list. */
export async function listAbandoned(directory: string): Promise<string[]> {
  const names = await fs.readdir(directory);
  return names.filter((name) => name.endsWith(ABANDONED)).map((name) => path.join(directory, name));
}
