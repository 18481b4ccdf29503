// The weights in the form that every product reads: panels, and biases beside them. Packed once a step
// from the flat vector, by all threads of a process together, then only read.
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { TILE_COLUMNS } from '../kernels/tile.ts';
import { packedBackwardLength, packedForwardLength } from './plan.ts';

/** Addresses of the packed weights in a process's memory; shared by its threads. */
export interface WeightsLayout {
  /** A layer each: panels of W^T, for y = x W^T. */
  readonly forwardPanels: readonly number[];
  /** A layer each: panels of W, for dx = dy W. The first layer needs none: 0. */
  readonly backwardPanels: readonly number[];
  /** A layer each: f32 [out]; zeros for a layer without bias. */
  readonly biases: readonly number[];
}

/** Allocates the packed weights of a process. */
export function allocateWeights(memory: Memory, model: Model): WeightsLayout {
  const allocate = (length: number): number => memory.allocate(4 * length, 'packed weights');
  return {
    forwardPanels: model.layers.map((layer) => allocate(packedForwardLength(layer))),
    backwardPanels: model.layers.map((layer, index) =>
      index === 0 ? 0 : allocate(packedBackwardLength(layer)),
    ),
    biases: model.layers.map((layer) => allocate(layer.outputs)),
  };
}

/**
 * Packs the flat vector at `flat`: the share of thread `part` of `numParts`, a run of panels of every
 * layer each. Once packed, the flat vector is no longer read.
 */
export function packWeights(
  kernels: Kernels,
  memory: Memory,
  model: Model,
  weights: WeightsLayout,
  flat: number,
  part = 0,
  numParts = 1,
): void {
  model.layers.forEach((layer, index) => {
    const source = flat + 4 * layer.weight.offset;
    const { inputs, outputs, bias } = layer;
    const share = (length: number): [number, number] => {
      const panels = Math.ceil(length / TILE_COLUMNS);
      return [Math.floor((panels * part) / numParts), Math.floor((panels * (part + 1)) / numParts)];
    };
    const forward = weights.forwardPanels[index] as number;
    kernels.packRightRows(source, outputs, inputs, inputs, forward, ...share(outputs));
    const backward = weights.backwardPanels[index] as number;
    if (index > 0) kernels.packRightColumns(source, inputs, outputs, inputs, backward, ...share(inputs));
    if (bias && part === 0) {
      memory.f32(weights.biases[index] as number, outputs).set(memory.f32(flat + 4 * bias.offset, outputs));
    }
  });
}
