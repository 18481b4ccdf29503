// Which samples a step sees: the order of an epoch, its batches, and the shards of a batch.
// All three are functions of config, seed and counts alone; who computes a shard plays no part.
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

/**
 * Bounds of the k non-empty shards of a batch, k + 1 numbers: shard i is rows `[bounds[i], bounds[i + 1])`.
 * The first `numRows % shards` shards have one row more; a batch of fewer rows than shards has fewer shards.
 */
export function shardBounds(numRows: number, shards: number): Uint32Array {
  const base = Math.floor(numRows / shards);
  const numLarger = numRows % shards;
  const numShards = Math.min(numRows, shards);
  return Uint32Array.from({ length: numShards + 1 }, (_, shard) => shard * base + Math.min(shard, numLarger));
}

/** Bounds of the leaves of an evaluation: `leafRows` rows each, the last leaf what is left. */
export function leafBounds(numRows: number, leafRows: number): Uint32Array {
  const numLeaves = Math.ceil(numRows / leafRows);
  return Uint32Array.from({ length: numLeaves + 1 }, (_, leaf) => Math.min(leaf * leafRows, numRows));
}
