// Everything that the bits of a run depend on, besides its steps. A checkpoint holds it, so that a
// run which would result in other bits is refused before it resumes, by the name of what differs.
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Config } from '../../src/config/schema.ts';
import { LockstepError, quoteValue } from '../../src/errors.ts';
import { NUMERICS } from '../../src/kernels/kernels.ts';
import { updateHash } from '../../src/sha256.ts';
import { dependsOnLength, scheduleSchema } from '../../src/schedule/schedule.ts';
import type { PreparedRun } from '../training/prepare.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** The format of the identity in a checkpoint. */
export const runIdentitySchema = z.strictObject({
  numerics: z.enum(NUMERICS),
  /** SHA-256 of the kernels' WebAssembly. */
  kernels: sha256,
  /** SHA-256 of all samples, as they were encoded. */
  dataset: sha256,
  /** SHA-256 of the rows that make up each split. */
  splits: sha256,
  /** The fields of the config that reach the weights, or how many epochs there are. */
  config: z.record(z.string(), z.unknown()),
});

export type RunIdentity = z.output<typeof runIdentitySchema>;

/** The identity of a run that is ready to train. */
export function runIdentity({ config, data, kernelModule, model }: PreparedRun): RunIdentity {
  const splits = createHash('sha256');
  for (const name of ['train', 'validation', 'test'] as const) {
    const indices = data.splits[name];
    splits.update(`${name} ${indices.length}\n`);
    updateHash(splits, indices);
  }
  return {
    numerics: config.numerics,
    kernels: kernelModule.sha256,
    dataset: data.dataset.sha256,
    splits: splits.digest('hex'),
    // As JSON would hold it, so that what was read from a file compares equal.
    config: JSON.parse(JSON.stringify({ ...fieldsOf(config), layers: model.spec.layers })) as Record<
      string,
      unknown
    >,
  };
}

/**
 * Refuses a run that would not result in the bits of the one that left `saved` in
 * the file at `path`. More epochs than it was to have are fine, unless its learning
 * rates depend on their number.
 * @throws LockstepError (exit 4) that names what differs.
 */
export function requireSameRun(saved: RunIdentity, current: RunIdentity, path: string): void {
  const differences = [
    ...configDifferences(saved.config, current.config),
    ...difference('numerics', saved.numerics, current.numerics),
    ...difference('kernels', short(saved.kernels), short(current.kernels)),
    ...difference('data', short(saved.dataset), short(current.dataset)),
    ...difference('rows of the splits', short(saved.splits), short(current.splits)),
  ];
  if (differences.length === 0) return;
  throw new LockstepError({
    category: 'checkpoint',
    code: 'E_RESUME_MISMATCH',
    message: `${path} belongs to a run that results in other bits: ${differences.slice(0, MAX_NAMED).join('; ')}`,
    help: 'resume with the config, data and version of Lockstep that the run began with, or start a new run',
  });
}

/** Differences that an error names; the first ones tell enough. */
const MAX_NAMED = 5;

/**
 * Names, paths, records and checkpoints are left out: a run may move house, and
 * be watched in another way.
 */
function fieldsOf(config: Config): Partial<Config> & { readonly shuffle: boolean } {
  const { seed, loss, optimizer, schedule, clip, ema, earlyStopping, batchSize, shards, wire, epochs } =
    config;
  const { shuffle } = config.data;
  return {
    seed,
    shuffle,
    loss,
    optimizer,
    schedule,
    clip,
    ema,
    earlyStopping,
    batchSize,
    shards,
    wire,
    epochs,
  };
}

function configDifferences(saved: Fields, current: Fields): string[] {
  const fields = [...new Set([...Object.keys(saved), ...Object.keys(current)])];
  return fields.flatMap((field) => {
    if (field === 'epochs' && mayTrainLonger(saved, current)) return [];
    return differencesIn(field, saved[field], current[field]);
  });
}

type Fields = Readonly<Record<string, unknown>>;

function mayTrainLonger(saved: Fields, current: Fields): boolean {
  const schedule = scheduleSchema.safeParse(current['schedule']);
  const isLonger = Number(current['epochs']) >= Number(saved['epochs']);
  return isLonger && schedule.success && !dependsOnLength(schedule.data);
}

/** Lists differences by key path, down to the values. */
function differencesIn(path: string, saved: unknown, current: unknown): string[] {
  if (!isObject(saved) || !isObject(current)) return difference(path, saved, current);
  const keys = [...new Set([...Object.keys(saved), ...Object.keys(current)])];
  return keys.flatMap((key) => differencesIn(`${path}.${key}`, saved[key], current[key]));
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null;
}

function difference(what: string, saved: unknown, current: unknown): string[] {
  if (isDeepStrictEqual(saved, current)) return [];
  return [`${what}: ${show(current)} now, ${show(saved)} then`];
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  return quoteValue(isObject(value) ? JSON.stringify(value) : value);
}

function short(hash: string): string {
  return hash.slice(0, 12);
}
