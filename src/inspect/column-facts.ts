// What a column of a table holds, in numbers: everything that is decided about it later, and everything
// that `lockstep inspect` shows.
import type { Column, ColumnBuilder } from '../data/table/column.ts';
import { describeValues } from '../data/dataset/transforms.ts';

/** Figures of a column of numbers, or of dates in milliseconds since 1970. */
export interface NumberFacts {
  readonly least: number;
  readonly most: number;
  readonly mean: number;
  readonly deviation: number;
  /** The mean cube of the standardized values: 0 for a symmetric column, above 1 for a long tail to the right. */
  readonly skewness: number;
  /** The value that a twentieth of the rows are below. */
  readonly low: number;
  readonly median: number;
  /** The value that a twentieth of the rows are above. */
  readonly high: number;
  readonly areWhole: boolean;
}

/** A value, and the number of rows that have it. */
export interface ValueCount {
  readonly value: string;
  readonly count: number;
}

/** Everything known of a column. */
export interface ColumnFacts {
  readonly name: string;
  /** `mixed` has numbers and texts, or dates and others; `empty` has no value at all. */
  readonly kind: Column['kind'] | 'mixed' | 'empty';
  /** Rows of the table. */
  readonly numRows: number;
  readonly numMissing: number;
  /** The texts that stand for no value, with their counts. */
  readonly missingTokens: ReadonlyMap<string, number>;
  readonly numDistinct: number;
  readonly numbers: NumberFacts | undefined;
  /** All distinct values, the most frequent first; of numbers only if there are at most 1,000. */
  readonly counts: readonly ValueCount[];
  /** Texts that stand among numbers or dates. */
  readonly strays: readonly string[];
  /** Rows that have such a text. */
  readonly numStrays: number;
  /** Numbers in a column whose first value is a text. */
  readonly numNumbers: number;
  /** True of whole numbers of which some are above 2^53: as numbers, several of them are one. */
  readonly areTooLong: boolean;
  readonly column: Column;
}

/** Numbers with more distinct values than this are measured, not counted. */
const MAX_COUNTED = 1000;

/** The facts of a column that has been read to its end. */
export function describeColumn(builder: ColumnBuilder): ColumnFacts {
  const column = builder.finish(undefined);
  const { name, values } = column;
  const present = values.filter((value) => !Number.isNaN(value)).sort();
  const { numMissing, missingTokens, numNumbers, numTexts, numDates } = builder;
  const isEmpty = builder.kind === undefined || numNumbers + numTexts + numDates === 0;
  const others = { number: numTexts, text: numNumbers, date: numTexts + numNumbers }[column.kind];
  const strays = column.kind === 'text' ? [] : builder.texts;
  const numDistinct = countDistinct(present);
  const numbers = column.kind === 'text' || present.length === 0 ? undefined : describeNumbers(present);
  return {
    name,
    kind: isEmpty ? 'empty' : others > 0 ? 'mixed' : column.kind,
    numRows: values.length,
    numMissing,
    missingTokens,
    numDistinct,
    numbers,
    counts: countValues(column, present, numDistinct),
    strays,
    numStrays: others,
    numNumbers,
    areTooLong: areTooLong(builder, numbers),
    column,
  };
}

/** Quantities such as 6e23, which are written as such, may well be rounded. */
function areTooLong({ firstInexact }: ColumnBuilder, numbers: NumberFacts | undefined): boolean {
  if (!numbers?.areWhole || !/^[+-]?\d+$/.test(firstInexact?.cell ?? '')) return false;
  return Math.max(numbers.most, -numbers.least) > Number.MAX_SAFE_INTEGER;
}

/** Counts the distinct values of a sorted list. */
function countDistinct(sorted: Float64Array): number {
  let count = 0;
  for (let at = 0; at < sorted.length; at++) if (at === 0 || sorted[at] !== sorted[at - 1]) count += 1;
  return count;
}

function describeNumbers(sorted: Float64Array): NumberFacts {
  const { mean, scale } = describeValues(sorted);
  let cubes = 0;
  for (const value of sorted) {
    const distance = scale > 0 ? (value - mean) / scale : 0;
    cubes += distance * distance * distance;
  }
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] as number;
  return {
    least: at(0),
    most: at(1),
    mean,
    deviation: scale,
    skewness: cubes / sorted.length,
    low: at(0.05),
    median: at(0.5),
    high: at(0.95),
    areWhole: sorted.every((value) => Number.isInteger(value)),
  };
}

function countValues(column: Column, sorted: Float64Array, numDistinct: number): ValueCount[] {
  if (column.kind !== 'text' && numDistinct > MAX_COUNTED) return [];
  const counts = new Map<number, number>();
  for (const value of sorted) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .map(([value, count]) => ({ value: nameOf(column, value), count }))
    .sort((a, b) => b.count - a.count);
}

function nameOf({ kind, categories }: Column, value: number): string {
  if (kind === 'text') return categories[value] as string;
  return kind === 'date' ? formatDate(value) : String(value);
}

/** `2024-02-29`, or with the time of day where there is one. */
export function formatDate(ms: number): string {
  return new Date(ms)
    .toISOString()
    .replace(/(T00:00)?:00\.000Z$/, '')
    .replace('T', ' ');
}

/**
 * The place of each row's value among the distinct ones, in the order in which they appear; -1 where there
 * is none. Two columns of equal places tell the same, in other words.
 */
export function placesOf({ column }: ColumnFacts): Int32Array {
  const places = new Map<number, number>();
  return Int32Array.from(column.values, (value) => {
    if (Number.isNaN(value)) return -1;
    const known = places.get(value);
    if (known !== undefined) return known;
    places.set(value, places.size);
    return places.size - 1;
  });
}
