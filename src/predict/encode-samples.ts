// Samples as a program has them to samples as the layers see them, for a model that was trained on
// anything but a table.
import { flattenNumbers, refuseInfinite, type Numbers } from '../data/array/arrays.ts';
import { encodeArray } from '../data/array/load-arrays.ts';
import { countOf, dataError } from '../data/dataset/data-error.ts';
import type { FittedFeature } from '../data/dataset/transforms.ts';
import { quoteValue } from '../errors.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type { Row } from './encode-rows.ts';

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
