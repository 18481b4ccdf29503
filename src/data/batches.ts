// Which samples a step sees: the order of an epoch and its batches, which src/model/shards.ts cuts into shards; and the shards
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

/** Bounds of the shards of an evaluation: `shardRows` rows each, the last shard what is left. */
export function evaluationBounds(numRows: number, shardRows: number): Uint32Array {
  const numShards = Math.ceil(numRows / shardRows);
  return Uint32Array.from({ length: numShards + 1 }, (_, shard) => Math.min(shard * shardRows, numRows));
}
