// The weights in the form that the layers read. Packed once a step from the flat vector, by all threads of a
// process together, then only read.
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';

/** Addresses of the packed weights in a process's memory, in the order of the model's `packedLengths`. */
export type PackedWeights = readonly number[];

/** Allocates the packed weights of a process. */
export function allocateWeights(memory: Memory, model: Model): PackedWeights {
  return model.stack.packedLengths.map((length) => memory.allocate(4 * length, 'packed weights'));
}

/**
 * Packs the flat vector at `flat`: the share of thread `part` of `numParts`. Once packed, the flat vector is no
 * longer read.
 */
export function packWeights(
  kernels: Kernels,
  memory: Memory,
  model: Model,
  packed: PackedWeights,
  flat: number,
  part = 0,
  numParts = 1,
): void {
  model.stack.pack({ kernels, memory, flat, packed, part, numParts });
}
