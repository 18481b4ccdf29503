// One engine in this process, which trains without any network, and against which the
// distributed one is checked.
import type { PackedDataset } from '../data/dataset/packed-dataset.ts';
import { evaluationBounds } from '../data/dataset/split.ts';
import { instantiateKernels } from '../kernels/kernels.ts';
import type { KernelModule, Kernels } from '../kernels/kernels.ts';
import { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { cutBatch } from '../model/shards.ts';
import type { Sharding } from '../model/shards.ts';
import type { LossInput } from '../losses/registry.ts';
import { treeSum } from '../tree.ts';
import { Engine, wholeTask } from './engine.ts';
import type { PartialSum, EvaluatedRows, TaskRows } from './engine.ts';
import { planEngine } from './plan.ts';
import { allocateSamples } from './samples.ts';

/** Everything that a local engine is made from. */
export interface LocalEngineOptions {
  readonly kernelModule: KernelModule;
  readonly model: Model;
  readonly loss: LossInput;
  readonly seed: number;
  readonly dataset: PackedDataset;
  readonly batchSize: number;
  readonly shards: number;
  /** Default: a memory of its own. */
  readonly memory?: Memory;
}

/** An engine with its own packed weights and a copy of the dataset. */
export class LocalEngine {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly #engine: Engine;
  /** Addresses of the packed weights. */
  readonly #packedWeights: readonly number[];
  readonly #sharding: Sharding;

  private constructor(kernels: Kernels, memory: Memory, options: LocalEngineOptions) {
    const { model, loss, seed, dataset, batchSize, shards } = options;
    this.kernels = kernels;
    this.memory = memory;
    this.model = model;
    this.#sharding = { batchSize, shards, model: model.spec };
    this.#packedWeights = model.stack.allocatePacked(memory);
    const samples = allocateSamples(memory, dataset.layout);
    memory.bytes(samples.address, dataset.blob.byteLength).set(dataset.blob);
    const plan = planEngine(model, batchSize, shards);
    this.#engine = new Engine({
      kernels,
      memory,
      model,
      loss,
      seed,
      plan,
      packedWeights: this.#packedWeights,
      samples,
    });
  }

  static async create(options: LocalEngineOptions): Promise<LocalEngine> {
    const memory = options.memory ?? new Memory();
    return new LocalEngine(await instantiateKernels(options.kernelModule, memory.wasm), memory, options);
  }

  /** Takes the weights to compute with: the flat f32 vector at `address` of this engine's memory. */
  setWeights(address: number): void {
    const { kernels, memory } = this;
    this.model.stack.pack({
      kernels,
      memory,
      flat: address,
      packed: this.#packedWeights,
      part: 0,
      numParts: 1,
    });
  }

  /** Sums gradients over the batch of step `step`, cut into shards; returns the loss sum. */
  trainBatch(indices: Uint32Array, step: number, report: (sum: PartialSum) => void): number {
    let lossSum = Number.NaN;
    const task = wholeTask(indices, cutBatch(indices.length, this.#sharding));
    this.#engine.train(task, step, (sum) => {
      lossSum = sum.lossSum ?? lossSum;
      report(sum);
    });
    return lossSum;
  }

  /** Sums gradients over a part of a batch, as `Engine.train` does. */
  trainTask(task: TaskRows, step: number, report: (sum: PartialSum) => void): void {
    this.#engine.train(task, step, report);
  }

  /** Computes losses and outputs of a part of an evaluation, as `Engine.evaluate` does. */
  evaluateTask(task: TaskRows): EvaluatedRows {
    return this.#engine.evaluate(task);
  }

  /** Computes loss sum and outputs of the rows; `shardRows` rows make one shard of the loss tree. */
  evaluateRows(
    indices: Uint32Array,
    shardRows: number,
  ): { lossSum: number; outputs: EvaluatedRows['outputs'] } {
    const task = wholeTask(indices, evaluationBounds(indices.length, shardRows));
    const { lossSums, outputs } = this.#engine.evaluate(task);
    return { lossSum: treeSum(lossSums), outputs };
  }
}
