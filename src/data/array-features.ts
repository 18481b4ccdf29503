// Features of samples from memory: fitted and applied value by value, by what does it for the columns of a table, so
// that the same numbers get the same bits from either.
import { formatShape, sizeOf } from '../shape.ts';
import { namePlace, type ArraySet } from './arrays.ts';
import { configError, countOf, dataError } from './data-error.ts';
import { PIXEL_SCALE } from './dataset.ts';
import { tooFar } from './encode.ts';
import { describeValues, standardize, type FittedFeature, type Standardization } from './transforms.ts';

/** What is learnt of the features of arrays. */
export type FittedArray = FittedFeature & { readonly kind: 'array' };

/** Fits the features on the rows in `train`, all of which are rows of `set`. */
export function fitArray(
  { features, shape }: ArraySet,
  train: Uint32Array,
  { isStandardized, warn }: { readonly isStandardized: boolean; readonly warn: (message: string) => void },
): FittedArray {
  const isBytes = features instanceof Uint8Array;
  if (isBytes && isStandardized) {
    const message = 'data.standardize does not go with bytes, which are scaled to 0..1';
    throw configError('E_CONFIG_STANDARDIZE', message, 'set it to false, or give the features as numbers');
  }
  const standardized = isStandardized ? describeEach(features, sizeOf(shape), train) : null;
  const numConstant = standardized?.filter(({ scale }) => scale === 0).length ?? 0;
  if (numConstant > 0) {
    const found = `${countOf(numConstant, 'feature')} of ${sizeOf(shape)}`;
    warn(`${found} with one value in the training split; standardised to 0`);
  }
  return { kind: 'array', shape, byteScale: isBytes ? PIXEL_SCALE : null, standardized };
}

function describeEach(features: ArraySet['features'], width: number, train: Uint32Array): Standardization[] {
  const areFloat32 = features instanceof Float32Array;
  return Array.from({ length: width }, (_, at) =>
    describeValues(
      Float64Array.from(train, (row) => features[row * width + at] as number),
      areFloat32,
    ),
  );
}

/**
 * Fills `rows` [numRows, values of a sample], numbers or bytes as `fitted` has them; `name` is what errors call the features.
 *
 * @throws LockstepError where float32 has no room for a standardized value
 */
export function encodeArray(
  { name, features }: Pick<ArraySet, 'name' | 'features'>,
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

/** @throws LockstepError if samples are not of the shape and type of `others`, which were fitted */
export function requireFitting(
  { name, shape, features }: ArraySet,
  fitted: FittedArray,
  others: string,
): void {
  const [found, needed] = [shape, fitted.shape].map((sides) => formatShape(sides));
  if (found !== needed) {
    throw dataError('E_DATA_SHAPE', `${name} has samples of ${found}, those of ${others} are ${needed}`);
  }
  if (features instanceof Uint8Array === (fitted.byteScale !== null)) return;
  const [type, other] = fitted.byteScale === null ? ['bytes', 'numbers'] : ['numbers', 'bytes'];
  const message = `${name}.features are ${type}, those of ${others} are ${other}`;
  throw dataError('E_DATA_SHAPE', message, {
    help: `give ${other}: a Uint8Array is bytes, all else numbers`,
  });
}
