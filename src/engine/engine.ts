// Forward and backward passes of one compute thread: from weights and sample indices to sums of
// gradients along the tree. Knows no network, no optimizer and no epoch.
import type { RowSource } from '../data/dataset/packed-dataset.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { LayerRunner, Microbatch } from '../layers/layer.ts';
import { createLoss, unsmoothedLoss } from '../losses/registry.ts';
import type { LossInput, Loss } from '../losses/registry.ts';
import type { Memory } from '../memory.ts';
import { GradientSums } from '../model/gradient-sums.ts';
import type { Bucket, Model } from '../model/model.ts';
import { sizeOf } from '../shape.ts';
import { span } from '../trace.ts';
import { ReductionTree, groupLevel, maximalNodes, shardsUnder, treeSum } from '../tree.ts';
import type { Merge, TreeNode } from '../tree.ts';
import { argmax } from '../metrics/classification.ts';
import { countsClasses, evaluationWidth, isSequence, SampleBuffers } from './samples.ts';
import type { EnginePlan } from './plan.ts';
import type { SampleRows, Samples } from './samples.ts';
import { ThreadWorkspace } from './workspace.ts';

/** A task's rows: shards [firstShard, firstShard + bounds.length - 1) of a tree of `numShards`. */
export interface TaskRows extends SampleRows {
  readonly numShards: number;
  readonly firstShard: number;
  /** Shard i of the task holds the rows [bounds[i], bounds[i + 1]) of `indices`; bounds[0] is 0. */
  readonly bounds: Uint32Array;
}

/** A finished partial sum of gradients: one bucket of it. */
export interface PartialSum {
  readonly node: TreeNode;
  /** Index into the model's buckets. */
  readonly bucket: number;
  /** Address of the f32 sum of gradients over the node's samples; valid until the next call. */
  readonly address: number;
  /** The node's sum of losses, with its last bucket. */
  readonly lossSum: number | undefined;
}

/** The result of one evaluation shard. */
export interface EvaluatedShard {
  readonly shard: number;
  readonly lossSum: number;
  /** Outputs, f32 [rows of the shard, evaluationWidth]: a view, valid until the next result. */
  readonly outputs: Float32Array;
}

/** The losses and outputs of an evaluated task. */
export interface EvaluatedRows {
  /** f64 sum of losses of each shard. */
  readonly lossSums: Float64Array;
  /** f32 [rows, evaluationWidth]: the model's outputs, or the ranks of a sequence's labels; a copy. */
  readonly outputs: Float32Array;
}

/**
 * Everything that an engine is made from; `packedWeights` and `samples` are shared by
 * the threads of a process.
 */
export interface EngineParts {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly loss: LossInput | Loss;
  readonly seed: number;
  readonly plan: EnginePlan;
  /** Addresses of the packed weights, in the order of the model's `packedLengths`. */
  readonly packedWeights: readonly number[];
  readonly samples: Samples;
}

/**
 * A subtree of shards that goes through the layers as one microbatch, and the
 * additions that it makes possible.
 */
interface Subtree {
  readonly node: TreeNode;
  /** Shards of the whole tree. */
  readonly numShards: number;
  readonly indices: Uint32Array;
  /** The place of its first row among those of the whole task. */
  readonly position: number;
  /** Shard i of the microbatch holds the rows [bounds[i], bounds[i + 1]) of `indices`. */
  readonly bounds: Uint32Array;
  /** Address of its sums of gradients. */
  readonly gradient: number;
  readonly merges: readonly Merge<number>[];
  /** The sum that this microbatch completes, if it is one to report. */
  readonly finished: { readonly node: TreeNode; readonly address: number } | undefined;
}

/** Runs tasks of rows through the model. Weights must be packed first (`Stack.pack`). */
export class Engine {
  readonly #parts: EngineParts;
  readonly #loss: Loss;
  /** The log loss, beside a smoothed loss of sequences. */
  readonly #logLoss: Loss | undefined;
  readonly #workspace: ThreadWorkspace;
  readonly #runner: LayerRunner;
  readonly #samples: SampleBuffers;
  readonly #sums: GradientSums;
  /** Address of the first error block. */
  readonly #lossGradient: number;
  /** Address of the f64 [maxRows] losses of the rows. */
  readonly #rowLosses: number;
  #gradients: number[] = [];
  #freeGradients: number[] = [];
  #lossSums = new Map<number, number>();

