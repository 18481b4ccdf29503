// Forward and backward passes of one compute thread: from weights and sample indices to sums of
// gradients along the tree. Knows no network, no optimizer and no epoch.
import { sampleWeightWidth } from '../data/dataset/packed-dataset.ts';
import { sizeOf } from '../layers/layer.ts';
import type { LayerRunner, Microbatch } from '../layers/layer.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Loss } from '../losses/loss.ts';
import { createLoss, unsmoothedLoss } from '../losses/registry.ts';
import type { LossInput } from '../losses/registry.ts';
import type { Memory } from '../memory.ts';
import type { Bucket, Model } from '../model/model.ts';
import { maximalNodes, ReductionTree, shardsUnder, treeSum } from '../tree.ts';
import type { Merge, TreeNode } from '../tree.ts';
import { evaluationWidth, isSequence } from './evaluation.ts';
import type { EnginePlan } from './plan.ts';
import { gatherFeatures, gatherTargets, gatherSampleWeights } from './samples.ts';
import type { Samples } from './samples.ts';
import { ThreadWorkspace } from './workspace.ts';
import type { PackedWeights } from './weights.ts';

/** Rows to work through: shards [firstShard, firstShard + bounds.length - 1) of a tree of `numShards`. */
export interface TaskRows {
  readonly numShards: number;
  readonly firstShard: number;
  /** Shard i of the task holds the rows [bounds[i], bounds[i + 1]) of `indices`; bounds[0] is 0. */
  readonly bounds: Uint32Array;
  /** Dataset rows, in batch order. */
  readonly indices: Uint32Array;
}

/** A task of a batch that is trained on. */
export interface TrainingRows extends TaskRows {
  /** Optimizer steps taken before: keys random draws. */
  readonly step: number;
}

/** One bucket of a finished partial sum. */
export interface GradientBucket {
  readonly node: TreeNode;
  /** Index into the model's buckets. */
  readonly bucket: number;
  /** Address of the f32 sum of gradients over the node's samples; valid until the next call. */
  readonly address: number;
  /** The node's sum of losses, with its last bucket. */
  readonly lossSum: number | undefined;
}

/** What `evaluate` gives for a task. */
export interface EvaluatedRows {
  /** f64 sum of losses of each shard. */
  readonly lossSums: Float64Array;
  /** f32 [rows, evaluationWidth]: what the model predicts, or how its sequences are met; a copy. */
  readonly outputs: Float32Array;
}

/** What an engine is made from; `weights` and `samples` are shared by the threads of a process. */
export interface EngineParts {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly loss: LossInput;
  readonly seed: number;
  readonly plan: EnginePlan;
  readonly weights: PackedWeights;
  readonly samples: Samples;
}

/** A subtree of shards that goes through the layers at once. */
interface TreeMicrobatch {
  readonly node: TreeNode;
  readonly indices: Uint32Array;
  /** Shard i of the microbatch holds the rows [bounds[i], bounds[i + 1]) of `indices`. */
  readonly bounds: Uint32Array;
  /** Address of its sums of gradients. */
  readonly gradient: number;
  readonly merges: readonly Merge<number>[];
  /** The sum that this microbatch completes, if it is one to report. */
  readonly finished: { readonly node: TreeNode; readonly address: number } | undefined;
}

/** What differs between passes. */
type MicrobatchOptions = Pick<Microbatch, 'bounds' | 'gradient' | 'isTraining' | 'step'> & {
  readonly indices: Uint32Array;
};

/** Runs tasks of rows through the model. Weights must be packed first (`packWeights`). */
export class Engine {
  readonly #parts: EngineParts;
  readonly #loss: Loss;
  /** Beside a smoothed loss of sequences. */
  readonly #logLoss: Loss | undefined;
  readonly #workspace: ThreadWorkspace;
  readonly #runner: LayerRunner;
  readonly #buffers: Buffers;
  #gradients: number[] = [];
  #freeGradients: number[] = [];
  #lossSums = new Map<number, number>();

