// Runs one layer by itself, forward and backward, as a thread of a worker would: the layer stands behind one with
// parameters, so that it has to give dX.
import { planPasses } from '../../src/engine/plan.ts';
import { ThreadSite } from '../../src/engine/site.ts';
import { allocateWeights, packWeights } from '../../src/engine/weights.ts';
import { sizeOf } from '../../src/layers/layer.ts';
import type { Layer, Pass, Shape } from '../../src/layers/layer.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import type { EngineRoom } from './twins/engines.ts';

export interface LayerJob {
  readonly layer: LayerInput;
  readonly inputShape: Shape;
  /** [rows, inputShape] */
  readonly x: Float32Array;
  /** [rows, outputShape] */
  readonly dY: Float32Array;
  /** By the layer's own names. Default: what the layer starts from where that is constant. */
  readonly weights?: ReadonlyMap<string, ArrayLike<number>>;
  /** Default: all rows in one leaf. */
  readonly bounds?: readonly number[];
  /** Dataset rows; default 0, 1, 2, ... */
  readonly sampleIndices?: readonly number[];
  readonly step?: number;
  readonly isTraining?: boolean;
  /** False lets the layer stand first. */
  readonly isBehindAnother?: boolean;
}

export interface LayerResult {
  readonly y: Float32Array;
  readonly dX: Float32Array;
  /** By the layer's own names. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** The layer in front: it keeps every shape. */
function front(inputShape: Shape): LayerInput {
  return inputShape.length === 2 ? { kind: 'layerNorm' } : { kind: 'batchNorm' };
}

function resolve({ layer, inputShape, isBehindAnother = true }: LayerJob): Model {
  const layers = isBehindAnother ? [front(inputShape), layer] : [layer];
  return resolveModel({ layers: layers.map((each) => layerSchema.parse(each)) }, inputShape);
}

/** A tensor's name without the number of the layer's module. */
function ownName(name: string): string {
  return name.replace(/^\d+\./, '');
}

/** Runs a job. */
export function runLayer({ kernels, memory }: EngineRoom, job: LayerJob): LayerResult {
  const { inputShape, x, dY, isTraining = true, step = 0, weights: given } = job;
  const rows = x.length / sizeOf(inputShape);
  const { bounds = [0, rows], sampleIndices = Array.from({ length: rows }, (_, row) => row) } = job;
  const model = resolve(job);
  const layer = model.stack.layers.at(-1) as Layer;
  const flat = memory.allocate(4 * model.numParameters + 16, 'weights');
  for (const { name, offset, length, initial } of model.tensors) {
    const values = layer.tensors.some((tensor) => tensor.name === name) && given?.get(ownName(name));
    const to = memory.f32(flat + 4 * offset, length);
    if (values) to.set(values);
    else to.fill(initial.kind === 'constant' ? initial.value : 0);
  }
  const packed = allocateWeights(memory, model);
  packWeights(kernels, memory, model, packed, flat);
  const plan = planPasses(model, { maxRows: rows, maxLeaves: bounds.length - 1 });
  const own = packed.slice(packed.length - layer.packedLengths.length);
  const site = ThreadSite.allocate(kernels, memory, own, plan);
  const runner = layer.createRunner(site);
  site.bounds.fill(Uint32Array.from(bounds));
  const put = (values: Float32Array): number => {
    const address = memory.allocate(values.byteLength, 'tests');
    memory.f32(address, values.length).set(values);
    return address;
  };
  const gradient = memory.allocate(4 * model.numParameters + 16, 'gradients');
  const pass: Pass = {
    rows,
    isTraining,
    step,
    seed: 5,
    sampleIndices: put(new Float32Array(Uint32Array.from(sampleIndices).buffer)),
    bounds: Uint32Array.from(bounds),
    gradient,
    complete: () => undefined,
    pieceStart: () => 0,
  };
  const y = memory.f32(runner.forward(pass, put(x)), rows * sizeOf(layer.outputShape)).slice();
  if (!isTraining) return { y, dX: new Float32Array(), gradients: new Map() };
  const error = site.otherError(0);
  memory.f32(error, dY.length).set(dY);
  const dX = runner.backward(pass, error);
  const gradients = layer.tensors.map(({ name, offset, length }) => {
    return [ownName(name), memory.f32(gradient + 4 * offset, length).slice()] as const;
  });
  return {
    y,
    dX: dX === 0 ? new Float32Array() : memory.f32(dX, x.length).slice(),
    gradients: new Map(gradients),
  };
}
