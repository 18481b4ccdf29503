// Samples to rows as the model sees them. Each value of a row, given as an object, goes through the
// reader of cells in files, so that a row means the same here as there; images and texts are taken
// as bytes or a Float32Array.
import type { DataConfig } from '../config/schema.ts';
import { flattenNumbers, refuseInfinite } from '../data/array/numbers.ts';
import type { Numbers } from '../data/array/numbers.ts';
import { encodeArray } from '../data/array/numbers.ts';
import { nameIndex, widthOf } from '../data/dataset/transforms.ts';
import type { FittedFeature } from '../data/dataset/transforms.ts';
import { findColumnProblems } from '../data/table/column-problems.ts';
import type { CellProblem } from '../data/table/column-problems.ts';
import { ColumnBuilder } from '../data/table/column.ts';
import { encodeFeatures } from '../data/table/encode-features.ts';
import { CellReader } from '../data/table/format.ts';
import { planFeatures, withoutDrops } from '../data/table/plan-columns.ts';
import { numberRows, type Table } from '../data/table/table.ts';
import { quoteName, quoteValue, dataError } from '../errors.ts';
import { formatShape, sizeOf } from '../shape.ts';
import { countOf } from '../printable.ts';

/** A value of a row; null is a missing one. */
export type Cell = number | string | boolean | null;

/** A row by the names of its columns; those that are no features are passed over. */
export type Row = Readonly<Record<string, Cell | undefined>>;

/** The settings by which the model's training table was read. */
type RowOptions = Pick<DataConfig, 'missing' | 'missingTokens'> & {
  readonly warn: (message: string) => void;
};

/**
 * Encodes rows: f32 [rows, features].
 *
 * @throws LockstepError naming row (from 0) and column where a value is absent, is missing although
 * training had none missing, or is no number where training had numbers.
 */
export function encodeRows(
  rows: readonly Row[],
  features: readonly FittedFeature[],
  { missing, missingTokens, warn }: RowOptions,
): Float32Array {
  if (!Array.isArray(rows)) {
    const message = `the rows: expected a list of objects by column name, got ${quoteValue(rows)}`;
    throw dataError('E_DATA_FORMAT', message);
  }
  // Numbers of a program have a decimal point, whatever the table had; its texts count as quoted.
  const cells = { decimal: '.', missingTokens } as const;
  const reader = new CellReader(cells);
  const plans = planFeatures(columnsOf(features), { features }, withoutDrops(missing));
  const builders = plans.map((plan) => new ColumnBuilder(plan, reader, () => true));
  for (const [index, row] of rows.entries()) {
    for (const builder of builders) builder.add(cellText(row, builder.plan.name, index), 0, index);
  }
  const problems = findColumnProblems(builders, { ...cells, isSaved: true });
  if (problems.length > 0) throw problemError(problems);
  const parts = [{ file: 'rows', firstRow: 0, numRows: rows.length, hasLines: false }];
  const table: Table = {
    parts,
    numRows: rows.length,
    columns: new Map(builders.map((builder) => [builder.plan.name, builder.finish(undefined)])),
    places: numberRows(parts),
  };
  const encoded = new Float32Array(rows.length * widthOf(features));
  encodeFeatures(table, features, { rows: encoded, warn });
  return encoded;
}

function columnsOf(features: readonly FittedFeature[]): string[] {
  return features.flatMap((feature) => ('column' in feature ? [feature.column] : []));
}

/**
 * A number as the shortest text that reads back as the same number. A program in JavaScript may hand in
 * anything.
 */
function cellText(row: unknown, name: string, index: number): string {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    const message = `row ${index}: expected an object by column name, got ${quoteValue(row)}`;
    throw dataError('E_DATA_FORMAT', message);
  }
  const value: unknown = Object.hasOwn(row, name) ? Reflect.get(row, name) : undefined;
  if (value === undefined) {
    const message = `row ${index} has no column ${quoteName(name)}, which the model was trained on`;
    throw dataError('E_DATA_COLUMNS', message, {
      help: 'give it a value, or null where the value is missing',
    });
  }
  if (value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  const message = `row ${index}: column ${quoteName(name)}: expected a number, a text, true, false or null`;
  throw dataError('E_DATA_FORMAT', `${message}, got ${quoteValue(value)}`);
}

