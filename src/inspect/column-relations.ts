// Columns that tell the same as another one: copies, and features that give the target away.
import { placesOf } from './column-facts.ts';
import type { ColumnFacts } from './column-facts.ts';

/** Rows by which two columns are compared. */
const MAX_COMPARED = 20_000;
/** Ranks are compared only where the numbers themselves have something in common. */
const MIN_CORRELATION = 0.3;
/** Columns with more distinct values are compared by correlation alone. */
const MAX_PLACES = 1000;
/** Correlation from which one column of numbers is taken for another in other units. */
const SAME_CORRELATION = 0.9995;
/** Share of rows whose target a value must settle for the feature to give it away. */
const SETTLED_SHARE = 0.999;
/** A value must occur this often on average, or it settles its few rows by chance. */
const MIN_ROWS_OF_VALUE = 5;

/** Columns that repeat an earlier one, by name, and that one's name. */
export function findCopies(columns: readonly ColumnFacts[]): ReadonlyMap<string, string> {
  const copies = new Map<string, string>();
  const seen = new Map<string, { readonly name: string; readonly places: Int32Array }[]>();
  for (const facts of columns) {
    if (facts.numDistinct < 2) continue;
    const places = placesOf(facts);
    const key = `${facts.numDistinct} ${facts.numMissing}`;
    const alike = seen.get(key) ?? [];
    const original = alike.find((other) => areEqual(other.places, places));
    if (original && !isDifferentNumber(facts, columns, original.name)) copies.set(facts.name, original.name);
    else seen.set(key, [...alike, { name: facts.name, places }]);
  }
  return copies;
}

/** Columns of numbers that are all different have equal places whatever they hold. */
function isDifferentNumber(facts: ColumnFacts, columns: readonly ColumnFacts[], name: string): boolean {
  const other = columns.find((column) => column.name === name) as ColumnFacts;
  if (2 * facts.numDistinct <= facts.numRows) return false;
  if (facts.column.kind !== other.column.kind) return true;
  if (facts.column.kind === 'text')
    return facts.column.categories.some((text, code) => text !== other.column.categories[code]);
  return !facts.column.values.every((value, row) => Object.is(value, other.column.values[row]));
}

function areEqual(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((place, row) => place === b[row]);
}

/** Describes how a feature gives the target away; undefined if it does not. */
export function findLeak(feature: ColumnFacts, target: ColumnFacts): string | undefined {
  if (feature.numDistinct < 2 || target.numDistinct < 2) return undefined;
  const areNumbers = feature.column.kind !== 'text' && target.column.kind !== 'text';
  if (areNumbers && target.numDistinct > 2) {
    const correlation = correlate(feature, target);
    if (Math.abs(correlation) > SAME_CORRELATION)
      return `correlates with the target by ${correlation.toFixed(4)}`;
    const ranked = Math.abs(correlation) > MIN_CORRELATION ? correlateRanks(feature, target) : 0;
    if (Math.abs(ranked) > SAME_CORRELATION)
      return `sorts the rows as the target does (rank correlation ${ranked.toFixed(4)})`;
  }
  const isCountable =
    feature.numDistinct <= MAX_PLACES &&
    [feature, target].every(
      ({ numDistinct, numMissing, numRows }) => numDistinct * MIN_ROWS_OF_VALUE <= numRows - numMissing,
    );
  if (!isCountable || target.numDistinct > feature.numDistinct) return undefined;
  return settles(feature, target) ? 'has one value of the target for each of its own' : undefined;
}

/** Tells whether the rows of each value of a feature have one target. */
function settles(feature: ColumnFacts, target: ColumnFacts): boolean {
  const [from, to] = [placesOf(feature), placesOf(target)];
  const counts = new Map<number, Map<number, number>>();
  let total = 0;
  for (let row = 0; row < from.length; row++) {
    const [value, wanted] = [from[row] as number, to[row] as number];
    if (value < 0 || wanted < 0) continue;
    const ofValue = counts.get(value) ?? new Map<number, number>();
    counts.set(value, ofValue.set(wanted, (ofValue.get(wanted) ?? 0) + 1));
    total += 1;
  }
  let settled = 0;
  for (const ofValue of counts.values()) settled += Math.max(...ofValue.values());
  return total > 0 && settled >= SETTLED_SHARE * total;
}

/** The first rows that have a value in both columns. */
function pairsOf(a: ColumnFacts, b: ColumnFacts): [Float64Array, Float64Array] {
  const [x, y] = [a, b].map(({ column }) => column.values.subarray(0, MAX_COMPARED)) as [
    Float64Array,
    Float64Array,
  ];
  const isWhole = (_: number, row: number): boolean => !Number.isNaN(x[row]) && !Number.isNaN(y[row]);
  return [x.filter(isWhole), y.filter(isWhole)];
}

function correlate(a: ColumnFacts, b: ColumnFacts): number {
  return pearson(...pairsOf(a, b));
}

function correlateRanks(a: ColumnFacts, b: ColumnFacts): number {
  const [x, y] = pairsOf(a, b);
  return pearson(ranksOf(x), ranksOf(y));
}

/** Pearson's coefficient; 0 where a column does not vary, or too few rows are left. */
function pearson(x: Float64Array, y: Float64Array): number {
  if (x.length < 3) return 0;
  const mean = (values: Float64Array): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  let [both, ofX, ofY] = [0, 0, 0];
  for (let row = 0; row < x.length; row++) {
    const [dx, dy] = [(x[row] as number) - meanX, (y[row] as number) - meanY];
    both += dx * dy;
    ofX += dx * dx;
    ofY += dy * dy;
  }
  return ofX > 0 && ofY > 0 ? both / Math.sqrt(ofX * ofY) : 0;
}

/** The place of each value in sorted order; equal values share the mean of their places. */
function ranksOf(values: Float64Array): Float64Array {
  const order = Uint32Array.from(values.keys()).sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks = new Float64Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end] as number] === values[order[start] as number]) end += 1;
    for (let at = start; at < end; at++) ranks[order[at] as number] = (start + end - 1) / 2;
    start = end;
  }
  return ranks;
}
