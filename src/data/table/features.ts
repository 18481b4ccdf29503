// Feature columns of a table, fitted on the training rows: what encode-features.ts makes numbers by.
import type { ColumnRule, DataConfig } from '../../config/schema.ts';
import { byCodeUnits, describeValues, type FittedFeature } from '../dataset/transforms.ts';
import { categoryOf, leaveOut, MISSING_CATEGORY, type Column } from './column.ts';
import { DATE_PARTS, datePart, hasTime } from '../../dates.ts';
import { booleanOf, BOOLEAN_PAIRS } from './encode-features.ts';
import { isDate } from './marked-numbers.ts';
import { planMissing, ruleOf, type ColumnRoles } from './plan-columns.ts';
import { columnOf, type Table } from './table.ts';
import { quoteName, quoteValue, dataError } from '../../errors.ts';
import { countOf, formatCount } from '../../printable.ts';

/** The feature columns of a config. */
interface FitOptions {
  readonly names: ColumnRoles['features'];
  readonly data: Pick<DataConfig, 'standardize' | 'missing' | 'categorical' | 'columns' | 'features'>;
  readonly warn: (message: string) => void;
}

/** A column's rule, and the rows to fit it on. */
interface ColumnFit extends FitOptions {
  readonly train: Uint32Array;
  readonly rule: ColumnRule | undefined;
}

/**
 * Fits the features on the rows in `train`. Warns about columns that teach nothing: those with one
 * value, or with a different one in each row.
 */
export function fitFeatures(table: Table, train: Uint32Array, options: FitOptions): FittedFeature[] {
  const features = options.names.map((name) => {
    const rule = ruleOf(options.data, name);
    return fitColumn(columnOf(table, name), { ...options, train, rule });
  });
  warnAboutIdentifiers(features, train.length, options);
  return features;
}

/** Share of distinct texts among rows from which they are taken for identifiers. */
const IDENTIFIER_SHARE = 0.9;
/** Minimum number of distinct texts from which anything can be concluded. */
const MIN_IDENTIFIERS = 10;
const MAX_SHOWN_COLUMNS = 10;

/** Warns, once for all columns, about texts that differ in nearly every row, and about dates. */
function warnAboutIdentifiers(
  features: readonly FittedFeature[],
  numRows: number,
  { data, warn }: FitOptions,
): void {
  const found = features.flatMap((feature) => {
    if (feature.kind !== 'categorical' || ruleOf(data, feature.column)) return [];
    const texts = feature.categories.filter((text) => text !== MISSING_CATEGORY);
    if (texts.length < MIN_IDENTIFIERS) return [];
    const areDates = texts.every(isDate);
    if (!areDates && texts.length < IDENTIFIER_SHARE * numRows) return [];
    return [
      `${quoteName(feature.column)} (${formatCount(texts.length)} ${areDates ? 'dates' : 'texts'}, such as ${quoteValue(texts[0])})`,
    ];
  });
  if (found.length === 0) return;
  const shown =
    found.slice(0, MAX_SHOWN_COLUMNS).join(', ') + (found.length > MAX_SHOWN_COLUMNS ? ', …' : '');
  const columns = found.length === 1 ? 'column' : 'columns';
  warn(
    `${columns} ${shown} in ${countOf(numRows, 'training row')}: each text becomes a feature, which new rows will not have. ` +
      `Names, identifiers and dates teach nothing so: ${leaveOut('them', { isListed: data.features !== undefined })}, ` +
      'or say in data.columns how they are read (embedding, hash, date)',
  );
}

function fitColumn(column: Column, fit: ColumnFit): FittedFeature {
  if (column.kind === 'number') return fitNumeric(column, fit);
  if (column.kind === 'date') return fitDate(column, fit);
  const { rule } = fit;
  if (rule?.kind === 'ordinal') return fitOrdinal(column, rule.order, fit);
  if (rule?.kind === 'hash') return { kind: 'hash', column: column.name, buckets: rule.buckets };
  if (rule?.kind === 'embedding') return fitEmbedding(column, rule, fit);
  const isBoolean = rule?.kind === 'boolean' || (rule === undefined && isPlainBoolean(column));
  return isBoolean ? fitBoolean(column, fit) : fitCategories(column, fit);
}

function fitCategories(column: Column, { train }: ColumnFit): FittedFeature {
  const seen = new Set<string>();
  for (const row of train) seen.add(categoryOf(column, row));
  return { kind: 'categorical', column: column.name, categories: [...seen].sort(byCodeUnits) };
}

