// Sums over the samples of a microbatch along the tree of its shards, for gradients
// that no tree kernel computes: each shard is summed by itself, and neighbours are
// added as soon as both are there.
import type { Kernels } from '../kernels/kernels.ts';
import type { Microbatch } from './layer.ts';

/** The destination of a tree sum, and the scratch of `stackedSums(maxShards) * length` f32 that it takes. */
export interface ShardSums {
  readonly destination: number;
  readonly slots: number;
  readonly length: number;
}

/** Partial sums that wait above the destination while a tree of `maxShards` shards is added up. */
export function stackedSums(maxShards: number): number {
  return 33 - Math.clz32(maxShards - 1);
}

/**
 * Sets `destination` to the tree sum over the microbatch's shards of what `sumShard` writes to `to`
 * for the samples [start, end) of one shard.
 */
export function sumShards(
  kernels: Kernels,
  microbatch: Microbatch,
  { destination, slots, length }: ShardSums,
  sumShard: (start: number, end: number, to: number) => void,
): void {
  const slotAt = (height: number): number => (height === 0 ? destination : slots + 4 * (height - 1) * length);
  let height = 0;
  const merge = (): void => {
    height--;
    kernels.addInto(slotAt(height - 1), slotAt(height), length);
  };
  for (let shard = 0; shard + 1 < microbatch.bounds.length; shard++) {
    sumShard(microbatch.bounds[shard] as number, microbatch.bounds[shard + 1] as number, slotAt(height));
    height++;
    for (let level = shard; level % 2 === 1; level = (level - 1) / 2) merge();
  }
  while (height > 1) merge();
}