  constructor(parts: EngineParts) {
    const { kernels, memory, model, plan, weights } = parts;
    this.#parts = parts;
    this.#loss = createLoss(parts.loss);
    this.#logLoss = unsmoothedLoss(parts.loss);
    this.#workspace = ThreadWorkspace.allocate(kernels, memory, weights, plan);
    this.#buffers = allocateBuffers(parts, this.#workspace);
    this.#runner = model.stack.createRunner(this.#workspace);
  }

  /**
   * Sums gradients and losses over a task, and reports each bucket of each maximal tree node as soon as
   * the backward pass has completed it: last layers first.
   */
  train(task: TrainingRows, report: (bucket: GradientBucket) => void): void {
    this.#freeGradients = [...this.#gradients];
    this.#lossSums.clear();
    for (const treeMicrobatch of this.#microbatches(task)) {
      const buckets = new BucketWatch(this.#parts.model.buckets, (bucket) =>
        this.#finishBucket(treeMicrobatch, bucket, report),
      );
      const { indices, bounds, gradient } = treeMicrobatch;
      const microbatch = this.#startMicrobatch(
        { indices, bounds, gradient, isTraining: true, step: task.step },
        buckets,
      );
      const outputs = this.#runner.forward(microbatch, this.#buffers.features);
      this.#lossBackward(treeMicrobatch, outputs);
      this.#runner.backward(microbatch, this.#buffers.lossGradient);
      buckets.complete(0);
      // A right side is spent once added to its left, so a later microbatch may overwrite it.
      for (const { right } of treeMicrobatch.merges) this.#freeGradients.push(right);
    }
  }

  /** Losses and outputs of a task; reads the weights only. */
  evaluate(task: TaskRows): EvaluatedRows {
    const { plan, model, memory, loss, samples } = this.#parts;
    const width = evaluationWidth(model, samples.layout, loss);
    const numRows = task.indices.length;
    const outputs = new Float32Array(numRows * width);
    const rowLosses = new Float64Array(numRows);
    for (let start = 0; start < numRows; start += plan.maxRows) {
      const indices = task.indices.subarray(start, Math.min(start + plan.maxRows, numRows));
      const bounds = Uint32Array.of(0, indices.length);
      const microbatch = this.#startMicrobatch({ indices, bounds, gradient: 0, isTraining: false, step: 0 });
      const address = this.#runner.forward(microbatch, this.#buffers.features);
      this.#runLoss(this.#loss, address, indices.length);
      rowLosses.set(memory.f64(this.#buffers.rowLosses, indices.length), start);
      const shown = outputs.subarray(start * width, (start + indices.length) * width);
      if (isSequence(samples.layout)) this.#describeSequences(address, shown, width);
      else shown.set(memory.f32(address, shown.length));
    }
    const lossSums = new Float64Array(task.bounds.length - 1);
    for (let shard = 0; shard < lossSums.length; shard++) {
      lossSums[shard] = sumInOrder(rowLosses.subarray(task.bounds[shard], task.bounds[shard + 1]));
    }
    return { lossSums, outputs };
  }

  /**
   * f32 [rows, outputWidth] of rows of `samples`, which need no targets: what the last layer gives, also for sequences.
   * `samples` may be another block than the engine was made for, of the same feature shape.
   */
  predict(indices: Uint32Array, samples: Samples): Float32Array {
    const { plan, model, memory } = this.#parts;
    const outputs = new Float32Array(indices.length * model.outputWidth);
    for (let start = 0; start < indices.length; start += plan.maxRows) {
      const rows = indices.subarray(start, start + plan.maxRows);
      const bounds = Uint32Array.of(0, rows.length);
      this.#gatherInputs(rows, samples);
      const microbatch = this.#describeMicrobatch({
        indices: rows,
        bounds,
        gradient: 0,
        isTraining: false,
        step: 0,
      });
      const address = this.#runner.forward(microbatch, this.#buffers.features);
      outputs.set(memory.f32(address, rows.length * model.outputWidth), start * model.outputWidth);
    }
    return outputs;
  }

  /** Cuts a task into passes, and works out which additions each microbatch makes possible. */
  *#microbatches(task: TaskRows): Generator<TreeMicrobatch> {
    const { maxShards } = this.#parts.plan;
    const endShard = task.firstShard + task.bounds.length - 1;
    const tree = new ReductionTree<number>(task.numShards);
    for (const maximal of maximalNodes(task.firstShard, endShard, task.numShards)) {
      const { from, to } = shardsUnder(maximal, task.numShards);
      for (let shard = from; shard < to; shard += maxShards) {
        const end = Math.min(shard + maxShards, to);
        const [node] = maximalNodes(shard, end, task.numShards);
        if (!node) throw new Error(`no tree node covers shards ${shard} to ${end}`);
        const gradient = this.#takeGradient();
        const added = tree.add(node, gradient);
        if (!added) throw new Error(`shards ${shard} to ${end} were computed twice`);
        const firstRow = task.bounds[shard - task.firstShard] as number;
        const bounds = task.bounds.subarray(shard - task.firstShard, end - task.firstShard + 1);
        yield {
          node,
          indices: task.indices.subarray(firstRow, bounds[bounds.length - 1]),
          bounds: bounds.map((bound) => bound - firstRow),
          gradient,
          merges: added.merges,
          finished: sameNode(added.node, maximal) ? { node: maximal, address: added.slot } : undefined,
        };
      }
    }
  }

  #takeGradient(): number {
    const free = this.#freeGradients.pop();
    if (free !== undefined) return free;
    const { memory, model } = this.#parts;
    const fresh = memory.allocate(4 * model.numParameters, 'gradients');
    this.#gradients.push(fresh);
    return fresh;
  }

  /** Gathers the samples of a microbatch, and tells the layers about it. */
  #startMicrobatch(options: MicrobatchOptions, buckets?: BucketWatch): Microbatch {
    const { kernels, samples } = this.#parts;
    const { sampleIndices, targets, sampleWeights } = this.#buffers;
    const rows = options.indices.length;
    this.#gatherInputs(options.indices, samples);
    gatherTargets(kernels, samples, sampleIndices, rows, targets);
    if (sampleWeights !== 0) gatherSampleWeights(kernels, samples, sampleIndices, rows, sampleWeights);
    return this.#describeMicrobatch(options, buckets);
  }

  #gatherInputs(indices: Uint32Array, samples: Samples): void {
    const { kernels, memory } = this.#parts;
    const { features, sampleIndices } = this.#buffers;
    memory.u32(sampleIndices, indices.length).set(indices);
    gatherFeatures(kernels, samples, sampleIndices, indices.length, features);
  }

  #describeMicrobatch({ indices, ...rest }: MicrobatchOptions, buckets?: BucketWatch): Microbatch {
    this.#workspace.bounds.fill(rest.bounds);
    return {
      ...rest,
      rows: indices.length,
      seed: this.#parts.seed,
      sampleIndices: this.#buffers.sampleIndices,
      complete: (offset) => buckets?.complete(offset),
      bucketStart: (end) => buckets?.bucketStart(end) ?? 0,
    };
  }

  /** Losses of the rows into `rowLosses`, and their gradient into the first error block. */
  #runLoss(loss: Loss, outputs: number, rows: number): void {
    const { kernels, model } = this.#parts;
    const { targets, sampleWeights, lossGradient: dY, rowLosses } = this.#buffers;
    loss.run(kernels, { outputs, targets, sampleWeights, rows, shape: model.outputShape, dY, rowLosses });
  }

  /** Fills `described` [rows, width] as `evaluation.ts` says. What is computed takes the place of the loss and its gradient. */
  #describeSequences(outputs: number, described: Float32Array, width: number): void {
    const { kernels, memory, model, samples } = this.#parts;
    const { lossGradient, rowLosses, targets } = this.#buffers;
    const positions = samples.layout.targetWidth;
    const rows = described.length / width;
    if (this.#logLoss) this.#runLoss(this.#logLoss, outputs, rows);
    kernels.labelRanks(outputs, targets, rows * positions, model.outputShape.at(-1) as number, lossGradient);
    const ranks = memory.f32(lossGradient, rows * positions);
    const logLosses = memory.f64(rowLosses, rows);
    for (let row = 0; row < rows; row++) {
      described.set(ranks.subarray(row * positions, (row + 1) * positions), row * width);
      if (this.#logLoss) described[row * width + positions] = logLosses[row] as number;
    }
  }

  #lossBackward({ bounds, gradient, indices, merges }: TreeMicrobatch, outputs: number): void {
    const { memory } = this.#parts;
    this.#runLoss(this.#loss, outputs, indices.length);
    const rowLosses = memory.f64(this.#buffers.rowLosses, indices.length);
    const shardSums: number[] = [];
    for (let shard = 0; shard + 1 < bounds.length; shard++) {
      shardSums.push(sumInOrder(rowLosses.subarray(bounds[shard], bounds[shard + 1])));
    }
    this.#lossSums.set(gradient, treeSum(shardSums));
    for (const { left, right } of merges) {
      this.#lossSums.set(left, this.#lossSum(left) + this.#lossSum(right));
    }
  }

  #lossSum(gradient: number): number {
    return this.#lossSums.get(gradient) as number;
  }

  /** Adds the bucket to its left neighbours where this microbatch makes that possible, and reports it if it is final. */
  #finishBucket(microbatch: TreeMicrobatch, index: number, report: (bucket: GradientBucket) => void): void {
    const { kernels, model } = this.#parts;
    const { length, offset } = model.buckets[index] as Bucket;
    const at = 4 * offset;
    for (const { left, right } of microbatch.merges) kernels.addInto(left + at, right + at, length);
    if (!microbatch.finished) return;
    const { node, address } = microbatch.finished;
    const lossSum = index === model.buckets.length - 1 ? this.#lossSum(address) : undefined;
    report({ node, bucket: index, address: address + at, lossSum });
  }
}

