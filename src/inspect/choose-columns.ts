// What each column of a table becomes, and why: a feature in one form or another, or nothing.
import { DATE_FORMATS, DATE_PARTS, hasTime, parseDate } from '../dates.ts';
import type { ColumnRule } from '../config/schema.ts';
import { quoteValue } from '../errors.ts';
import { countOf, formatCount } from '../printable.ts';
import { booleanOf, BOOLEAN_PAIRS } from '../data/table/encode-features.ts';
import { describeMarkedNumbers, isDate, sharedUnit } from '../data/table/marked-numbers.ts';
import type { ColumnFacts } from './column-facts.ts';
import { findCopies, findLeak } from './column-relations.ts';
import type { ScannedTable } from './scan-table.ts';

/** A column's use. */
export interface ColumnChoice {
  readonly facts: ColumnFacts;
  readonly use: 'feature' | 'target' | 'drop' | 'other';
  /** The rule that `data.columns` needs, where the cells alone do not say how they are read. */
  readonly rule?: ColumnRule | undefined;
  /** Its form in the model, in a few words: `a number`, `one of 5`, `left out`. */
  readonly becomes: string;
  /** Inputs of the model that it takes. */
  readonly inputs: number;
  /** The reason, where it is not plain. */
  readonly why?: string | undefined;
  /** Oddities that a person should look at. */
  readonly warnings: readonly string[];
}

/** Texts beyond this share of the rows are names: few of them occur again in new rows. */
const NAME_SHARE = 0.5;
/** Share of distinct values from which a column that is called like one is an identifier. */
const IDENTIFIER_SHARE = 0.95;
/** Fewer distinct texts say nothing about their kind. */
const MIN_NAMES = 10;
/** More texts than this share features by their hashes. */
const MAX_ONE_HOT = 100;
const MIN_BUCKETS = 16;
const MAX_BUCKETS = 256;

const IDENTIFIER_NAME =
  /^(?:id|ids|key|index|idx|row|rowid|row_?number|nr|no|uuid|guid|ssn|unnamed.*|.*[_ .-](?:id|uuid|guid|key|index)|.*[a-z]I[Dd])$|^(?:ID|.*[_ .-]ID)$/;

/** Chooses a use for every column; `target` is the one to predict, if it is known. */
export function chooseColumns(
  { columns, settings, asText }: ScannedTable,
  target: string | undefined,
  dropped: readonly string[] = [],
): ColumnChoice[] {
  const copies = findCopies(columns.filter(({ name }) => name !== target));
  const wanted = columns.find(({ name }) => name === target);
  return columns.map((facts) => {
    if (facts === wanted)
      return { facts, use: 'target', becomes: 'the target', inputs: 0, warnings: warningsOf(facts) };
    const leak = wanted && findLeak(facts, wanted);
    const warnings = [
      ...warningsOf(facts),
      ...(leak === undefined ? [] : [`may give the target away: it ${leak}`]),
    ];
    if (dropped.includes(facts.name)) return drop(facts, 'left out by --drop', []);
    const original = copies.get(facts.name);
    if (original !== undefined) return drop(facts, `tells the same as ${quoteValue(original)}`, warnings);
    const choice = chooseFeature(facts, { settings, isForcedText: asText.has(facts.name) });
    return { ...choice, warnings: [...warnings, ...(choice.use === 'drop' ? [] : choice.warnings)] };
  });
}

function drop(facts: ColumnFacts, why: string, warnings: readonly string[]): ColumnChoice {
  return { facts, use: 'drop', becomes: 'left out', inputs: 0, why, warnings };
}

interface FeatureContext extends Pick<ScannedTable, 'settings'> {
  /** True for a mixture of numbers and texts. */
  readonly isForcedText: boolean;
}

function chooseFeature(facts: ColumnFacts, context: FeatureContext): ColumnChoice {
  const { kind, numDistinct } = facts;
  if (kind === 'empty') return drop(facts, 'has no values', []);
  if (numDistinct === 1) return drop(facts, 'has one value', []);
  const number = kind === 'number' ? chooseNumber(facts) : undefined;
  if (number) return number;
  if (kind === 'date') return asDate(facts, 'ymd', undefined);
  if (facts.column.kind !== 'text') return drop(facts, 'mixes dates and other values', []);
  return chooseText(facts, context);
}

function chooseNumber(facts: ColumnFacts): ColumnChoice | undefined {
  const { name, numDistinct, numMissing, numRows, numbers, column } = facts;
  const isCounting =
    numMissing === 0 &&
    numRows >= MIN_NAMES &&
    column.values.every((value, row) => row === 0 || value === (column.values[row - 1] as number) + 1);
  if (isCounting) return drop(facts, 'counts the rows', []);
  const isIdentifier =
    IDENTIFIER_NAME.test(name) && numbers?.areWhole === true && numDistinct >= IDENTIFIER_SHARE * numRows;
  if (isIdentifier) return drop(facts, 'numbers the rows, by its name an identifier', []);
  return { facts, use: 'feature', becomes: 'a number', inputs: 1, warnings: [] };
}

