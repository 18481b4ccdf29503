// Divides rows into training, validation and test, by seed and fractions or by file.
import type { DataConfig } from '../config/schema.ts';
import { shuffledIndices } from '../random.ts';
import { configError, countOf } from './data-error.ts';
import type { SplitIndices } from './dataset.ts';

const DEFAULT_TEST_SHARE = 0.1;
/** Fractions such as 0.7 + 0.2 + 0.1 miss 1 by a rounding error. */
const FRACTION_TOLERANCE = 1e-9;

/** Rows of each source, which lie one after the other in the dataset; 0 where a split has no file of its own. */
export interface SourceRows {
  /** Rows of the single file, or of the training file. */
  readonly train: number;
  readonly validation: number;
  readonly test: number;
}

/** What the split depends on besides the row counts. */
export interface SplitOptions {
  readonly split: DataConfig['split'];
  readonly seed: number;
  readonly shuffle: boolean;
  readonly batchSize: number;
  /** What messages call a row, where that is another word. */
  readonly noun?: string;
}

/**
 * Assigns rows to splits. Splits without a file come out of the first source: its rows, in a seeded order
 * (file order if `shuffle` is off), are cut into train, validation, test and, if the fractions leave
 * some, unused rows. Each split lists its rows in ascending order.
 *
 * @throws LockstepError if a fraction above 0 gives no rows, or a batch does not fit the training split.
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

/** How many rows of the first source each split takes. */
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

/** @throws LockstepError if `numRows` training rows, which the split left of `numSource`, are fewer than a batch. */
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
