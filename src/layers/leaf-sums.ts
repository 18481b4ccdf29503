// Sums over the samples of a pass along the tree of its leaves, for gradients that no tree kernel computes: each
// leaf is summed by itself, and neighbours are added as soon as both are there.
import type { Kernels } from '../kernels/kernels.ts';
import type { Pass } from './layer.ts';

/** Where a tree sum goes, and the scratch of `stackedSums(maxLeaves) * length` f32 that it takes on the way. */
export interface LeafSums {
  readonly destination: number;
  readonly slots: number;
  readonly length: number;
}

/** Partial sums that wait above the destination while a tree of `maxLeaves` leaves is added up. */
export function stackedSums(maxLeaves: number): number {
  return 33 - Math.clz32(maxLeaves - 1);
}

/**
 * Sets `destination` to the tree sum over the pass's leaves of what `sumLeaf` writes to `to` for the samples
 * [start, end) of one leaf.
 */
export function sumLeaves(
  kernels: Kernels,
  pass: Pass,
  { destination, slots, length }: LeafSums,
  sumLeaf: (start: number, end: number, to: number) => void,
): void {
  const slotAt = (height: number): number => (height === 0 ? destination : slots + 4 * (height - 1) * length);
  let height = 0;
  const merge = (): void => {
    height--;
    kernels.addInto(slotAt(height - 1), slotAt(height), length);
  };
  for (let leaf = 0; leaf + 1 < pass.bounds.length; leaf++) {
    sumLeaf(pass.bounds[leaf] as number, pass.bounds[leaf + 1] as number, slotAt(height));
    height++;
    for (let level = leaf; level % 2 === 1; level = (level - 1) / 2) merge();
  }
  while (height > 1) merge();
}