function chooseText(facts: ColumnFacts, { settings, isForcedText }: FeatureContext): ColumnChoice {
  const { counts, numDistinct, numMissing, numRows } = facts;
  const texts = counts.map(({ value }) => value);
  if (numMissing === 0 && isPair(texts))
    return { facts, use: 'feature', becomes: 'yes or no', inputs: 1, warnings: [] };
  const format = isForcedText
    ? undefined
    : DATE_FORMATS.slice(1).find((order) => texts.every((text) => parseDate(text, order) !== undefined));
  if (format) return asDate(facts, format, { kind: 'date', format });
  if (texts.length >= MIN_NAMES && texts.every(isDate))
    return drop(
      facts,
      `holds dates that are not read, such as ${quoteValue(texts[0])}: write 2024-12-31`,
      [],
    );
  const marked = describeMarkedNumbers(texts, { numbers: [], others: [] }, settings);
  if (marked && !isForcedText)
    return drop(facts, `${quoteValue(texts[0])} ${marked.what}: write plain numbers`, []);
  if (numDistinct >= MIN_NAMES && numDistinct > NAME_SHARE * numRows)
    return drop(
      facts,
      `${formatCount(numDistinct)} texts in ${countOf(numRows, 'row')}: names, or identifiers`,
      [],
    );
  const inputs = numDistinct + (numMissing > 0 ? 1 : 0);
  if (numDistinct <= MAX_ONE_HOT) {
    const rule = isForcedText ? { kind: 'categorical' as const } : undefined;
    return { facts, use: 'feature', rule, becomes: `one of ${numDistinct}`, inputs, warnings: [] };
  }
  const buckets = bucketsFor(numDistinct);
  return {
    facts,
    use: 'feature',
    rule: { kind: 'hash', buckets },
    becomes: `${buckets} buckets`,
    inputs: buckets,
    why: `${formatCount(numDistinct)} texts share ${buckets} inputs by their hashes`,
    warnings: [],
  };
}

function isPair(texts: readonly string[]): boolean {
  const lower = new Set(texts.map((text) => text.toLowerCase()));
  return (
    lower.size === 2 &&
    texts.every((text) => booleanOf(text) !== undefined) &&
    BOOLEAN_PAIRS.some((pair) => pair.every((text) => lower.has(text)))
  );
}

/** A power of two near a quarter of the texts. */
function bucketsFor(numTexts: number): number {
  let buckets = MIN_BUCKETS;
  while (buckets < MAX_BUCKETS && buckets * 4 < numTexts) buckets *= 2;
  return buckets;
}

function asDate(
  facts: ColumnFacts,
  format: (typeof DATE_FORMATS)[number],
  rule: ColumnRule | undefined,
): ColumnChoice {
  const { column, counts } = facts;
  const ms =
    column.kind === 'date'
      ? [...column.values].filter((value) => !Number.isNaN(value))
      : counts.map(({ value }) => parseDate(value, format) as number);
  const parts = DATE_PARTS.filter((part) => part !== 'hour' || ms.some(hasTime));
  const isUnclear = format !== 'ymd' && counts.every(({ value }) => parseDate(value, 'mdy') !== undefined);
  const why = rule ? `dates as ${format === 'dmy' ? 'day, month, year' : 'month, day, year'}` : undefined;
  const warnings = isUnclear && format === 'dmy' ? ['its dates may be month, day, year as well'] : [];
  return { facts, use: 'feature', rule, becomes: 'a date', inputs: parts.length, why, warnings };
}

/** The oddities of a column, whatever becomes of it. */
function warningsOf(facts: ColumnFacts): string[] {
  const { counts, kind, numDistinct, numMissing, numRows } = facts;
  const texts = facts.column.kind === 'text' ? counts.map(({ value }) => value) : [];
  const unit = texts.length > 0 ? sharedUnit(texts) : undefined;
  return [
    ...(kind === 'mixed' ? ['mixes numbers and texts'] : []),
    ...(numMissing > numRows / 2 && numMissing < numRows
      ? [`${Math.round((100 * numMissing) / numRows)} % of its cells have no value`]
      : []),
    ...(texts.length > 0 && texts.every(isWhole) && !texts.every(isExact)
      ? ['whole numbers above 2^53, which are no exact numbers: they are read as texts']
      : []),
    ...(unit === undefined ? [] : [`texts that look like numbers with the unit ${quoteValue(unit)}`]),
    ...(texts.length > MAX_ONE_HOT && numDistinct <= NAME_SHARE * numRows
      ? [`${formatCount(numDistinct)} distinct texts`]
      : []),
  ];
}

function isWhole(text: string): boolean {
  return /^[+-]?\d+$/.test(text);
}

function isExact(text: string): boolean {
  return Number.isSafeInteger(Number(text));
}