  constructor(parts: EngineParts) {
    const { kernels, memory, model, plan, packedWeights, samples } = parts;
    this.#parts = parts;
    this.#loss = createLoss(parts.loss);
    this.#logLoss = unsmoothedLoss(parts.loss);
    this.#workspace = ThreadWorkspace.allocate(kernels, memory, packedWeights, plan);
    const features = this.#workspace.activations(plan.maxRows * sizeOf(model.inputShape));
    this.#samples = new SampleBuffers({
      kernels,
      memory,
      maxRows: plan.maxRows,
      layout: samples.layout,
      features,
    });
    this.#sums = new GradientSums(kernels, model, plan.groups);
    this.#lossGradient = this.#workspace.otherError(0);
    this.#rowLosses = memory.allocate(8 * plan.maxRows, 'losses');
    this.#runner = model.stack.createRunner(this.#workspace);
  }

  /**
   * Sums gradients and losses over a task, and reports each bucket of each maximal tree node as
   * soon as the backward pass has completed it: last layers first. `step` counts the optimizer
   * steps before, and keys random draws.
   */
  train(task: TaskRows, step: number, report: (sum: PartialSum) => void): void {
    const { model, samples } = this.#parts;
    this.#freeGradients = [...this.#gradients];
    this.#lossSums.clear();
    for (const subtree of this.#subtrees(task)) {
      const { indices, position, bounds, gradient, merges } = subtree;
      const buckets = new BucketWatch(model.buckets, (bucket) => this.#finishBucket(subtree, bucket, report));
      const microbatch: Microbatch = {
        ...this.#describeMicrobatch(bounds),
        isTraining: true,
        step,
        gradient,
        complete: (offset) => buckets.complete(offset),
        bucketStart: (end) => buckets.bucketStart(end),
      };
      const endGather = span('gather samples');
      this.#samples.gather(samples, indices, position);
      endGather();
      const outputs = this.#runner.forward(microbatch, this.#samples.features);
      const endLoss = span('loss');
      this.#lossBackward(subtree, outputs);
      endLoss();
      this.#runner.backward(microbatch, this.#lossGradient);
      buckets.complete(0);
      // A right side is spent once added to its left, so a later microbatch may overwrite it.
      for (const { right } of merges) this.#freeGradients.push(right);
    }
  }

  /** Computes losses and outputs of a task; reads the weights only. */
  evaluate(task: TaskRows): EvaluatedRows {
    const { plan, model, memory, loss, samples } = this.#parts;
    const width = evaluationWidth(model, samples.layout, loss);
    const numRows = task.indices.length;
    const outputs = new Float32Array(numRows * width);
    const rowLosses = new Float64Array(numRows);
    for (let start = 0; start < numRows; start += plan.maxRows) {
      const indices = task.indices.subarray(start, Math.min(start + plan.maxRows, numRows));
      this.#samples.gather(samples, indices, (task.position ?? 0) + start);
      const address = this.#forward(indices.length);
      this.#runLoss(this.#loss, address, Uint32Array.of(0, indices.length));
      rowLosses.set(memory.f64(this.#rowLosses, indices.length), start);
      const shown = outputs.subarray(start * width, (start + indices.length) * width);
      if (isSequence(samples.layout)) this.#describeSequences(address, shown, width);
      else shown.set(memory.f32(address, shown.length));
    }
    return { lossSums: Float64Array.from(shardLosses(rowLosses, task.bounds)), outputs };
  }

  /**
   * Computes the outputs of the last layer, f32 [rows, outputWidth], also for sequences. The
   * rows of `samples` need no targets, and it may be another block than the engine was made
   * for, of the same feature shape.
   */
  predict(indices: Uint32Array, samples: Samples): Float32Array {
    const { plan, model, memory } = this.#parts;
    const outputs = new Float32Array(indices.length * model.outputWidth);
    for (let start = 0; start < indices.length; start += plan.maxRows) {
      const rows = indices.subarray(start, start + plan.maxRows);
      this.#samples.gatherFeatures(samples, rows);
      const address = this.#forward(rows.length);
      outputs.set(memory.f32(address, rows.length * model.outputWidth), start * model.outputWidth);
    }
    return outputs;
  }

  /** Cuts a task into microbatches, and works out which additions each of them makes possible. */
  *#subtrees(task: TaskRows): Generator<Subtree> {
    const { plan } = this.#parts;
    const { numShards } = task;
    // The layers add up the shards of a microbatch without rounding, so it ends where a group does.
    const maxShards = Math.min(plan.maxShards, 2 ** groupLevel(numShards, plan.groups));
    const endShard = task.firstShard + task.bounds.length - 1;
    const tree = new ReductionTree<number>(numShards);
    for (const maximal of maximalNodes(task.firstShard, endShard, numShards)) {
      const { from, to } = shardsUnder(maximal, numShards);
      for (let shard = from; shard < to; shard += maxShards) {
        const end = Math.min(shard + maxShards, to);
        const [node] = maximalNodes(shard, end, numShards);
        if (!node) throw new Error(`no tree node covers shards ${shard} to ${end}`);
        const gradient = this.#takeGradient();
        const added = tree.add(node, gradient);
        if (!added) throw new Error(`shards ${shard} to ${end} were computed twice`);
        const firstRow = task.bounds[shard - task.firstShard] as number;
        const bounds = task.bounds.subarray(shard - task.firstShard, end - task.firstShard + 1);
        yield {
          node,
          numShards,
          indices: task.indices.subarray(firstRow, bounds[bounds.length - 1]),
          position: (task.position ?? 0) + firstRow,
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

  /** Takes the gathered rows through the layers, without training; returns the address of the outputs. */
  #forward(rows: number): number {
    return this.#runner.forward(this.#describeMicrobatch(Uint32Array.of(0, rows)), this.#samples.features);
  }

  /** A microbatch with these bounds of shards that is not trained on. */
  #describeMicrobatch(bounds: Uint32Array): Microbatch {
    this.#workspace.bounds.fill(bounds);
    return {
      rows: bounds[bounds.length - 1] as number,
      isTraining: false,
      seed: this.#parts.seed,
      step: 0,
      sampleIndices: this.#samples.indices,
      bounds,
      gradient: 0,
      complete: () => undefined,
      bucketStart: () => 0,
    };
  }

  /** Sets `rowLosses` to the losses of the rows, and the first error block to their gradient. */
  #runLoss(loss: Loss, outputs: number, bounds: Uint32Array): void {
    const { kernels, model } = this.#parts;
    const { targets, sampleWeights } = this.#samples;
    const [dY, rowLosses] = [this.#lossGradient, this.#rowLosses];
    const rows = bounds[bounds.length - 1] as number;
    const shape = model.outputShape;
    loss.run(kernels, { outputs, targets, sampleWeights, rows, bounds, shape, dY, rowLosses });
  }

  /**
   * Fills `described` [rows, width] with ranks, predicted classes and log losses (`evaluationWidth`);
   * ranks and log losses take the place of the loss and its gradient on the way.
   */
  #describeSequences(outputs: number, described: Float32Array, width: number): void {
    const { kernels, memory, model, samples } = this.#parts;
    const positions = samples.layout.targetWidth;
    const rows = described.length / width;
    const classes = model.outputShape.at(-1) as number;
    if (this.#logLoss) this.#runLoss(this.#logLoss, outputs, Uint32Array.of(0, rows));
    kernels.labelRanks(outputs, this.#samples.targets, rows * positions, classes, this.#lossGradient);
    const ranks = memory.f32(this.#lossGradient, rows * positions);
    const logLosses = memory.f64(this.#rowLosses, rows);
    for (let row = 0; row < rows; row++) {
      described.set(ranks.subarray(row * positions, (row + 1) * positions), row * width);
      if (this.#logLoss) described[(row + 1) * width - 1] = logLosses[row] as number;
    }
    if (!countsClasses(samples.layout)) return;
    const logits = memory.f32(outputs, rows * positions * classes);
    for (let at = 0; at < rows * positions; at++) {
      const place = Math.floor(at / positions) * width + positions + (at % positions);
      described[place] = argmax(logits, at * classes, classes);
    }
  }

  #lossBackward({ bounds, gradient, indices, merges }: Subtree, outputs: number): void {
    this.#runLoss(this.#loss, outputs, bounds);
    const rowLosses = this.#parts.memory.f64(this.#rowLosses, indices.length);
    this.#lossSums.set(gradient, treeSum(shardLosses(rowLosses, bounds)));
    for (const { left, right } of merges) {
      this.#lossSums.set(left, this.#lossSum(left) + this.#lossSum(right));
    }
  }

  #lossSum(gradient: number): number {
    return this.#lossSums.get(gradient) as number;
  }

  /**
   * Adds the bucket to its left neighbours where this subtree makes that possible, and
   * reports it if it is final.
   */
  #finishBucket(subtree: Subtree, index: number, report: (sum: PartialSum) => void): void {
    const { buckets } = this.#parts.model;
    const bucket = buckets[index] as Bucket;
    const at = 4 * bucket.offset;
    const { gradient, merges, finished, numShards } = subtree;
    this.#sums.round(gradient + at, { ...bucket, node: subtree.node, numShards });
    for (const { left, right, node } of merges) {
      this.#sums.add(left + at, right + at, { ...bucket, node, numShards });
    }
    if (!finished) return;
    const { node, address } = finished;
    const lossSum = index === buckets.length - 1 ? this.#lossSum(address) : undefined;
    report({ node, bucket: index, address: address + at, lossSum });
  }
}

/**
 * Tells which buckets a backward pass has completed: it goes from the end of the
 * flat vector to its start.
 */
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

  /** The first offset of the bucket that ends at or after `end`. */
  bucketStart(end: number): number {
    return this.#buckets.find((bucket) => bucket.offset < end)?.offset ?? 0;
  }
}

function sameNode(a: TreeNode, b: TreeNode): boolean {
  return a.level === b.level && a.index === b.index;
}

/** Sums the losses of each shard, row after row: the order within a shard is part of the contract. */
function shardLosses(rowLosses: Float64Array, bounds: Uint32Array): number[] {
  const sums: number[] = [];
  for (let shard = 0; shard + 1 < bounds.length; shard++) {
    let sum = 0;
    for (const loss of rowLosses.subarray(bounds[shard], bounds[shard + 1])) sum += loss;
    sums.push(sum);
  }
  return sums;
}

/** The task of all shards of a batch, or of an evaluation. */
export function wholeTask(indices: Uint32Array, bounds: Uint32Array, source?: RowSource): TaskRows {
  return { numShards: bounds.length - 1, firstShard: 0, bounds, indices, source };
}

/** Copies the rows of shards [from, to), counted from the first one of `rows`. */
export function shardsBetween(rows: TaskRows, from: number, to: number): TaskRows {
  const firstRow = rows.bounds[from] as number;
  const bounds = rows.bounds.slice(from, to + 1).map((bound) => bound - firstRow);
  const indices = rows.indices.slice(firstRow, rows.bounds[to]);
  const position = (rows.position ?? 0) + firstRow;
  const { numShards, source } = rows;
  return { numShards, firstShard: rows.firstShard + from, bounds, indices, source, position };
}

/** Cuts rows into parts of whole shards that have at most `maxRows` rows, or are a single shard. */
export function* partsOf(rows: TaskRows, maxRows: number): Generator<TaskRows> {
  const { bounds } = rows;
  for (let from = 0; from < bounds.length - 1;) {
    let to = from + 1;
    while (to < bounds.length - 1 && rowsBetween(bounds, from, to + 1) <= maxRows) to++;
    yield shardsBetween(rows, from, to);
    from = to;
  }
}

function rowsBetween(bounds: Uint32Array, from: number, to: number): number {
  return (bounds[to] as number) - (bounds[from] as number);
}
