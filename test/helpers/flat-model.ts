// A model that consists of a flat vector, its tensors, blocks and buckets: all that optimizers and the
// training state use.
import type { ParameterRole } from '../../src/layers/layer.ts';
import type { Model, Bucket } from '../../src/model/model.ts';

export interface FlatTensor {
  readonly name: string;
  readonly role: ParameterRole;
  readonly length: number;
  readonly momentum?: number;
}

/**
 * Blocks of these lengths, counted from the end of the vector as the backward pass completes it; they
 * are the buckets too, unless those have lengths of their own.
 */
export function flatModel(
  tensors: readonly FlatTensor[],
  blockLengths: readonly number[],
  bucketLengths?: readonly number[],
): Model {
  let numParameters = 0;
  const placed = tensors.map((tensor) => {
    const offset = numParameters;
    numParameters += tensor.length;
    return { ...tensor, offset, shape: [tensor.length], initial: { kind: 'constant' as const, value: 0 } };
  });
  const cut = (lengths: readonly number[]): Bucket[] => {
    let end = numParameters;
    const slices = lengths.map((length) => ({ offset: (end -= length), length }));
    if (end !== 0) throw new Error(`the slices leave ${end} of ${numParameters} parameters`);
    return slices;
  };
  const blocks = cut(blockLengths);
  const buckets = bucketLengths ? cut(bucketLengths) : blocks;
  return { numParameters, tensors: placed, blocks, buckets } as unknown as Model;
}
