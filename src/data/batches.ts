// Which samples a step sees: the order of an epoch and its batches, which src/model/shards.ts cuts into shards; and the leaves
// of an evaluation. All are functions of config, seed and counts alone; who computes plays no part.
import { shuffledIndices } from '../random.ts';

/** The training rows in the order that `epoch` (from 0) visits them; in file order without shuffling. */
export function epochOrder(
  train: Uint32Array,
  { seed, epoch, shuffle }: { readonly seed: number; readonly epoch: number; readonly shuffle: boolean },
): Uint32Array {
  if (!shuffle) return train.slice();
  const order = shuffledIndices(train.length, { seed, purpose: 'order', epoch });
  return order.map((position) => train[position] as number);
}

/** Steps of an epoch; the last batch may be short and is used. */
export function numBatches(numRows: number, batchSize: number): number {
  return Math.ceil(numRows / batchSize);
}

/** Bounds of the leaves of an evaluation: `leafRows` rows each, the last leaf what is left. */
export function leafBounds(numRows: number, leafRows: number): Uint32Array {
  const numLeaves = Math.ceil(numRows / leafRows);
  return Uint32Array.from({ length: numLeaves + 1 }, (_, leaf) => Math.min(leaf * leafRows, numRows));
}