function problemError([first]: readonly CellProblem[]): Error {
  const { cell, code, message } = first as CellProblem;
  const help = code === 'E_DATA_MISSING' ? 'fill it in, or train with data.missing: mean' : undefined;
  return dataError(code, `row ${cell.line}: ${message}`, { help });
}

/** An image as a canvas has it, `ImageData`: red, green, blue and alpha, pixel by pixel. */
export interface Pixels {
  /** Four bytes for each pixel, row by row. */
  readonly data: Uint8Array | Uint8ClampedArray;
  /** Pixels of a row. */
  readonly width: number;
  /** Rows of pixels. */
  readonly height: number;
}

/**
 * Input of a model: rows by column name or as lists of numbers, images, or the values of all samples in
 * one list.
 */
export type PredictInput =
  readonly Row[] | readonly ArrayLike<number>[] | readonly Pixels[] | Uint8Array | Float32Array;

/**
 * Encodes samples, bytes or numbers, all in one list or, where training had arrays, row by row.
 *
 * @throws LockstepError for rows of a table, rows of another length, and values that are no numbers in
 * float32
 */
export function encodeSamples(input: PredictInput, fitted: FittedFeature): Float32Array | Uint8Array {
  if (fitted.kind === 'pixels' && Array.isArray(input)) return channelsFirst(input, fitted.shape);
  if (fitted.kind !== 'array') return takeValues(input);
  if (Array.isArray(input) && input.some(isRow)) {
    throw dataError('E_DATA_FORMAT', 'the model takes arrays, not rows by column name', {
      help: 'give a Float32Array, or rows of numbers, with the values of a sample in their order',
    });
  }
  const { values, shape } = flattenNumbers(input as Numbers, 'samples');
  if (shape && shape[1] !== sizeOf(fitted.shape)) {
    const message = `the samples have ${countOf(shape[1], 'value')}, the model takes ${formatShape(fitted.shape)}`;
    throw dataError('E_DATA_SHAPE', message);
  }
  if (values instanceof Uint8Array) return values;
  refuseInfinite(values, fitted.shape, 'samples');
  const encoded = new Float32Array(values.length);
  encodeArray({ name: 'samples', features: values }, fitted, encoded);
  return encoded;
}

/** The bytes of images, channels first. Alpha is left out, as in training. */
function channelsFirst(images: readonly Pixels[], shape: readonly number[]): Uint8Array {
  const [width = 0, height = 0, channels = 1] = shape.toReversed();
  const area = width * height;
  const bytes = new Uint8Array(images.length * channels * area);
  for (const [index, image] of images.entries()) {
    const { data } = image ?? {};
    const isImage = data instanceof Uint8ClampedArray || data instanceof Uint8Array;
    if (!isImage || image.width !== width || image.height !== height || data.length !== 4 * area) {
      const found = isImage
        ? `${image.width}x${image.height}, ${countOf(data.length, 'byte')}`
        : quoteValue(image);
      const message = `image ${index}: expected ImageData of ${width}x${height} pixels, got ${found}`;
      throw dataError('E_DATA_SHAPE', message, { help: 'draw it on a canvas of that size' });
    }
    for (let at = 0; at < area; at++) {
      const [red, green, blue] = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
      if (channels === 1 && (red !== green || red !== blue)) {
        const place = `pixel ${nameIndex([height, width], at)} is ${red}, ${green}, ${blue}`;
        throw dataError('E_DATA_SHAPE', `image ${index}: ${place}; the model takes grey`, {
          help: 'turn colours into grey as your training images were',
        });
      }
      for (let channel = 0; channel < channels; channel++)
        bytes[(index * channels + channel) * area + at] = data[4 * at + channel] as number;
    }
  }
  return bytes;
}

function isRow(row: unknown): boolean {
  return typeof row === 'object' && row !== null && !('length' in row);
}

/**
 * Takes samples as the layers see them. Other types would leave open whether values are bytes, to be
 * scaled, or not.
 */
export function takeValues(input: unknown): Float32Array | Uint8Array {
  if (input instanceof Float32Array || input instanceof Uint8Array) return input;
  if (input instanceof Uint8ClampedArray) return new Uint8Array(input.buffer, input.byteOffset, input.length);
  const message = `the samples: expected a Float32Array or a Uint8Array, got ${quoteValue(input)}`;
  throw dataError('E_DATA_FORMAT', message);
}
