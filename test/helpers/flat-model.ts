// A model that consists of a flat vector, its tensors and its buckets: all that optimizers and the training
// state use.
import type { ParameterRole } from '../../src/layers/layer.ts';
import type { Model, Bucket } from '../../src/model/model.ts';

export interface FlatTensor {
  readonly name: string;
  readonly role: ParameterRole;
  readonly length: number;
  readonly momentum?: number;
}

/** Buckets of these lengths, counted from the end of the vector as the backward pass completes it. */
export function flatModel(tensors: readonly FlatTensor[], bucketLengths: readonly number[]): Model {
  let numParameters = 0;
  const placed = tensors.map((tensor) => {
    const offset = numParameters;
    numParameters += tensor.length;
    return { ...tensor, offset, shape: [tensor.length], initial: { kind: 'constant' as const, value: 0 } };
  });
  const buckets: Bucket[] = [];
  let end = numParameters;
  for (const length of bucketLengths) buckets.push({ offset: (end -= length), length });
  if (end !== 0) throw new Error(`the buckets leave ${end} of ${numParameters} parameters`);
  return { numParameters, tensors: placed, buckets } as unknown as Model;
}
