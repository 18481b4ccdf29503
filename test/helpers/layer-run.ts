// One layer by itself: made from its spec, run forward and backward on values of the test's choosing.
import { CountingSite, ThreadSite } from '../../src/engine/site.ts';
import { LockstepError } from '../../src/errors.ts';
import { sizeOf } from '../../src/layers/layer.ts';
import type { Layer, LayerBuilder, ParameterTensor, Shape } from '../../src/layers/layer.ts';
import { createLayer, layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import type { EngineRoom } from './twins/engines.ts';

/** A layer whose tensors begin at offset 0 of the flat vector, and how many f32 that has. */
export interface LoneLayer {
  readonly layer: Layer;
  readonly numParameters: number;
}

/** @throws LockstepError where the layer does not fit its input. */
export function createLoneLayer(spec: LayerInput, inputShape: Shape, needsInputGradient = true): LoneLayer {
  let numParameters = 0;
  const builder: LayerBuilder = {
    index: 0,
    needsInputGradient,
    tensor: (options): ParameterTensor => {
      const offset = numParameters;
      const length = sizeOf(options.shape);
      numParameters += length;
      return { ...options, offset, length };
    },
    stack: () => {
      throw new Error('a lone layer has no layers inside');
    },
    refuse: (message) => new LockstepError({ category: 'usage', code: 'E_MODEL_SHAPE', message }),
  };
  return { layer: createLayer(layerSchema.parse(spec), inputShape, builder), numParameters };
}

export interface LayerRun {
  /** [numParameters] */
  readonly weights: ArrayLike<number>;
  /** [rows, inputShape] */
  readonly x: ArrayLike<number>;
  /** [rows, outputShape] */
  readonly dY: ArrayLike<number>;
  /** Leaves: rows [bounds[i], bounds[i + 1]). */
  readonly bounds: Uint32Array;
}

export interface LayerResult {
  readonly y: Float32Array;
  /** Of all leaves, in the layout of the flat vector. */
  readonly gradient: Float32Array;
  /** Undefined where the layer gives none. */
  readonly dX: Float32Array | undefined;
}

/** Forward and backward in one pass over all leaves. */
export function runLayer(room: EngineRoom, { layer, numParameters }: LoneLayer, run: LayerRun): LayerResult {
  const { kernels, memory } = room;
  const { weights, x, dY, bounds } = run;
  const rows = bounds[bounds.length - 1] as number;
  const limits = { maxRows: rows, maxLeaves: bounds.length - 1 };
  const put = (values: ArrayLike<number>): number => {
    const address = memory.allocate(4 * values.length, 'a test');
    memory.f32(address, values.length).set(values);
    return address;
  };
  const counting = new CountingSite(limits);
  counting.reserveError(dY.length);
  layer.createRunner(counting);
  const packed = layer.packedLengths.map((length) => memory.allocate(4 * length, 'a test'));
  const site = ThreadSite.allocate(kernels, memory, packed, { ...limits, lengths: counting.lengths });
  layer.pack({ kernels, memory, flat: put(weights), packed, part: 0, numParts: 1 });
  const runner = layer.createRunner(site);
  site.bounds.fill(bounds);
  const gradient = put(new Float32Array(numParameters).fill(Number.NaN));
  const pass = {
    rows,
    bounds,
    gradient,
    isTraining: true,
    seed: 1,
    step: 0,
    sampleIndices: put(new Float32Array(rows)),
    complete: () => undefined,
    pieceStart: () => 0,
  };
  const y = memory.f32(runner.forward(pass, put(x)), dY.length).slice();
  const error = site.otherError(0);
  memory.f32(error, dY.length).set(dY);
  const dX = runner.backward(pass, error);
  return {
    y,
    gradient: memory.f32(gradient, numParameters).slice(),
    dX: dX === 0 ? undefined : memory.f32(dX, x.length).slice(),
  };
}
