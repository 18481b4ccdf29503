// Feature columns of a table: fitted on the training rows, and encoded as numbers by the fitted
// transforms, in training or when they are read back from a saved model.
import type { DataConfig } from '../../config/schema.ts';
import {
  byCodeUnits,
  describeValues,
  featureWidth,
  standardize,
  tooFar,
  widthOf,
  type FittedFeature,
} from '../dataset/transforms.ts';
import { categoryOf, leaveOut, MISSING_CATEGORY, type Column } from './column.ts';
import { isDate } from './marked-numbers.ts';
import { planMissing, type ColumnRoles } from './plan-columns.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { quoteName, quoteValue, dataError } from '../../errors.ts';
import { countOf, formatCount } from '../../printable.ts';

/**
 * Fits the features on the rows in `train`. Warns about columns that teach nothing: those with one
 * value, or with a different one in each row.
 */
export function fitFeatures(
  table: Table,
  train: Uint32Array,
  options: {
    readonly names: ColumnRoles['features'];
    readonly data: Pick<DataConfig, 'standardize' | 'missing' | 'categorical' | 'features'>;
    readonly warn: (message: string) => void;
  },
): FittedFeature[] {
  const features = options.names.map((name) => {
    const column = columnOf(table, name);
    if (column.kind === 'text') return fitCategories(column, train);
    return fitNumeric(column, train, options);
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
  { data, warn }: Parameters<typeof fitFeatures>[2],
): void {
  const found = features.flatMap((feature) => {
    if (feature.kind !== 'categorical' || data.categorical.includes(feature.column)) return [];
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
      'or write what matters of them as numbers',
  );
}

function fitCategories(column: Column, train: Uint32Array): FittedFeature {
  const seen = new Set<string>();
  for (const row of train) seen.add(categoryOf(column, row));
  return { kind: 'categorical', column: column.name, categories: [...seen].sort(byCodeUnits) };
}

function fitNumeric(
  column: Column,
  train: Uint32Array,
  { data, warn }: Parameters<typeof fitFeatures>[2],
): FittedFeature {
  const cells = gatherPresent(column.values, train);
  if (cells.length === 0) {
    const help = leaveOut('it', { isListed: data.features !== undefined });
    throw dataError('E_DATA_MISSING', `column ${quoteName(column.name)} is empty in the training split`, {
      help,
    });
  }
  const { mean, scale } = describeValues(cells);
  const fill = planMissing(data.missing, column.name, true).missing === 'mean' ? mean : null;
  if (!data.standardize) return { kind: 'numeric', column: column.name, mean: 0, scale: 1, fill };
  if (scale === 0) {
    warn(`column ${quoteName(column.name)} has one value (${mean}) in the training split; standardised to 0`);
  }
  return { kind: 'numeric', column: column.name, mean, scale, fill };
}

function gatherPresent(values: Float64Array, rows: Uint32Array): Float64Array {
  return Float64Array.from(rows, (row) => values[row] as number).filter((value) => !Number.isNaN(value));
}

/**
 * Fills `rows` [numRows, width] with the features of a table. Texts that training never saw become zeros,
 * with one warning a column.
 *
 * @throws LockstepError if a cell is missing that the transforms cannot fill.
 */
export function encodeFeatures(
  table: Table,
  features: readonly FittedFeature[],
  { rows, warn }: { readonly rows: Float32Array; readonly warn: (message: string) => void },
): void {
  const width = widthOf(features);
  let offset = 0;
  for (const feature of features) {
    const slots = { rows, width, offset };
    if (feature.kind === 'numeric') encodeNumbers(table, feature, slots);
    if (feature.kind === 'categorical') {
      const numUnseen = encodeCategories(columnOf(table, feature.column), feature.categories, slots);
      const found = `${countOf(numUnseen, 'row')} with a value that training never saw`;
      if (numUnseen > 0) warn(`column ${quoteName(feature.column)}: ${found}; encoded as zeros`);
    }
    offset += featureWidth(feature);
  }
}

/** The place of a column's numbers: from `offset` in each row of `width`. */
interface Slots {
  readonly rows: Float32Array;
  readonly width: number;
  readonly offset: number;
}

function encodeNumbers(table: Table, feature: FittedFeature & { kind: 'numeric' }, slots: Slots): void {
  const { rows, width, offset } = slots;
  const column = columnOf(table, feature.column);
  for (let row = 0; row < column.values.length; row++) {
    const cell = column.values[row] as number;
    const value = Number.isNaN(cell) ? fillIn(feature) : cell;
    const at = row * width + offset;
    rows[at] = standardize(value, feature);
    if (!Number.isFinite(rows[at])) {
      throw tooFar(`column ${quoteName(feature.column)} is ${value}`, feature, locateRow(table, row));
    }
  }
}

function fillIn(feature: FittedFeature & { kind: 'numeric' }): number {
  if (feature.fill !== null) return feature.fill;
  const message = `column ${quoteName(feature.column)} has missing cells; the model was trained without any`;
  throw dataError('E_DATA_MISSING', message, { help: 'fill them in, or train with data.missing: mean' });
}

/** Encodes a column of texts; returns the number of rows whose text has no slot. */
function encodeCategories(column: Column, categories: readonly string[], slots: Slots): number {
  const { rows, width, offset } = slots;
  const slotOf = new Map(categories.map((category, slot) => [category, slot]));
  const slotOfCode = column.categories.map((category) => slotOf.get(category));
  const slotOfMissing = slotOf.get(MISSING_CATEGORY);
  let numUnseen = 0;
  for (let row = 0; row < column.values.length; row++) {
    const code = column.values[row] as number;
    const slot = Number.isNaN(code) ? slotOfMissing : slotOfCode[code];
    if (slot === undefined) numUnseen += 1;
    else rows[row * width + offset + slot] = 1;
  }
  return numUnseen;
}
