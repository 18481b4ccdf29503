// Forward and backward passes of one compute thread: from weights and sample indices to sums of
// gradients along the tree. Knows no network, no optimizer and no epoch.
import { weightWidth } from '../data/dataset.ts';
import { sizeOf } from '../layers/layer.ts';
import type { LayerRunner, Pass } from '../layers/layer.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Loss } from '../losses/loss.ts';
import { createLoss, unsmoothedLoss } from '../losses/registry.ts';
import type { LossInput } from '../losses/registry.ts';
import type { Memory } from '../memory.ts';
import type { Model, Piece } from '../model/model.ts';
import { ReductionTree, leavesUnder, maximalNodes, treeSum } from '../tree.ts';
import type { Merge, TreeNode } from '../tree.ts';
import { evaluationWidth, isSequence } from './evaluation.ts';
import type { EnginePlan } from './plan.ts';
import { gatherFeatures, gatherTargets, gatherWeights } from './samples.ts';
import type { Samples } from './samples.ts';
import { ThreadSite } from './site.ts';
import type { PackedWeights } from './weights.ts';

/** Rows to work through: leaves [firstLeaf, firstLeaf + bounds.length - 1) of a tree of `numLeaves`. */
export interface RowRange {
  readonly numLeaves: number;
  readonly firstLeaf: number;
  /** Leaf i of the range holds the rows [bounds[i], bounds[i + 1]) of `indices`; bounds[0] is 0. */
  readonly bounds: Uint32Array;
  /** Dataset rows, in batch order. */
  readonly indices: Uint32Array;
}

/** A range of a batch that is trained on. */
export interface TrainRange extends RowRange {
  /** Optimizer steps taken before: keys random draws. */
  readonly step: number;
}

/** One piece of a finished partial sum. */
export interface GradientPiece {
  readonly node: TreeNode;
  /** Index into the model's pieces. */
  readonly piece: number;
  /** Address of the f32 sum of gradients over the node's samples; valid until the next call. */
  readonly address: number;
  /** The node's sum of losses, with its last piece. */
  readonly lossSum: number | undefined;
}

/** What `evaluate` gives for a range. */
export interface RangeEvaluation {
  /** f64 sum of losses of each leaf. */
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

/** A subtree of leaves that goes through the layers at once. */
interface TreePass {
  readonly node: TreeNode;
  readonly indices: Uint32Array;
  /** Leaf i of the pass holds the rows [bounds[i], bounds[i + 1]) of `indices`. */
  readonly bounds: Uint32Array;
  /** Address of its sums of gradients. */
  readonly gradient: number;
  readonly merges: readonly Merge<number>[];
  /** The sum that this pass completes, if it is one to report. */
  readonly finished: { readonly node: TreeNode; readonly address: number } | undefined;
}

/** What differs between passes. */
type PassOptions = Pick<Pass, 'bounds' | 'gradient' | 'isTraining' | 'step'> & {
  readonly indices: Uint32Array;
};

/** Runs ranges of rows through the model. Weights must be packed first (`packWeights`). */
export class Engine {
  readonly #parts: EngineParts;
  readonly #loss: Loss;
  /** Beside a smoothed loss of sequences. */
  readonly #logLoss: Loss | undefined;
  readonly #site: ThreadSite;
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
    this.#site = ThreadSite.allocate(kernels, memory, weights, plan);
    this.#buffers = allocateBuffers(parts, this.#site);
    this.#runner = model.stack.createRunner(this.#site);
  }

  /**
   * Sums gradients and losses over a range, and reports each piece of each maximal tree node as soon as
   * the backward pass has completed it: last layers first.
   */
  train(range: TrainRange, report: (piece: GradientPiece) => void): void {
    this.#freeGradients = [...this.#gradients];
    this.#lossSums.clear();
    for (const treePass of this.#passes(range)) {
      const pieces = new PieceWatch(this.#parts.model.pieces, (piece) =>
        this.#finishPiece(treePass, piece, report),
      );
      const { indices, bounds, gradient } = treePass;
      const pass = this.#startPass({ indices, bounds, gradient, isTraining: true, step: range.step }, pieces);
      const outputs = this.#runner.forward(pass, this.#buffers.features);
      this.#lossBackward(treePass, outputs);
      this.#runner.backward(pass, this.#buffers.lossGradient);
      pieces.complete(0);
      // A right side is spent once added to its left, so a later pass may overwrite it.
      for (const { right } of treePass.merges) this.#freeGradients.push(right);
    }
  }

