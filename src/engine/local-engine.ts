// One engine in this process, which trains without any network, and against which the
// distributed one is checked.
import { rowSource } from '../data/dataset/packed-dataset.ts';
import type { PackedBlocks, RowSource } from '../data/dataset/packed-dataset.ts';
import { evaluationBounds, range } from '../data/dataset/split.ts';
import { instantiateKernels } from '../kernels/kernels.ts';
import type { KernelModule, Kernels } from '../kernels/kernels.ts';
import { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { cutBatch } from '../model/shards.ts';
import type { Sharding } from '../model/shards.ts';
import type { Loss, LossInput } from '../losses/registry.ts';
import { treeSum } from '../tree.ts';
import { Engine, partsOf, wholeTask } from './engine.ts';
import type { PartialSum, EvaluatedRows, TaskRows } from './engine.ts';
import { planEngine } from './plan.ts';
import { allocateSamples, placeRows } from './samples.ts';
import type { Samples } from './samples.ts';

/** Everything that a local engine is made from. */
export interface LocalEngineOptions {
  readonly kernelModule: KernelModule;
  readonly model: Model;
  readonly loss: LossInput | Loss;
  readonly seed: number;
  readonly dataset: PackedBlocks;
  /** True where tasks bring their rows; default: if the dataset has a file. */
  readonly isStreamed?: boolean | undefined;
  /** Rows of a streamed dataset that are in memory at once; default: enough for large evaluations. */
  readonly maxRows?: number | undefined;
  readonly batchSize: number;
  readonly shards: number;
  /** Most groups of shards whose sums are rounded; default: no sum is. */
  readonly groups?: number | undefined;
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
  readonly #samples: Samples;
  readonly #source: RowSource | undefined;
  /** Rows of a streamed dataset that are in memory at once. */
  readonly #maxRows: number | undefined;

  private constructor(kernels: Kernels, memory: Memory, options: LocalEngineOptions) {
    const { model, loss, seed, dataset, batchSize, shards } = options;
    this.kernels = kernels;
    this.memory = memory;
    this.model = model;
    this.#sharding = { batchSize, shards, model: model.spec };
    this.#packedWeights = model.stack.allocatePacked(memory);
    const { layout, blob, file } = dataset;
    const { isStreamed = file !== undefined } = options;
    this.#maxRows = isStreamed ? (options.maxRows ?? streamedRows(options)) : undefined;
    this.#source = rowSource(dataset);
    this.#samples = allocateSamples(memory, layout, this.#maxRows);
    if (!isStreamed) memory.bytes(this.#samples.address, blob.byteLength).set(blob);
    const plan = planEngine(model, options);
    this.#engine = new Engine({
      kernels,
      memory,
      model,
      loss,
      seed,
      plan,
      packedWeights: this.#packedWeights,
      samples: this.#samples,
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
    const task = wholeTask(indices, cutBatch(indices.length, this.#sharding), this.#source);
    this.trainTask(task, step, (sum) => {
      lossSum = sum.lossSum ?? lossSum;
      report(sum);
    });
    return lossSum;
  }

  /** Sums gradients over a part of a batch, as `Engine.train` does. */
  trainTask(task: TaskRows, step: number, report: (sum: PartialSum) => void): void {
    this.#engine.train(placeRows(this.memory, this.#samples, task), step, report);
  }

  /** Computes losses and outputs of a part of an evaluation, as `Engine.evaluate` does. */
  evaluateTask(task: TaskRows): EvaluatedRows {
    return this.#engine.evaluate(placeRows(this.memory, this.#samples, task));
  }

  /**
   * Computes loss sum and outputs of the rows; `shardRows` rows make one shard of the loss tree. `source`
   * packs them, if it is not the dataset's.
   */
  evaluateRows(
    indices: Uint32Array,
    shardRows: number,
    source: RowSource | undefined = this.#source,
  ): { lossSum: number; outputs: EvaluatedRows['outputs'] } {
    const task = wholeTask(indices, evaluationBounds(indices.length, shardRows), source);
    const parts = [...partsOf(task, this.#maxRows ?? Infinity)].map((part) => this.evaluateTask(part));
    const lossSums = parts.flatMap((part) => [...part.lossSums]);
    return { lossSum: treeSum(lossSums), outputs: concatenate(parts.map(({ outputs }) => outputs)) };
  }

  /** Computes the outputs of the last layer of rows that `source` packs, as `Engine.predict` does. */
  predictRows(indices: Uint32Array, source: RowSource): Float32Array {
    const task = wholeTask(indices, evaluationBounds(indices.length, 1), source);
    const parts = [...partsOf(task, this.#maxRows ?? Infinity)].map((part) => {
      const { indices: rows } = placeRows(this.memory, this.#samples, part);
      return this.#engine.predict(range(0, rows.length), this.#samples);
    });
    return concatenate(parts);
  }
}

function concatenate(blocks: readonly Float32Array[]): Float32Array {
  const [first] = blocks;
  if (first && blocks.length === 1) return first;
  const all = new Float32Array(blocks.reduce((sum, { length }) => sum + length, 0));
  let filled = 0;
  for (const block of blocks) {
    all.set(block, filled);
    filled += block.length;
  }
  return all;
}

/** Rows of a streamed dataset that are evaluated at once, if a batch has fewer. */
const EVALUATED_ROWS = 2048;

/** Rows of a streamed dataset that a local engine has in memory at once. */
export function streamedRows({ batchSize }: Pick<LocalEngineOptions, 'batchSize'>): number {
  return Math.max(batchSize, EVALUATED_ROWS);
}