/** Tells which buckets a backward pass has completed: it goes from the end of the flat vector to its start. */
class BucketWatch {
  readonly #buckets: readonly Bucket[];
  readonly #onBucket: (index: number) => void;
  #next = 0;

  constructor(buckets: readonly Bucket[], onBucket: (index: number) => void) {
    this.#buckets = buckets;
    this.#onBucket = onBucket;
  }

  /** The gradient is final from `offset` on. */
  complete(offset: number): void {
    for (; (this.#buckets[this.#next]?.offset ?? -1) >= offset; this.#next++) this.#onBucket(this.#next);
  }

  /** See `Microbatch`. */
  bucketStart(end: number): number {
    return this.#buckets.find((bucket) => bucket.offset < end)?.offset ?? 0;
  }
}

/** Addresses of one thread's buffers at both ends of the layers. */
interface Buffers {
  readonly sampleIndices: number;
  readonly features: number;
  readonly targets: number;
  /** 0 where the dataset has none. */
  readonly sampleWeights: number;
  readonly lossGradient: number;
  readonly rowLosses: number;
}

function allocateBuffers({ memory, model, plan, samples }: EngineParts, workspace: ThreadWorkspace): Buffers {
  const { maxRows } = plan;
  const { layout } = samples;
  return {
    sampleIndices: memory.allocate(4 * maxRows, 'sample indices'),
    features: workspace.activations(maxRows * sizeOf(model.inputShape)),
    targets: memory.allocate(4 * maxRows * layout.targetWidth, 'targets'),
    sampleWeights: layout.hasSampleWeights
      ? memory.allocate(4 * maxRows * sampleWeightWidth(layout), 'sample weights')
      : 0,
    lossGradient: workspace.otherError(0),
    rowLosses: memory.allocate(8 * maxRows, 'losses'),
  };
}

function sameNode(a: TreeNode, b: TreeNode): boolean {
  return a.level === b.level && a.index === b.index;
}

/** Rows of one shard add up one after the other: the order within a shard is part of the contract. */
function sumInOrder(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
