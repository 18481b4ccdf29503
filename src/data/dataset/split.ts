// Which rows belong to training, validation and test, by seed and fractions or by file; the order in which an
// epoch visits the training rows, and its batches. All are functions of config, seed and row counts alone.
import type { DataConfig } from '../../config/schema.ts';
import { configError } from '../../errors.ts';
import type { SplitIndices } from './packed-dataset.ts';
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
  /** A number for each row of the first source: its class, group or time, whichever `split` asks for. */
  readonly keys?: ArrayLike<number> | undefined;
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
  const { order, numTest } = withFoldLast(orderOf(sources.train, options), options);
  const wanted = sizesOf(sources, options, numTest);
  const { train, validation, test } =
    options.split.group === undefined ? wanted : wholeGroups(wanted, order, options);
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

/** The rows of the first source in the order in which they are cut into train, validation and test. */
function orderOf(numRows: number, { keys, seed, shuffle, split }: SplitOptions): Uint32Array {
  const drawn = shuffle ? shuffledIndices(numRows, { seed, purpose: 'split', epoch: 0 }) : range(0, numRows);
  if (!keys) return drawn;
  const keyOf = (row: number): number => keys[row] as number;
  // Rows of one time keep the order of the file.
  if (split.time !== undefined) return range(0, numRows).sort((a, b) => keyOf(a) - keyOf(b) || a - b);
  const rowsOf = new Map<number, number[]>();
  for (const row of drawn) {
    const known = rowsOf.get(keyOf(row));
    if (known) known.push(row);
    else rowsOf.set(keyOf(row), [row]);
  }
  if (split.group !== undefined) return Uint32Array.from([...rowsOf.values()].flat());
  // Each class is spread evenly over the whole, so that any slice has its share of it.
  const places = [...rowsOf.values()].flatMap((rows) =>
    rows.map((row, at) => ({ row, place: (at + 0.5) / rows.length })),
  );
  return Uint32Array.from(places.sort((a, b) => a.place - b.place).map(({ row }) => row));
}

/** The order with the rows of the fold, if there is one, at its end, and their number. */
function withFoldLast(
  order: Uint32Array,
  { keys, split }: SplitOptions,
): { order: Uint32Array; numTest: number | undefined } {
  if (!split.fold) return { order, numTest: undefined };
  const { number, of } = split.fold;
  const [from, to] = [number - 1, number].map((part) => {
    const end = Math.floor((part * order.length) / of);
    return split.group === undefined ? end : nearestBorder(order, keys, end);
  }) as [number, number];
  const moved = new Uint32Array(order.length);
  moved.set(order.subarray(0, from));
  moved.set(order.subarray(to), from);
  moved.set(order.subarray(from, to), order.length - (to - from));
  return { order: moved, numTest: to - from };
}

/** The place nearest to `at` in an order where no group is cut. */
function nearestBorder(order: Uint32Array, keys: SplitOptions['keys'], at: number): number {
  const isBorder = (place: number): boolean =>
    place === order.length || keys?.[order[place] as number] !== keys?.[order[place - 1] as number];
  for (let distance = 0; ; distance++) {
    if (at - distance >= 0 && isBorder(at - distance)) return at - distance;
    if (at + distance <= order.length && isBorder(at + distance)) return at + distance;
  }
}

/**
 * The sizes nearest to those wanted at which no group is cut.
 *
 * @throws LockstepError if a split would be left without rows
 */
function wholeGroups(
  wanted: SourceRows,
  order: Uint32Array,
  { keys, noun = 'row' }: SplitOptions,
): SourceRows {
  const ends = [
    wanted.train,
    wanted.train + wanted.validation,
    wanted.train + wanted.validation + wanted.test,
  ];
  const [first = 0, second = 0, third = 0] = ends.map((end) => nearestBorder(order, keys, end));
  const sizes = { train: first, validation: second - first, test: third - second };
  for (const name of ['train', 'validation', 'test'] as const) {
    if (sizes[name] > 0 || wanted[name] === 0) continue;
    const message = `the groups of data.split.group are too large: no whole one is left for ${name} (${countOf(wanted[name], noun)} wanted)`;
    throw configError('E_CONFIG_SPLIT', message, 'use a finer column, or other shares');
  }
  return sizes;
}

/** The number of rows of the first source that each split takes; `numTest` is that of a fold. */
function sizesOf(
  sources: SourceRows,
  { split, noun = 'row' }: SplitOptions,
  numTest: number | undefined,
): SourceRows {
  const rows = sources.train;
  const validationShare = sources.validation > 0 ? 0 : split.validation;
  const testShare = sources.test > 0 ? 0 : (split.test ?? DEFAULT_TEST_SHARE);
  const validation = takeShare('validation', validationShare, rows, noun);
  const test = numTest ?? takeShare('test', testShare, rows, noun);
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

/** The cells of samples that have one at each of so many positions. */
export function cellsOf(samples: Uint32Array, positions: number): Uint32Array {
  if (positions === 1) return samples;
  return Uint32Array.from(
    { length: samples.length * positions },
    (_, at) => (samples[Math.floor(at / positions)] as number) * positions + (at % positions),
  );
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
