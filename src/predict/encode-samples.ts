// Samples as a program has them to samples as the layers see them, for a model that was trained on arrays.
import { encodeArray, type FittedArray } from '../data/array-features.ts';
import { flattenNumbers, type Numbers } from '../data/arrays.ts';
import { countOf, dataError } from '../data/data-error.ts';
import { formatShape, sizeOf } from '../layers/layer.ts';
import type { Row } from './encode-rows.ts';

/** What is fed to a model: rows by column name or as lists of numbers, or samples one behind the other. */
export type PredictInput = readonly Row[] | readonly ArrayLike<number>[] | Uint8Array | Float32Array;

/**
 * Encodes samples, bytes or numbers, which go one behind the other or row by row.
 *
 * @throws LockstepError for rows of a table, rows of another length, and what is no number
 */
export function encodeSamples(input: PredictInput, fitted: FittedArray): Float32Array | Uint8Array {
  if (!isNumbers(input)) {
    throw dataError('E_DATA_FORMAT', 'the model takes arrays, not rows by column name', {
      help: 'give a Float32Array, or rows of numbers, with the values of a sample in their order',
    });
  }
  const { values, shape } = flattenNumbers(input, 'samples');
  if (shape && shape[1] !== sizeOf(fitted.shape)) {
    const message = `the samples have ${countOf(shape[1], 'value')}, the model takes ${formatShape(fitted.shape)}`;
    throw dataError('E_DATA_SHAPE', message);
  }
  if (values instanceof Uint8Array) return values;
  const encoded = new Float32Array(values.length);
  encodeArray(values, fitted, encoded);
  return encoded;
}

function isNumbers(input: PredictInput): input is Numbers & PredictInput {
  return ArrayBuffer.isView(input) || input.every((row) => Array.isArray(row) || ArrayBuffer.isView(row));
}
