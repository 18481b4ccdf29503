// Sample weights in metrics. A weight of 1 changes no bit, and one of 0 leaves a row out.
import { treeSum } from '../tree.ts';

/** A weight for each row, at least 0; undefined where every row weighs 1. */
export type SampleWeights = Float32Array | undefined;

/** Multiplies each value by its row's weight; 0 where that is 0, for 0 times infinity is not a number. */
export function weigh(values: Float64Array, sampleWeights: SampleWeights): Float64Array {
  return sampleWeights
    ? values.map((value, row) => (sampleWeights[row] === 0 ? 0 : value * sampleWeights[row]!))
    : values;
}

/** The sum of weights, along the tree. */
export function totalOf(sampleWeights: SampleWeights, numRows: number): number {
  return sampleWeights ? treeSum(sampleWeights) : numRows;
}

/** @throws RangeError for no rows. */
export function requireRows(numRows: number): number {
  if (!Number.isInteger(numRows) || numRows < 1)
    throw new RangeError(`metrics of ${numRows} rows are undefined`);
  return numRows;
}

/** part / whole, and 0 for 0 / 0. */
export function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
