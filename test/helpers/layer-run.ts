// Runs a single layer, forward and backward, as a thread of a worker would, in memory for that layer alone.
// It follows a layer with parameters, so that it has to compute dX.
import type { z } from 'zod';
import { CountingWorkspace, ThreadWorkspace } from '../../src/engine/workspace.ts';
import { sizeOf } from '../../src/shape.ts';
import type { Layer, ParameterTensor, Microbatch } from '../../src/layers/layer.ts';
import type { Shape } from '../../src/shape.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { modelLayerSchema } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import type { EngineRoom } from './twins/engines.ts';

/** A layer of a config, or the one that columns put before those. */
export type AnyLayerInput = z.input<typeof modelLayerSchema>;

export interface LayerCase {
  readonly layer: AnyLayerInput;
  readonly inputShape: Shape;
  /** [rows, inputShape] */
  readonly x: ArrayLike<number>;
  /** [rows, outputShape] */
  readonly dY: ArrayLike<number>;
  /**
   * By the layer's own names, or concatenated. Default: the initial value of a tensor if it is constant, else
   * 0.
   */
  readonly weights?: ReadonlyMap<string, ArrayLike<number>> | ArrayLike<number>;
  /** Shards: rows [bounds[i], bounds[i + 1]). Default: all rows in one. */
  readonly bounds?: ArrayLike<number>;
  /** Dataset rows; default 0, 1, 2, ... */
  readonly sampleIndices?: readonly number[];
  readonly step?: number;
  readonly isTraining?: boolean;
  /** False makes the layer the first one. */
  readonly isAfterAnother?: boolean;
}

export interface LayerResult {
  readonly y: Float32Array;
  /** Empty where the layer computes none. */
  readonly dX: Float32Array;
  /** Sums over all shards, by the layer's own names. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** The same sums, concatenated. */
  readonly gradient: Float32Array;
}

/**
 * A layer that stands alone: its tensors begin at offset 0. @throws LockstepError where it does not fit its
 * input.
 */
export function resolveLayer(layer: AnyLayerInput, inputShape: Shape): Layer {
  return lastLayer(resolve([layer], inputShape));
}

/** Elements of all tensors of a layer. */
export function numParametersOf({ tensors }: Layer): number {
  return tensors.reduce((total, { length }) => total + length, 0);
}

function resolve(layers: readonly AnyLayerInput[], inputShape: Shape): Model {
  return resolveModel({ layers: layers.map((each) => modelLayerSchema.parse(each)) }, inputShape);
}

function lastLayer({ stack }: Model): Layer {
  return stack.layers.at(-1) as Layer;
}

/** The layer in front: it keeps every shape. */
function front(inputShape: Shape): LayerInput {
  return inputShape.length === 2 ? { kind: 'layerNorm' } : { kind: 'batchNorm' };
}

/** A tensor's name without the number of the layer's module. */
function ownName({ name }: ParameterTensor): string {
  return name.replace(/^\d+\./, '');
}

/**
 * Forward, and backward when training, with all shards in one microbatch. @throws LockstepError as
 * `resolveLayer` does.
 */
export function runLayer({ kernels, memory }: EngineRoom, options: LayerCase): LayerResult {
  const { inputShape, x, dY, isTraining = true, step = 0, isAfterAnother = true } = options;
  const rows = x.length / sizeOf(inputShape);
  const bounds = Uint32Array.from(options.bounds ?? [0, rows]);
  const sampleIndices = Uint32Array.from(
    options.sampleIndices ?? Array.from({ length: rows }, (_, row) => row),
  );
  const model = resolve(isAfterAnother ? [front(inputShape), options.layer] : [options.layer], inputShape);
  const layer = lastLayer(model);
  const start = model.numParameters - numParametersOf(layer);
  const put = (values: ArrayLike<number>): number => {
    const address = memory.allocate(4 * values.length, 'a test');
    memory.f32(address, values.length).set(values);
    return address;
  };
  const workspace = createWorkspace({ kernels, memory }, layer, {
    maxRows: rows,
    maxShards: bounds.length - 1,
  });
  const flat = put(flatWeights(model, layer, start, options.weights));
  layer.pack({ kernels, memory, flat, packed: workspace.packed, part: 0, numParts: 1 });
  const runner = layer.createRunner(workspace);
  workspace.bounds.fill(bounds);
  const gradient = put(new Float32Array(model.numParameters).fill(Number.NaN));
  const microbatch: Microbatch = {
    rows,
    isTraining,
    step,
    seed: 5,
    sampleIndices: put(new Float32Array(sampleIndices.buffer)),
    bounds,
    gradient,
    complete: () => undefined,
    bucketStart: () => 0,
  };
  const y = memory.f32(runner.forward(microbatch, put(x)), rows * sizeOf(layer.outputShape)).slice();
  const none = new Float32Array();
  if (!isTraining) return { y, dX: none, gradients: new Map(), gradient: none };
  const error = workspace.otherError(0);
  memory.f32(error, dY.length).set(dY);
  const dX = runner.backward(microbatch, error);
  const sums = memory.f32(gradient, model.numParameters).slice();
  return {
    y,
    dX: dX === 0 ? none : memory.f32(dX, x.length).slice(),
    gradients: new Map(
      layer.tensors.map((tensor) => [
        ownName(tensor),
        sums.subarray(tensor.offset, tensor.offset + tensor.length),
      ]),
    ),
    gradient: sums.subarray(start),
  };
}

/** Room for exactly the layer's requirements and its errors. */
function createWorkspace(
  { kernels, memory }: EngineRoom,
  layer: Layer,
  limits: { readonly maxRows: number; readonly maxShards: number },
): ThreadWorkspace {
  const counting = new CountingWorkspace(limits);
  counting.reserveError(limits.maxRows * sizeOf(layer.outputShape));
  layer.createRunner(counting);
  const packed = layer.packedLengths.map((length) => memory.allocate(4 * length, 'a test'));
  return ThreadWorkspace.allocate(kernels, memory, packed, { ...limits, lengths: counting.lengths });
}

/** The flat vector of the model, where the layer's weights begin at `start`. */
function flatWeights(
  model: Model,
  layer: Layer,
  start: number,
  given: LayerCase['weights'] = new Map(),
): Float32Array {
  const flat = new Float32Array(model.numParameters);
  if ('length' in given) {
    flat.set(given, start);
    return flat;
  }
  for (const tensor of layer.tensors) {
    const { offset, length, initial } = tensor;
    const value = initial.kind === 'constant' ? initial.value : 0;
    flat.set(given.get(ownName(tensor)) ?? new Float32Array(length).fill(value), offset);
  }
  return flat;
}