  /** Losses and outputs of a range; reads the weights only. */
  evaluate(range: RowRange): RangeEvaluation {
    const { plan, model, memory, loss, samples } = this.#parts;
    const width = evaluationWidth(model, samples.layout, loss);
    const numRows = range.indices.length;
    const outputs = new Float32Array(numRows * width);
    const rowLosses = new Float64Array(numRows);
    for (let start = 0; start < numRows; start += plan.maxRows) {
      const indices = range.indices.subarray(start, Math.min(start + plan.maxRows, numRows));
      const bounds = Uint32Array.of(0, indices.length);
      const pass = this.#startPass({ indices, bounds, gradient: 0, isTraining: false, step: 0 });
      const address = this.#runner.forward(pass, this.#buffers.features);
      this.#runLoss(this.#loss, address, indices.length);
      rowLosses.set(memory.f64(this.#buffers.rowLosses, indices.length), start);
      const shown = outputs.subarray(start * width, (start + indices.length) * width);
      if (isSequence(samples.layout)) this.#describeSequences(address, shown, width);
      else shown.set(memory.f32(address, shown.length));
    }
    const lossSums = new Float64Array(range.bounds.length - 1);
    for (let leaf = 0; leaf < lossSums.length; leaf++) {
      lossSums[leaf] = sumInOrder(rowLosses.subarray(range.bounds[leaf], range.bounds[leaf + 1]));
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
      const pass = this.#describePass({ indices: rows, bounds, gradient: 0, isTraining: false, step: 0 });
      const address = this.#runner.forward(pass, this.#buffers.features);
      outputs.set(memory.f32(address, rows.length * model.outputWidth), start * model.outputWidth);
    }
    return outputs;
  }

  /** Cuts a range into passes, and works out which additions each pass makes possible. */
  *#passes(range: RowRange): Generator<TreePass> {
    const { maxLeaves } = this.#parts.plan;
    const endLeaf = range.firstLeaf + range.bounds.length - 1;
    const tree = new ReductionTree<number>(range.numLeaves);
    for (const maximal of maximalNodes(range.firstLeaf, endLeaf, range.numLeaves)) {
      const { from, to } = leavesUnder(maximal, range.numLeaves);
      for (let leaf = from; leaf < to; leaf += maxLeaves) {
        const end = Math.min(leaf + maxLeaves, to);
        const [node] = maximalNodes(leaf, end, range.numLeaves);
        if (!node) throw new Error(`no tree node covers leaves ${leaf} to ${end}`);
        const gradient = this.#takeGradient();
        const added = tree.add(node, gradient);
        if (!added) throw new Error(`leaves ${leaf} to ${end} were computed twice`);
        const firstRow = range.bounds[leaf - range.firstLeaf] as number;
        const bounds = range.bounds.subarray(leaf - range.firstLeaf, end - range.firstLeaf + 1);
        yield {
          node,
          indices: range.indices.subarray(firstRow, bounds[bounds.length - 1]),
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

  /** Gathers the samples of a pass, and tells the layers about it. */
  #startPass(options: PassOptions, pieces?: PieceWatch): Pass {
    const { kernels, samples } = this.#parts;
    const { sampleIndices, targets, weights } = this.#buffers;
    const rows = options.indices.length;
    this.#gatherInputs(options.indices, samples);
    gatherTargets(kernels, samples, sampleIndices, rows, targets);
    if (weights !== 0) gatherWeights(kernels, samples, sampleIndices, rows, weights);
    return this.#describePass(options, pieces);
  }

  #gatherInputs(indices: Uint32Array, samples: Samples): void {
    const { kernels, memory } = this.#parts;
    const { features, sampleIndices } = this.#buffers;
    memory.u32(sampleIndices, indices.length).set(indices);
    gatherFeatures(kernels, samples, sampleIndices, indices.length, features);
  }

  #describePass({ indices, ...rest }: PassOptions, pieces?: PieceWatch): Pass {
    this.#site.bounds.fill(rest.bounds);
    return {
      ...rest,
      rows: indices.length,
      seed: this.#parts.seed,
      sampleIndices: this.#buffers.sampleIndices,
      complete: (offset) => pieces?.complete(offset),
      pieceStart: (end) => pieces?.pieceStart(end) ?? 0,
    };
  }

  /** Losses of the rows into `rowLosses`, and their gradient into the first error block. */
  #runLoss(loss: Loss, outputs: number, rows: number): void {
    const { kernels, model } = this.#parts;
    const { targets, weights, lossGradient: dY, rowLosses } = this.#buffers;
    loss.run(kernels, { outputs, targets, weights, rows, shape: model.outputShape, dY, rowLosses });
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

  #lossBackward({ bounds, gradient, indices, merges }: TreePass, outputs: number): void {
    const { memory } = this.#parts;
    this.#runLoss(this.#loss, outputs, indices.length);
    const rowLosses = memory.f64(this.#buffers.rowLosses, indices.length);
    const leafSums: number[] = [];
    for (let leaf = 0; leaf + 1 < bounds.length; leaf++) {
      leafSums.push(sumInOrder(rowLosses.subarray(bounds[leaf], bounds[leaf + 1])));
    }
    this.#lossSums.set(gradient, treeSum(leafSums));
    for (const { left, right } of merges) {
      this.#lossSums.set(left, this.#lossSum(left) + this.#lossSum(right));
    }
  }

  #lossSum(gradient: number): number {
    return this.#lossSums.get(gradient) as number;
  }

  /** Adds the piece to its left neighbours where this pass makes that possible, and reports it if it is final. */
  #finishPiece(pass: TreePass, index: number, report: (piece: GradientPiece) => void): void {
    const { kernels, model } = this.#parts;
    const { length, offset } = model.pieces[index] as Piece;
    const at = 4 * offset;
    for (const { left, right } of pass.merges) kernels.addInto(left + at, right + at, length);
    if (!pass.finished) return;
    const { node, address } = pass.finished;
    const lossSum = index === model.pieces.length - 1 ? this.#lossSum(address) : undefined;
    report({ node, piece: index, address: address + at, lossSum });
  }
}

