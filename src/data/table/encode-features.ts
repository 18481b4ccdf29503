// Feature columns of a table, encoded as numbers by the fitted transforms: in training, or as they are
// read back from a saved model.
import {
  featureWidth,
  standardize,
  tooFar,
  widthOf,
  type FittedFeature,
  type Standardization,
} from '../dataset/transforms.ts';
import { dataError, listNames, quoteName, quoteValue } from '../../errors.ts';
import { countOf } from '../../printable.ts';
import type { Column } from './column.ts';
import { MISSING_CATEGORY } from './column.ts';
import { datePart } from '../../dates.ts';
import { columnOf, locateRow, sliceTable, type Table } from './table.ts';
import type { ScratchFile } from '../dataset/scratch-file.ts';

/** Texts for true and false, in lower case. */
export const BOOLEAN_PAIRS = [
  ['true', 'false'],
  ['yes', 'no'],
  ['y', 'n'],
  ['t', 'f'],
  ['on', 'off'],
] as const;

/** Numbers that new rows may have for true and false. */
const BITS: Readonly<Record<string, number>> = { 0: 0, 1: 1 };

/** 1 or 0 for a text that stands for true or false, in any case of letters. */
export function booleanOf(text: string): number | undefined {
  const lower = text.toLowerCase();
  for (const [yes, no] of BOOLEAN_PAIRS) {
    if (lower === yes) return 1;
    if (lower === no) return 0;
  }
  return undefined;
}

/** Encoded features [numRows, width] go to `rows`, or block by block to a file. */
type EncodedRows = { readonly rows: Float32Array } | { readonly file: ScratchFile };

/** Bytes of a block of rows, unless one row has more. */
const BLOCK_BYTES = 4 * 2 ** 20;

/**
 * Encodes the features of a table. Texts that training never saw become zeros, with one warning a column.
 *
 * @throws LockstepError if a cell is missing that the transforms cannot fill.
 */
export function encodeFeatures(
  table: Table,
  features: readonly FittedFeature[],
  { warn, ...out }: EncodedRows & { readonly warn: (message: string) => void },
): void {
  const numUnseen = features.map(() => 0);
  const encode = (block: Table, rows: Float32Array): void => {
    const width = widthOf(features);
    let offset = 0;
    for (const [at, feature] of features.entries()) {
      numUnseen[at] = (numUnseen[at] as number) + encodeFeature(block, feature, { rows, width, offset });
      offset += featureWidth(feature);
    }
  };
  if ('rows' in out) encode(table, out.rows);
  else encodeBlocks(table, widthOf(features), out.file, encode);
  for (const [at, feature] of features.entries()) {
    const count = numUnseen[at] as number;
    if (count === 0 || !('column' in feature)) continue;
    const found = `${countOf(count, 'row')} with a value that training never saw`;
    warn(`column ${quoteName(feature.column)}: ${found}; encoded as zeros`);
  }
}

function encodeBlocks(
  table: Table,
  width: number,
  file: ScratchFile,
  encode: (block: Table, rows: Float32Array) => void,
): void {
  const blockRows = Math.max(1, Math.floor(BLOCK_BYTES / (4 * width)));
  for (let from = 0; from < table.numRows; from += blockRows) {
    const block = sliceTable(table, from, Math.min(from + blockRows, table.numRows));
    const rows = new Float32Array(block.numRows * width);
    encode(block, rows);
    file.append(rows);
  }
}

/** The place of a column's numbers: from `offset` in each row of `width`. */
interface Slots {
  readonly rows: Float32Array;
  readonly width: number;
  readonly offset: number;
}

/** Encodes a feature; returns the number of rows whose text training never saw. */
function encodeFeature(table: Table, feature: FittedFeature, slots: Slots): number {
  switch (feature.kind) {
    case 'numeric':
      encodeValues(table, feature, slots, (cell) => cell);
      return 0;
    case 'date':
      for (const [at, { part, ...standardization }] of feature.parts.entries()) {
        const place = { ...slots, offset: slots.offset + at };
        encodeValues(table, { ...feature, ...standardization }, place, (ms) => datePart(ms, part));
      }
      return 0;
    case 'ordinal':
      encodeTexts(table, feature, slots, {
        numberOf: placesOf(feature.order),
        words: `is not in the order of training, ${listNames(feature.order)}`,
      });
      return 0;
    case 'boolean':
      encodeTexts(table, { ...feature, mean: 0, scale: 1 }, slots, {
        numberOf: (text) => booleanOf(text) ?? BITS[text],
        words: 'is neither true nor false',
      });
      return 0;
    case 'categorical':
      return encodeCategories(columnOf(table, feature.column), feature.categories, slots);
    case 'hash':
      encodeHashes(columnOf(table, feature.column), feature.buckets, slots);
      return 0;
    case 'embedding':
      encodeIds(columnOf(table, feature.column), feature.texts, slots);
      return 0;
    default:
      return 0;
  }
}

