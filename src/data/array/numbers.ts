// Numbers that a program hands in: flattened, checked, and encoded as training has learnt to.
import { nameIndex, standardize, tooFar } from '../dataset/transforms.ts';
import type { FittedFeature, Standardization } from '../dataset/transforms.ts';
import { quoteValue, type LockstepError, dataError } from '../../errors.ts';
import { countOf } from '../../printable.ts';
import { sizeOf, type Shape } from '../../shape.ts';

/** Numbers in one list, or a list of rows of equal length. */
export type Numbers = ArrayLike<number> | readonly ArrayLike<number>[];

export interface Flat {
  readonly values: Uint8Array | Float32Array | Float64Array;
  /** [rows, values of a row]; undefined unless the numbers were a list of rows. */
  readonly shape: readonly [number, number] | undefined;
}

/**
 * Flattens numbers into one array; bytes stay bytes.
 *
 * @throws LockstepError for values that are no numbers, or rows of unequal length
 */
export function flattenNumbers(numbers: Numbers, name: string): Flat {
  if (numbers instanceof Uint8Array || numbers instanceof Float32Array) {
    return { values: numbers, shape: undefined };
  }
  // A canvas gives clamped bytes.
  if (numbers instanceof Uint8ClampedArray) {
    const values = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.length);
    return { values, shape: undefined };
  }
  if (typeof numbers !== 'object' || numbers === null || !Number.isInteger(numbers.length)) {
    throw arrayError(`${name}: expected numbers or rows of numbers, got ${quoteValue(numbers)}`);
  }
  if (isRows(numbers)) return flattenRows(numbers, name);
  return { values: copyNumbers(numbers, name), shape: undefined };
}

function isRows(numbers: Numbers): numbers is readonly ArrayLike<number>[] {
  return Array.isArray(numbers) && typeof numbers[0] === 'object' && numbers[0] !== null;
}

function flattenRows(rows: readonly ArrayLike<number>[], name: string): Flat {
  const width = rows[0]?.length ?? 0;
  const isBytes = rows.every((row) => row instanceof Uint8Array);
  const values = new (isBytes ? Uint8Array : Float64Array)(rows.length * width);
  for (const [index, row] of rows.entries()) {
    if (!Number.isInteger(row?.length)) {
      throw arrayError(`${name}, row ${index}: expected numbers, got ${quoteValue(row)}`);
    }
    if (row.length !== width) {
      throw arrayError(`${name}, row ${index} has ${countOf(row.length, 'value')}, row 0 has ${width}`);
    }
    values.set(isBytes ? row : copyNumbers(row, `${name}, row ${index}`), index * width);
  }
  return { values, shape: [rows.length, width] };
}

/** Copies numbers; a typed array alone would take null for 0 and '5' for 5. */
function copyNumbers(numbers: ArrayLike<number>, name: string): Float64Array {
  // Loops, here and below, take a tenth of the time of functions that are called for each value.
  const copy = new Float64Array(numbers.length);
  for (let at = 0; at < copy.length; at++) {
    const value: unknown = numbers[at];
    if (typeof value !== 'number') {
      const shown = `${quoteValue(value)} (${value === null ? 'null' : typeof value})`;
      throw dataError('E_DATA_NOT_A_NUMBER', `${name}, value ${at} is not a number: ${shown}`);
    }
    copy[at] = value;
  }
  return copy;
}

/**
 * Refuses values that are no finite float32; `shape` is that of a row of `values`.
 *
 * @throws LockstepError naming row and place
 */
export function refuseInfinite(values: Flat['values'], shape: Shape, name: string): void {
  if (values instanceof Uint8Array) return;
  let at = 0;
  while (at < values.length && Number.isFinite(Math.fround(values[at] as number))) at++;
  if (at === values.length) return;
  const value = values[at] as number;
  const message = `${name}, ${namePlace(at, shape)} is ${value}`;
  throw Number.isNaN(value)
    ? dataError('E_DATA_NOT_A_NUMBER', message, { help: 'fill it in, or leave the sample out' })
    : dataError('E_DATA_OVERFLOW', `${message}, which does not fit float32 (max 3.4e38)`);
}

/** `row 3 at [0,1]`: the place of a value among rows of that shape. */
export function namePlace(at: number, shape: Shape): string {
  const width = sizeOf(shape);
  const place = width === 1 ? '' : ` at ${nameIndex(shape, at % width)}`;
  return `row ${Math.floor(at / width)}${place}`;
}

/** An error in the form of an argument. */
export function arrayError(message: string, help?: string): LockstepError {
  return dataError('E_DATA_ARRAYS', message, { help });
}

/** The fitted features of arrays. */
export type FittedArray = FittedFeature & { readonly kind: 'array' };

/**
 * Fills `rows` [numRows, values of a sample], numbers or bytes as `fitted` has them; `name` is what
 * errors call the features.
 *
 * @throws LockstepError where a standardized value does not fit float32
 */
export function encodeArray(
  { name, features }: { readonly name: string; readonly features: Flat['values'] },
  { shape, standardized }: FittedArray,
  rows: Float32Array | Uint8Array,
): void {
  if (!standardized) return rows.set(features);
  const width = standardized.length;
  for (let at = 0; at < features.length; at++) {
    const value = features[at] as number;
    const standardization = standardized[at % width] as Standardization;
    rows[at] = standardize(value, standardization);
    if (!Number.isFinite(rows[at])) {
      throw tooFar(`${name}, ${namePlace(at, shape)} is ${value}`, standardization);
    }
  }
}
