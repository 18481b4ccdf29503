// Engines for tests: models in one line, engines with a plan of the test's choosing, results as plain arrays.
import type { PackedDataset } from '../../../src/data/dataset/packed-dataset.ts';
import { Engine } from '../../../src/engine/engine.ts';
import type { TaskRows } from '../../../src/engine/engine.ts';
import { planEngine, planMicrobatches } from '../../../src/engine/plan.ts';
import { allocateSamples } from '../../../src/engine/samples.ts';
import { DenseLayer } from '../../../src/layers/dense.ts';
import { instantiateKernels } from '../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../src/kernels/load-kernels.ts';
import type { Kernels } from '../../../src/kernels/kernels.ts';
import { Memory } from '../../../src/memory.ts';
import { resolveModel } from '../../../src/model/model.ts';
import type { Model } from '../../../src/model/model.ts';
import type { Activation } from '../../../src/layers/activation.ts';
import type { LossInput } from '../../../src/losses/registry.ts';
import type { TreeNode } from '../../../src/tree.ts';
import { randomValues } from './samples.ts';

/** Units, activation and presence of a bias. */
export type LayerWords = readonly [units: number, activation: Activation, bias: boolean];

export function modelOf(inputWidth: number, layers: readonly LayerWords[]): Model {
  const specs = layers.map(([units, activation, bias]) => ({
    kind: 'dense' as const,
    units,
    activation,
    bias,
  }));
  return resolveModel({ layers: specs }, [inputWidth]);
}

/** The layers of a model that has only dense ones. */
export function denseLayers(model: Model): DenseLayer[] {
  return model.stack.layers.map((layer) => {
    if (layer instanceof DenseLayer) return layer;
    throw new TypeError(`${layer.describe()} is not dense`);
  });
}

/** Weights that keep activations of the order of 1. */
export function randomWeights(seed: number, model: Model): Float32Array {
  const values = randomValues(seed, model.numParameters);
  for (const { weight, inputs } of denseLayers(model)) {
    const part = values.subarray(weight.offset, weight.offset + weight.length);
    part.set(part.map((value) => value * Math.sqrt(3 / inputs)));
  }
  return values;
}

/** The seed of the engines in tests. */
const SEED = 1;

/** The memory of all engines: a single one, since each shared memory reserves 4 GiB of address space. */
export interface EngineRoom {
  readonly kernels: Kernels;
  readonly memory: Memory;
}

export async function createEngineRoom(): Promise<EngineRoom> {
  const memory = new Memory();
  const kernelModule = await loadKernelModule();
  return { kernels: await instantiateKernels(kernelModule, memory.wasm), memory };
}

export interface EngineOptions {
  readonly model: Model;
  readonly loss: LossInput;
  readonly dataset: PackedDataset;
  readonly weights: Float32Array;
  readonly batchSize: number;
  readonly shards: number;
  /** Default: no sum is rounded. */
  readonly groups?: number | undefined;
  /** Default: the plan's value. */
  readonly shardsPerMicrobatch?: number;
  /** Threads that share the packing of weights; default 1. */
  readonly numParts?: number;
}

export function createEngine({ kernels, memory }: EngineRoom, options: EngineOptions): Engine {
  const { model, loss, dataset, weights, batchSize, shards, groups, numParts = 1 } = options;
  const packedWeights = model.stack.allocatePacked(memory);
  const flat = memory.allocate(weights.byteLength, 'weights');
  memory.f32(flat, weights.length).set(weights);
  for (let part = 0; part < numParts; part++)
    model.stack.pack({ kernels, memory, flat, packed: packedWeights, part, numParts });
  const samples = allocateSamples(memory, dataset.layout);
  memory.bytes(samples.address, dataset.blob.byteLength).set(dataset.blob);
  const { shardsPerMicrobatch } = options;
  const plan =
    shardsPerMicrobatch === undefined
      ? planEngine(model, options)
      : {
          ...planMicrobatches(model, {
            maxRows: Math.min(batchSize, shardsPerMicrobatch * Math.ceil(batchSize / shards)),
            maxShards: shardsPerMicrobatch,
          }),
          groups,
        };
  return new Engine({
    kernels,
    memory,
    model,
    loss,
    seed: SEED,
    plan,
    packedWeights,
    samples,
  });
}

/** The finished sum of one tree node. */
export interface NodeSum {
  readonly node: TreeNode;
  /** In the layout of the model's flat vector. */
  readonly gradient: Float32Array;
  readonly lossSum: number;
}

/** Runs a task and gathers its buckets. @throws Error where a bucket is missing, doubled or out of order. */
export function sumsOfTask({ memory }: EngineRoom, model: Model, engine: Engine, task: TaskRows): NodeSum[] {
  const sums: NodeSum[] = [];
  let gradient = new Float32Array(model.numParameters);
  let next = 0;
  engine.train(task, 0, ({ node, bucket, address, lossSum }) => {
    if (bucket !== next) throw new Error(`bucket ${bucket} came where ${next} was due`);
    const { offset, length } = model.buckets[bucket] as (typeof model.buckets)[number];
    gradient.set(memory.f32(address, length), offset);
    next = bucket + 1;
    const isLast = next === model.buckets.length;
    if (isLast !== (lossSum !== undefined)) throw new Error('the loss comes with the last bucket');
    if (lossSum === undefined) return;
    sums.push({ node, gradient, lossSum });
    gradient = new Float32Array(model.numParameters);
    next = 0;
  });
  if (next !== 0) throw new Error(`the last node has ${next} of ${model.buckets.length} buckets`);
  return sums;
}
