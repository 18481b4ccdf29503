// A model that is nothing but a flat vector, its tensors and its pieces: what optimizers and the training state look at.
import type { ParameterRole } from '../../src/layers/layer.ts';
import type { Model, Piece } from '../../src/model/model.ts';

export interface FlatTensor {
  readonly name: string;
  readonly role: ParameterRole;
  readonly length: number;
  readonly momentum?: number;
}

/** Cut into pieces behind these lengths, counted from the end of the vector as the backward pass completes it. */
export function flatModel(tensors: readonly FlatTensor[], pieceLengths: readonly number[]): Model {
  let numParameters = 0;
  const placed = tensors.map((tensor) => {
    const offset = numParameters;
    numParameters += tensor.length;
    return { ...tensor, offset, shape: [tensor.length], initial: { kind: 'constant' as const, value: 0 } };
  });
  const pieces: Piece[] = [];
  let end = numParameters;
  for (const length of pieceLengths) pieces.push({ offset: (end -= length), length });
  if (end !== 0) throw new Error(`the pieces leave ${end} of ${numParameters} parameters`);
  return { numParameters, tensors: placed, pieces } as unknown as Model;
}