/** A feature of numbers, and the value that stands for a missing one. */
interface ScaledFeature extends Standardization {
  readonly column: string;
  readonly fill: number | null;
}

/** Encodes each cell's value, standardized; `fill` is a cell. */
function encodeValues(
  table: Table,
  feature: ScaledFeature,
  slots: Slots,
  valueOf: (cell: number) => number,
): void {
  const { rows, width, offset } = slots;
  const { values } = columnOf(table, feature.column);
  for (let row = 0; row < values.length; row++) {
    const cell = values[row] as number;
    const value = valueOf(Number.isNaN(cell) ? fillIn(feature) : cell);
    const at = row * width + offset;
    rows[at] = standardize(value, feature);
    if (Number.isFinite(rows[at])) continue;
    throw tooFar(`column ${quoteName(feature.column)} is ${value}`, feature, locateRow(table, row));
  }
}

/**
 * Encodes the numbers that texts stand for, standardized; `fill` is such a number.
 *
 * @throws LockstepError for a text that stands for none, which `words` describe
 */
function encodeTexts(
  table: Table,
  feature: ScaledFeature,
  { rows, width, offset }: Slots,
  { numberOf, words }: { readonly numberOf: (text: string) => number | undefined; readonly words: string },
): void {
  const { categories, values } = columnOf(table, feature.column);
  const numbers = categories.map((text) => numberOf(text));
  for (let row = 0; row < values.length; row++) {
    const code = values[row] as number;
    const value = Number.isNaN(code) ? fillIn(feature) : numbers[code];
    if (value === undefined) {
      const message = `column ${quoteName(feature.column)}: ${quoteValue(categories[code])} ${words}`;
      throw dataError('E_DATA_CATEGORIES', message, {
        location: locateRow(table, row),
        help: 'correct the cell',
      });
    }
    rows[row * width + offset] = standardize(value, feature);
  }
}

function placesOf(order: readonly string[]): (text: string) => number | undefined {
  const places = new Map(order.map((text, place) => [text, place]));
  return (text) => places.get(text);
}

function fillIn({ column, fill }: ScaledFeature): number {
  if (fill !== null) return fill;
  const message = `column ${quoteName(column)} has missing cells; the model was trained without any`;
  throw dataError('E_DATA_MISSING', message, { help: 'fill them in, or train with data.missing: mean' });
}

/** Encodes a column of texts; returns the number of rows whose text has no slot. */
function encodeCategories(
  column: Column,
  categories: readonly string[],
  { rows, width, offset }: Slots,
): number {
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

/** Sets the feature of each text's hash; a missing one has none. */
function encodeHashes({ categories, values }: Column, buckets: number, { rows, width, offset }: Slots): void {
  const slots = categories.map((text) => hashOf(text) % buckets);
  for (let row = 0; row < values.length; row++) {
    const code = values[row] as number;
    if (!Number.isNaN(code)) rows[row * width + offset + (slots[code] as number)] = 1;
  }
}

/** Writes 1 + the place of each text, and 0 for one that has none. */
function encodeIds(column: Column, texts: readonly string[], { rows, width, offset }: Slots): void {
  const idOf = new Map(texts.map((text, place) => [text, 1 + place]));
  const idOfCode = column.categories.map((text) => idOf.get(text) ?? 0);
  const idOfMissing = idOf.get(MISSING_CATEGORY) ?? 0;
  for (let row = 0; row < column.values.length; row++) {
    const code = column.values[row] as number;
    rows[row * width + offset] = Number.isNaN(code) ? idOfMissing : (idOfCode[code] as number);
  }
}

/** FNV-1a of the text's bytes in UTF-8, 32 bits. Source: http://www.isthe.com/chongo/tech/comp/fnv. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
