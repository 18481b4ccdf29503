// Which rows belong to training, validation and test, by seed and fractions or by file; the order in which an
// epoch visits the training rows, and its batches. All are functions of config, seed and row counts alone.
import type { DataConfig } from '../../config/schema.ts';
import { configError } from '../../errors.ts';
import { targetsByteOffset, type PackedDataset, type SplitIndices } from './packed-dataset.ts';
import { sizeOf } from '../../shape.ts';
import { shuffledIndices } from '../../random.ts';
import { countOf } from '../../printable.ts';

const DEFAULT_TEST_SHARE = 0.1;
/** Fractions such as 0.7 + 0.2 + 0.1 miss 1 by a rounding error. */
const FRACTION_TOLERANCE = 1e-9;

/** Number of rows of each source, in the order of the dataset; 0 where a split has no file of its own. */
export interface SourceRows {
  /** Rows of the single file, or of the training file. */
  readonly train: number;
  readonly validation: number;
  readonly test: number;
}

/** Everything that the split depends on, besides the row counts. */
export interface SplitOptions {
  readonly split: DataConfig['split'];
  readonly seed: number;
  readonly shuffle: boolean;
  readonly batchSize: number;
  /** The word for a row in messages, if it is another one. */
  readonly noun?: string;
}

/**
 * Assigns rows to splits. Splits without a file are taken from the first source: its rows, in a seeded
 * order (file order if `shuffle` is off), are cut into train, validation, test and, if the fractions
 * leave some, unused rows. Each split lists its rows in ascending order.
 *
 * @throws LockstepError if a fraction above 0 gives no rows, or a batch does not fit the training
 * split.
 */
export function splitRows(sources: SourceRows, options: SplitOptions): SplitIndices {
  const { train, validation, test } = sizesOf(sources, options);
  const order = options.shuffle
    ? shuffledIndices(sources.train, { seed: options.seed, purpose: 'split', epoch: 0 })
    : range(0, sources.train);
  const validationFrom = sources.train;
  const testFrom = validationFrom + sources.validation;
  const cut = (from: number, length: number) => order.slice(from, from + length).sort();
  const splits = {
    train: cut(0, train),
    validation: sources.validation > 0 ? range(validationFrom, sources.validation) : cut(train, validation),
    test: sources.test > 0 ? range(testFrom, sources.test) : cut(train + validation, test),
  };
  requireBatch(train, sources.train, options);
  return splits;
}

/** The number of rows of the first source that each split takes. */
function sizesOf(sources: SourceRows, { split, noun = 'row' }: SplitOptions): SourceRows {
  const rows = sources.train;
  const validationShare = sources.validation > 0 ? 0 : split.validation;
  const testShare = sources.test > 0 ? 0 : (split.test ?? DEFAULT_TEST_SHARE);
  const validation = takeShare('validation', validationShare, rows, noun);
  const test = takeShare('test', testShare, rows, noun);
  const rest = rows - validation - test;
  const share = split.train ?? 1;
  const isWhole = share + validationShare + testShare > 1 - FRACTION_TOLERANCE;
  return { train: isWhole ? rest : Math.min(rest, roundHalfUp(rows * share)), validation, test };
}

function takeShare(name: string, fraction: number, rows: number, noun: string): number {
  const taken = roundHalfUp(rows * fraction);
  if (fraction > 0 && taken === 0) {
    const message = `${name} ${fraction} of ${countOf(rows, noun)} is 0 ${noun}s`;
    throw configError('E_CONFIG_SPLIT', message, `raise data.split.${name}, or set it to 0`);
  }
  return taken;
}

function roundHalfUp(value: number): number {
  return Math.floor(value + 0.5);
}

/** `from`, `from + 1`, ...: `length` of them. */
export function range(from: number, length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => from + index);
}

/**
 * Refuses fewer training rows than a batch has: `numRows`, which the split left of `numSource`.
 *
 * @throws LockstepError with the largest possible batch size
 */
export function requireBatch(
  numRows: number,
  numSource: number,
  { batchSize, noun = 'row' }: Pick<SplitOptions, 'batchSize' | 'noun'>,
): void {
  if (batchSize <= numRows) return;
  const where = numSource > numRows ? ` (the split leaves them of ${numSource})` : '';
  const message = `batchSize ${batchSize} > ${numRows} training ${noun}s${where}`;
  throw configError('E_CONFIG_BATCH_SIZE', message, `set batchSize to ${numRows} or less`);
}

/** The training rows in the order that `epoch` (from 0) visits them; in file order without shuffling. */
export function epochOrder(
  train: Uint32Array,
  { seed, epoch, shuffle }: { readonly seed: number; readonly epoch: number; readonly shuffle: boolean },
): Uint32Array {
  if (!shuffle) return train.slice();
  const order = shuffledIndices(train.length, { seed, purpose: 'order', epoch });
  return order.map((position) => train[position] as number);
}

/** Number of steps of an epoch; the last batch may be short, and is used. */
export function numBatches(numRows: number, batchSize: number): number {
  return Math.ceil(numRows / batchSize);
}

/** Bounds of the shards of an evaluation: `shardRows` rows each, and the rest in the last shard. */
export function evaluationBounds(numRows: number, shardRows: number): Uint32Array {
  const numShards = Math.ceil(numRows / shardRows);
  return Uint32Array.from({ length: numShards + 1 }, (_, shard) => Math.min(shard * shardRows, numRows));
}

// Finaliser constants of MurmurHash3, and its 32-bit block constants as two unlike multipliers.
const MIX_1 = 0x85ebca6b;

const MIX_2 = 0xc2b2ae35;

const MULTIPLIER_1 = 0xcc9e2d51;

const MULTIPLIER_2 = 0x1b873593;

/** A double holds 53 bits: all of one hash and the upper bits of the other. */
const KEPT_BITS = 21;

/** Test rows whose features and target equal those of some training row (by a 53-bit hash). */
export function countSharedRows(dataset: PackedDataset, splits: SplitIndices): number {
  const hashRow = rowHasher(dataset);
  const trained = Float64Array.from(splits.train, hashRow).sort();
  let numShared = 0;
  for (const row of splits.test) numShared += includesSorted(trained, hashRow(row)) ? 1 : 0;
  return numShared;
}

function rowHasher({ layout, blob }: PackedDataset): (row: number) => number {
  const featureBytes = sizeOf(layout.featureShape) * (layout.featureType === 'u8' ? 1 : 4);
  const targetBytes = layout.targetWidth * 4;
  const targetsFrom = targetsByteOffset(layout);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  let first = 0;
  let second = 0;
  const take = (word: number) => {
    first = Math.imul(rotate(first ^ word), MULTIPLIER_1);
    second = Math.imul(rotate(second + word), MULTIPLIER_2);
  };
  const takeBytes = (from: number, length: number) => {
    const end = from + length;
    let at = from;
    for (; at + 4 <= end; at += 4) take(view.getInt32(at, true));
    for (; at < end; at++) take(view.getUint8(at));
  };
  return (row) => {
    first = MULTIPLIER_1;
    second = MULTIPLIER_2;
    takeBytes(row * featureBytes, featureBytes);
    takeBytes(targetsFrom + row * targetBytes, targetBytes);
    return finishHash(first) * 2 ** KEPT_BITS + (finishHash(second) >>> (32 - KEPT_BITS));
  };
}

function rotate(word: number): number {
  return (word << 15) | (word >>> 17);
}

function finishHash(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), MIX_1);
  mixed = Math.imul(mixed ^ (mixed >>> 13), MIX_2);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function includesSorted(sorted: Float64Array, wanted: number): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return sorted[low] === wanted;
}