/** Tells which pieces a backward pass has completed: it goes from the end of the flat vector to its start. */
class PieceWatch {
  readonly #pieces: readonly Piece[];
  readonly #onPiece: (index: number) => void;
  #next = 0;

  constructor(pieces: readonly Piece[], onPiece: (index: number) => void) {
    this.#pieces = pieces;
    this.#onPiece = onPiece;
  }

  /** The gradient is final from `offset` on. */
  complete(offset: number): void {
    for (; (this.#pieces[this.#next]?.offset ?? -1) >= offset; this.#next++) this.#onPiece(this.#next);
  }

  /** See `Pass`. */
  pieceStart(end: number): number {
    return this.#pieces.find((piece) => piece.offset < end)?.offset ?? 0;
  }
}

/** Addresses of one thread's buffers at both ends of the layers. */
interface Buffers {
  readonly sampleIndices: number;
  readonly features: number;
  readonly targets: number;
  /** 0 where the dataset has none. */
  readonly weights: number;
  readonly lossGradient: number;
  readonly rowLosses: number;
}

function allocateBuffers({ memory, model, plan, samples }: EngineParts, site: ThreadSite): Buffers {
  const { maxRows } = plan;
  const { layout } = samples;
  return {
    sampleIndices: memory.allocate(4 * maxRows, 'sample indices'),
    features: site.activations(maxRows * sizeOf(model.inputShape)),
    targets: memory.allocate(4 * maxRows * layout.targetWidth, 'targets'),
    weights: layout.hasWeights ? memory.allocate(4 * maxRows * weightWidth(layout), 'sample weights') : 0,
    lossGradient: site.otherError(0),
    rowLosses: memory.allocate(8 * maxRows, 'losses'),
  };
}

function sameNode(a: TreeNode, b: TreeNode): boolean {
  return a.level === b.level && a.index === b.index;
}

/** Rows of one leaf add up one after the other: the order within a shard is part of the contract. */
function sumInOrder(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}