function fitEmbedding(
  column: Column,
  { minRows, units }: Extract<ColumnRule, { readonly kind: 'embedding' }>,
  { train }: ColumnFit,
): FittedFeature {
  const counts = new Map<string, number>();
  for (const row of train) {
    const text = categoryOf(column, row);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  const texts = [...counts].filter(([, count]) => count >= minRows).map(([text]) => text);
  return { kind: 'embedding', column: column.name, texts: texts.sort(byCodeUnits), units };
}

function fitNumeric(column: Column, fit: ColumnFit): FittedFeature {
  const cells = presentCells(column, fit);
  const { mean, scale } = describeValues(cells);
  const fill = fillsIn(column, fit) ? mean : null;
  if (!isStandardized(fit)) return { kind: 'numeric', column: column.name, mean: 0, scale: 1, fill };
  if (scale === 0) warnAboutConstant(column, String(mean), fit);
  return { kind: 'numeric', column: column.name, mean, scale, fill };
}

/** Parts that never differ in training are left out. */
function fitDate(column: Column, fit: ColumnFit): FittedFeature {
  const cells = presentCells(column, fit);
  const names = DATE_PARTS.filter((part) => part !== 'hour' || cells.some(hasTime));
  const parts = names.map((part) => ({ part, ...describeValues(cells.map((ms) => datePart(ms, part))) }));
  const varying = parts.filter(({ scale }) => scale > 0);
  if (varying.length === 0) warnAboutConstant(column, new Date(cells[0] as number).toISOString(), fit);
  const kept = varying.length > 0 ? varying : parts.slice(0, 1);
  const asRead = { mean: 0, scale: 1 };
  return {
    kind: 'date',
    column: column.name,
    format: fit.rule?.kind === 'date' ? fit.rule.format : 'ymd',
    parts: isStandardized(fit) ? kept : kept.map(({ part }) => ({ part, ...asRead })),
    fill: fillsIn(column, fit) ? describeValues(cells).mean : null,
  };
}

function fitOrdinal(column: Column, order: readonly string[], fit: ColumnFit): FittedFeature {
  const { name, categories } = column;
  const unknown = categories.find((text) => !order.includes(text));
  if (unknown !== undefined) {
    const message = `column ${quoteName(name)}: ${quoteValue(unknown)} is not in data.columns.${name}.order`;
    throw dataError('E_DATA_ORDER', message, {
      help: 'name all texts of the column, from the lowest to the highest',
    });
  }
  const places = presentCells(column, fit).map((code) => order.indexOf(categories[code] as string));
  const { mean, scale } = describeValues(places);
  const standardization = isStandardized(fit) ? { mean, scale } : { mean: 0, scale: 1 };
  return {
    kind: 'ordinal',
    column: name,
    order,
    ...standardization,
    fill: fillsIn(column, fit) ? mean : null,
  };
}

/** Tells whether a column holds both texts of a pair such as yes and no, and nothing else, in any split. */
function isPlainBoolean({ categories, values }: Column): boolean {
  const seen = new Set(categories.map((text) => text.toLowerCase()));
  const isPair = BOOLEAN_PAIRS.some((pair) => seen.size === 2 && pair.every((text) => seen.has(text)));
  return isPair && !values.some(Number.isNaN);
}

function fitBoolean(column: Column, fit: ColumnFit): FittedFeature {
  const { name, categories } = column;
  const unknown = categories.find((text) => booleanOf(text) === undefined);
  if (unknown !== undefined && fit.rule) {
    const message = `column ${quoteName(name)}: ${quoteValue(unknown)} is neither true nor false`;
    throw dataError('E_DATA_NOT_A_BOOLEAN', message, {
      help: 'correct the cell, or name the column under data.categorical',
    });
  }
  const cells = presentCells(column, fit).map((code) => booleanOf(categories[code] as string) ?? 0);
  return { kind: 'boolean', column: name, fill: fillsIn(column, fit) ? describeValues(cells).mean : null };
}

/** The values of the training rows that have one. @throws LockstepError if there are none */
function presentCells({ name, values }: Column, { data, train }: ColumnFit): Float64Array {
  const cells = Float64Array.from(train, (row) => values[row] as number).filter(
    (value) => !Number.isNaN(value),
  );
  if (cells.length > 0) return cells;
  const help = leaveOut('it', { isListed: data.features !== undefined });
  throw dataError('E_DATA_MISSING', `column ${quoteName(name)} is empty in the training split`, { help });
}

/** Tells whether cells without a value get the mean. A text is filled in only where it stands for a number. */
function fillsIn({ kind, name, values }: Column, { data }: ColumnFit): boolean {
  const { missing } = planMissing(data.missing, name, true);
  return missing === 'mean' && (kind !== 'text' || values.some(Number.isNaN));
}

function isStandardized({ data, rule }: ColumnFit): boolean {
  return (rule && 'standardize' in rule ? rule.standardize : undefined) ?? data.standardize;
}

function warnAboutConstant({ name }: Column, value: string, { warn }: ColumnFit): void {
  warn(`column ${quoteName(name)} has one value (${value}) in the training split; standardised to 0`);
}
