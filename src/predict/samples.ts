// Samples to rows as the model sees them. Each value of a row, given as an object, goes through the
// reader of cells in files, so that a row means the same here as there; images and texts are taken
// as bytes or a Float32Array.
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { DataConfig } from '../config/schema.ts';
import { flattenNumbers, refuseInfinite } from '../data/array/arrays.ts';
import type { Numbers } from '../data/array/arrays.ts';
import { encodeArray, type FittedArray } from '../data/array/load-arrays.ts';
import { readNpy } from '../data/array/npy-file.ts';
import { widthOf } from '../data/dataset/transforms.ts';
import type { FittedFeature } from '../data/dataset/transforms.ts';
import { displayPath, magicOf } from '../data/dataset/source-file.ts';
import { readIdxData, readImageHeader } from '../data/image/idx.ts';
import { listImages, readImageFiles } from '../data/image/image-folder.ts';
import { findColumnProblems } from '../data/table/column-problems.ts';
import type { CellProblem } from '../data/table/column-problems.ts';
import { ColumnBuilder } from '../data/table/column.ts';
import { encodeFeatures } from '../data/table/encode-features.ts';
import { CellReader } from '../data/table/format.ts';
import { planFeatures, withoutDrops } from '../data/table/plan-columns.ts';
import { numberRows, type Table } from '../data/table/table.ts';
import { LockstepError, quoteName, quoteValue, dataError } from '../errors.ts';
import type { ModelDescription } from './model-files.ts';
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

/** Input of a model: rows by column name or as lists of numbers, or the values of all samples in one list. */
export type PredictInput = readonly Row[] | readonly ArrayLike<number>[] | Uint8Array | Float32Array;

/**
 * Encodes samples, bytes or numbers, all in one list or, where training had arrays, row by row.
 *
 * @throws LockstepError for rows of a table, rows of another length, and values that are no numbers in
 * float32
 */
export function encodeSamples(input: PredictInput, fitted: FittedFeature): Float32Array | Uint8Array {
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

/**
 * Reads images or arrays as `TrainedModel.outputs` takes them, in the order of the file, none left out;
 * tables are read in blocks, see `readEncodedBlocks`.
 *
 * @throws LockstepError where the file is not of the model's kind
 */
export async function readSamples(
  { transforms }: Pick<ModelDescription, 'transforms'>,
  file: string,
): Promise<Float32Array | Uint8Array> {
  const path = resolve(file);
  const [first] = transforms.features;
  if (first?.kind === 'pixels')
    return first.shape.length === 2 ? readImages(path, first.shape) : readPictures(path, first.shape);
  if (first?.kind === 'bytes') {
    const message = 'a model of texts predicts in a program only';
    const help = 'docs/api.md shows how; lockstep evaluate measures a text';
    throw new LockstepError({ category: 'usage', code: 'E_PREDICT_TEXT', message, help });
  }
  return readArrays(path, first as FittedArray);
}

async function readArrays(path: string, fitted: FittedArray): Promise<Float32Array | Uint8Array> {
  const { name, shape, values } = await readNpy(path);
  const sample = shape.length === 1 ? [1] : shape.slice(1);
  if (formatShape(sample) === formatShape(fitted.shape)) return encodeSamples(values as PredictInput, fitted);
  const message = `${name} has samples of ${formatShape(sample)}, the model takes ${formatShape(fitted.shape)}`;
  throw dataError('E_DATA_SHAPE', message);
}

/** Reads a picture, or all of a folder in the order of their paths. */
async function readPictures(path: string, shape: readonly number[]): Promise<Uint8Array> {
  const stats = await stat(path).catch(() => undefined);
  // Says what is wrong with a file that is not there.
  if (!stats) await magicOf(path);
  const images = stats?.isDirectory() ? (await listImages(path)).images : [path];
  if (images.length > 0) return readImageFiles(images, shape);
  throw dataError('E_DATA_EMPTY', `${displayPath(path)} has no images`);
}

async function readImages(path: string, shape: readonly number[]): Promise<Uint8Array> {
  const header = await readImageHeader(path);
  const [found, needed] = [header.dimensions.slice(1), shape].map((sizes) => sizes.join('x'));
  if (found !== needed) {
    throw dataError('E_DATA_SHAPE', `the images are ${String(found)}, the model takes ${String(needed)}`);
  }
  const pixels = new Uint8Array(header.dataBytes);
  await readIdxData(header, pixels);
  return pixels;
}
