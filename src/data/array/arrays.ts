// Samples that a program hands in instead of a file: checked, and named by a hash, by which a
// config refers to them. The hash is of the values as they were given, before anything is fitted to them.
import { didYouMean } from '../../config/suggest.ts';
import { hashBlocks } from '../dataset/hash-dataset.ts';
import type { RowSet } from '../table/row-set.ts';
import { arrayError, flattenNumbers, refuseInfinite, type Flat, type Numbers } from './numbers.ts';
import { quoteValue } from '../../errors.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import { MAX_SAMPLE_DIMENSIONS } from '../../limits.ts';
import { countOf } from '../../printable.ts';

/** Labelled samples in memory. They must stay as they are until the call that takes them has ended. */
export interface Samples {
  /**
   * The values of all samples. Bytes (`Uint8Array`) are scaled to 0..1, like those of images; anything
   * else is numbers, which are rounded to float32 after they are standardized.
   */
  readonly features: Numbers;
  /** [samples, 1 to 3 sizes of one sample]; a list of rows has its own: [rows, values of a row]. */
  readonly shape?: Shape | undefined;
  /**
   * Numbers to predict, one or more for each sample, or a class index from 0 for each; of a sequence also
   * for each position, position by position.
   */
  readonly targets: Numbers;
  /** The weight of each sample, at least 0; by default all count the same. */
  readonly weights?: ArrayLike<number> | undefined;
}

/** Samples after their checks. */
export interface ArraySet {
  /** The name that errors use: `data.train`. */
  readonly name: string;
  readonly numRows: number;
  /** Shape of one sample. */
  readonly shape: Shape;
  readonly features: Uint8Array | Float32Array | Float64Array;
  /** Targets, [numRows, targetWidth]. */
  readonly targets: Float64Array;
  readonly targetWidth: number;
  /** Shape of the targets of one sample, as far as it is known. */
  readonly targetShape: Shape;
  readonly sampleWeights: Float64Array | undefined;
  readonly sha256: string;
}

/** Checked samples by their hash. */
export type ArraySets = ReadonlyMap<string, ArraySet | RowSet>;

/** True for samples, even invalid ones. */
export function isSamples(source: unknown): source is Samples {
  if (typeof source !== 'object' || source === null || !('features' in source || 'targets' in source))
    return false;
  // Files of NumPy are named by texts.
  return !('features' in source && typeof source.features === 'string');
}

/**
 * Checks samples; `name` is what errors call them, `targetShape` the shape of one sample's targets if a
 * file says it.
 *
 * @throws LockstepError for lengths that do not fit, and for values that are no finite float32, naming
 * argument and row
 */
export function takeSamples(samples: Samples, name: string, targetShape?: Shape): ArraySet {
  refuseUnknownFields(samples, name);
  const { features, shape, targets, weights } = samples;
  const values = flattenNumbers(features, `${name}.features`);
  const [numRows, ...sampleShape] = checkShape(shape ?? values.shape, values, name);
  const labels = takeTargets(targets, numRows, `${name}.targets`);
  refuseInfinite(values.values, sampleShape, `${name}.features`);
  refuseInfinite(labels, [labels.length / numRows], `${name}.targets`);
  const set = {
    name,
    numRows,
    shape: sampleShape,
    features: values.values,
    targets: labels,
    targetWidth: labels.length / numRows,
    targetShape: targetShape ?? [labels.length / numRows],
    sampleWeights: weights && takeSampleWeights(weights, numRows, `${name}.weights`),
  };
  return { ...set, sha256: hashSamples(set) };
}

const FIELDS = ['features', 'shape', 'targets', 'weights'] satisfies (keyof Samples)[];

/** Refuses a misspelt field, which would silently do nothing. */
function refuseUnknownFields(samples: Samples, name: string): void {
  const unknown = Object.keys(samples).find((key) => !FIELDS.some((field) => field === key));
  if (unknown === undefined) return;
  const help = didYouMean(unknown, FIELDS) ?? `valid fields: ${FIELDS.join(', ')}`;
  throw arrayError(`${name}: unknown field ${quoteValue(unknown)}`, help);
}

function takeTargets(targets: Numbers, numRows: number, name: string): Float64Array {
  const { values, shape } = flattenNumbers(targets, name);
  const isWhole = values.length > 0 && values.length % numRows === 0;
  if (isWhole && (shape === undefined || shape[0] === numRows)) return Float64Array.from(values);
  const counts = shape ? countOf(shape[0], 'row') : countOf(values.length, 'value');
  throw arrayError(`${name} has ${counts} for ${countOf(numRows, 'sample')}`);
}

function takeSampleWeights(weights: ArrayLike<number>, numRows: number, name: string): Float64Array {
  const { values } = flattenNumbers(weights, name);
  if (values.length === numRows) return Float64Array.from(values);
  throw arrayError(`${name} has ${countOf(values.length, 'value')} for ${countOf(numRows, 'sample')}`);
}

function checkShape(shape: Shape | undefined, { values }: Flat, name: string): [number, ...number[]] {
  if (shape === undefined) {
    const help = 'such as shape: [1000, 8] for 1,000 samples of 8 values';
    throw arrayError(`${name}.shape: missing, expected [samples, sizes of a sample]`, help);
  }
  const [numRows = 0, ...rest] = shape;
  if (rest.length === 0 || !shape.every((side) => Number.isSafeInteger(side) && side > 0)) {
    const message = `${name}.shape: expected [samples, sizes of a sample], each at least 1`;
    throw arrayError(`${message}, got [${shape.join(', ')}]`);
  }
  if (rest.length > MAX_SAMPLE_DIMENSIONS) {
    const message = `${name}.shape: a sample has at most ${MAX_SAMPLE_DIMENSIONS} dimensions, got [${rest.join(', ')}]`;
    throw arrayError(message, 'an image is [channels, height, width], a sequence [positions, features]');
  }
  if (sizeOf(shape) === values.length) return [numRows, ...rest];
  const counts = `${countOf(values.length, 'value')}, shape [${shape.join(', ')}] takes ${sizeOf(shape)}`;
  throw arrayError(`${name}.features has ${counts}`);
}

function hashSamples(set: Omit<ArraySet, 'sha256'>): string {
  const { features, numRows, shape, targets, targetWidth, sampleWeights } = set;
  const fields = [typeOf(features), numRows, shape, targetWidth, ...(sampleWeights ? ['weights'] : [])];
  return hashBlocks(fields, [features, targets, ...(sampleWeights ? [sampleWeights] : [])]);
}

function typeOf(values: Flat['values']): 'u8' | 'f32' | 'f64' {
  if (values instanceof Uint8Array) return 'u8';
  return values instanceof Float32Array ? 'f32' : 'f64';
}
