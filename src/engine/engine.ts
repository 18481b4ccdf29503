// Forward and backward passes of one compute thread: from weights and sample indices to sums of
// gradients along the tree. Knows no network, no optimizer and no epoch.
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import { TILE_COLUMNS, TILE_ROWS } from '../kernels/tile.ts';
import type { DenseLayer, Model, Piece } from '../model/model.ts';
import { ACTIVATIONS } from '../model/spec.ts';
import type { Loss } from '../model/spec.ts';
import { ReductionTree, leavesUnder, maximalNodes, treeSum } from '../tree.ts';
import type { Merge, TreeNode } from '../tree.ts';
import { COLUMN_SLOTS, maxOutputs, packedLeftLength, packedOperandLengths } from './plan.ts';
import type { EnginePlan } from './plan.ts';
import { gatherFeatures, gatherTargets } from './samples.ts';
import type { Samples } from './samples.ts';
import type { WeightsLayout } from './weights.ts';

/** Rows to work through: leaves [firstLeaf, firstLeaf + bounds.length - 1) of a tree of `numLeaves`. */
export interface RowRange {
  readonly numLeaves: number;
  readonly firstLeaf: number;
  /** Leaf i of the range holds the rows [bounds[i], bounds[i + 1]) of `indices`; bounds[0] is 0. */
  readonly bounds: Uint32Array;
  /** Dataset rows, in batch order. */
  readonly indices: Uint32Array;
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
  /** f32 [rows, outputWidth]: what the model predicts, a copy. */
  readonly outputs: Float32Array;
}

/** What an engine is made from; `weights` and `samples` are shared by the threads of a process. */
export interface EngineParts {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly loss: Loss;
  readonly plan: EnginePlan;
  readonly weights: WeightsLayout;
  readonly samples: Samples;
}

interface Pass {
  readonly node: TreeNode;
  readonly rows: number;
  readonly segments: Uint32Array;
  readonly gradient: number;
  readonly merges: readonly Merge<number>[];
  /** The sum that this pass completes, if it is one to report. */
  readonly finished: { readonly node: TreeNode; readonly address: number } | undefined;
}

/** Runs ranges of rows through the model. Weights must be packed first (`packWeights`). */
export class Engine {
  readonly #parts: EngineParts;
  readonly #buffers: Buffers;
  #gradients: number[] = [];
  #freeGradients: number[] = [];
  #lossSums = new Map<number, number>();

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#buffers = allocateBuffers(parts);
  }

  /**
   * Sums gradients and losses over a range, and reports each piece of each maximal tree node as soon as
   * the backward pass has completed it: last layers first.
   */
  train(range: RowRange, report: (piece: GradientPiece) => void): void {
    this.#freeGradients = [...this.#gradients];
    this.#lossSums.clear();
    for (const pass of this.#passes(range)) {
      const first = leavesUnder(pass.node, range.numLeaves).from - range.firstLeaf;
      this.#forward(range.indices.subarray(range.bounds[first], (range.bounds[first] as number) + pass.rows));
      this.#lossBackward(pass);
      this.#backward(pass, report);
      // A right side is spent once added to its left, so a later pass may overwrite it.
      for (const { right } of pass.merges) this.#freeGradients.push(right);
    }
  }

  /** Losses and outputs of a range; reads the weights only. */
  evaluate(range: RowRange): RangeEvaluation {
    const { plan, model, memory } = this.#parts;
    const { outputWidth } = model;
    const numRows = range.indices.length;
    const outputs = new Float32Array(numRows * outputWidth);
    const rowLosses = new Float64Array(numRows);
    for (let start = 0; start < numRows; start += plan.maxRows) {
      const rows = Math.min(plan.maxRows, numRows - start);
      this.#forward(range.indices.subarray(start, start + rows));
      outputs.set(memory.f32(this.#buffers.outputs, rows * outputWidth), start * outputWidth);
      this.#runLoss(rows);
      rowLosses.set(memory.f64(this.#buffers.rowLosses, rows), start);
    }
    const lossSums = new Float64Array(range.bounds.length - 1);
    for (let leaf = 0; leaf < lossSums.length; leaf++) {
      lossSums[leaf] = sumInOrder(rowLosses.subarray(range.bounds[leaf], range.bounds[leaf + 1]));
    }
    return { lossSums, outputs };
  }

  /** Cuts a range into passes, and works out which additions each pass makes possible. */
  *#passes(range: RowRange): Generator<Pass> {
    const endLeaf = range.firstLeaf + range.bounds.length - 1;
    const tree = new ReductionTree<number>(range.numLeaves);
    for (const maximal of maximalNodes(range.firstLeaf, endLeaf, range.numLeaves)) {
      const { from, to } = leavesUnder(maximal, range.numLeaves);
      for (let leaf = from; leaf < to; leaf += this.#parts.plan.leavesPerPass) {
        const end = Math.min(leaf + this.#parts.plan.leavesPerPass, to);
        const [node] = maximalNodes(leaf, end, range.numLeaves);
        if (!node) throw new Error(`no tree node covers leaves ${leaf} to ${end}`);
        const gradient = this.#takeGradient();
        const added = tree.add(node, gradient);
        if (!added) throw new Error(`leaves ${leaf} to ${end} were computed twice`);
        const firstRow = range.bounds[leaf - range.firstLeaf] as number;
        const bounds = range.bounds.subarray(leaf - range.firstLeaf, end - range.firstLeaf + 1);
        const isFinished = sameNode(added.node, maximal);
        yield {
          node,
          rows: (bounds[bounds.length - 1] as number) - firstRow,
          segments: bounds.map((bound) => bound - firstRow),
          gradient,
          merges: added.merges,
          finished: isFinished ? { node: maximal, address: added.slot } : undefined,
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

  #forward(indices: Uint32Array): void {
    const { kernels, memory, model, samples, weights } = this.#parts;
    const buffers = this.#buffers;
    const rows = indices.length;
    memory.u32(buffers.indices, rows).set(indices);
    gatherFeatures(kernels, samples, buffers.indices, rows, buffers.activations[0] as number);
    gatherTargets(kernels, samples, buffers.indices, rows, buffers.targets);
    model.layers.forEach((layer, index) => {
      const x = buffers.activations[index] as number;
      const y = buffers.activations[index + 1] as number;
      const { inputs, outputs } = layer;
      kernels.packLeftRows(x, rows, inputs, inputs, buffers.packedA);
      const panels = weights.forwardPanels[index] as number;
      kernels.gemmPacked(rows, outputs, inputs, buffers.packedA, panels, y, outputs, buffers.tiles);
      kernels.biasActivationForward(
        activationNumber(layer),
        y,
        weights.biases[index] as number,
        rows,
        outputs,
      );
    });
  }

  /** Losses of the rows into `rowLosses`, and dY of the last layer into the first error block. */
  #runLoss(rows: number): void {
    const { kernels, loss, model } = this.#parts;
    const { outputs, targets, errors, rowLosses } = this.#buffers;
    const run = loss === 'mse' ? kernels.mseForwardBackward : kernels.softmaxCrossEntropyForwardBackward;
    run(outputs, targets, rows, model.outputWidth, errors[0], rowLosses);
  }

  #lossBackward(pass: Pass): void {
    const { memory } = this.#parts;
    this.#runLoss(pass.rows);
    const rowLosses = memory.f64(this.#buffers.rowLosses, pass.rows);
    const leafSums: number[] = [];
    for (let leaf = 0; leaf + 1 < pass.segments.length; leaf++) {
      leafSums.push(sumInOrder(rowLosses.subarray(pass.segments[leaf], pass.segments[leaf + 1])));
    }
    this.#lossSums.set(pass.gradient, treeSum(leafSums));
    for (const { left, right } of pass.merges) {
      this.#lossSums.set(left, this.#lossSum(left) + this.#lossSum(right));
    }
  }

  #lossSum(gradient: number): number {
    return this.#lossSums.get(gradient) as number;
  }

  #backward(pass: Pass, report: (piece: GradientPiece) => void): void {
    const { kernels, memory, model } = this.#parts;
    memory.u32(this.#buffers.segments, pass.segments.length).set(pass.segments);
    let [dY, dX] = this.#buffers.errors;
    for (let index = model.layers.length - 1; index >= 0; index--) {
      const layer = model.layers[index] as DenseLayer;
      const y = this.#buffers.activations[index + 1] as number;
      kernels.activationBackward(activationNumber(layer), dY, y, pass.rows * layer.outputs);
      this.#biasGradient(pass, layer, dY);
      this.#weightGradient(pass, index, dY, report);
      if (index > 0) this.#inputGradient(pass, index, dY, dX);
      [dY, dX] = [dX, dY];
    }
  }

  /** db[O] from dY[B, O]. */
  #biasGradient(pass: Pass, { bias, outputs }: DenseLayer, dY: number): void {
    if (!bias) return;
    const { segments, columnSlots } = this.#buffers;
    const db = pass.gradient + 4 * bias.offset;
    this.#parts.kernels.columnSumTree(dY, outputs, segments, pass.segments.length - 1, db, columnSlots);
  }

  /** dW[O, I] = dY^T x, some rows at a time, so that the pieces which they complete can leave early. */
  #weightGradient(pass: Pass, index: number, dY: number, report: (piece: GradientPiece) => void): void {
    const { kernels, model } = this.#parts;
    const { activations, packedA, packedB, segments, tiles } = this.#buffers;
    const { inputs, outputs, weight } = model.layers[index] as DenseLayer;
    const { rows, gradient } = pass;
    const x = activations[index] as number;
    kernels.packLeftColumns(dY, outputs, rows, outputs, packedA);
    kernels.packRightColumns(x, inputs, rows, inputs, packedB, 0, Math.ceil(inputs / TILE_COLUMNS));
    const multiply = (fromRow: number, toRow: number): void => {
      const left = packedA + 4 * packedLeftLength(fromRow, rows);
      const dW = gradient + 4 * (weight.offset + fromRow * inputs);
      const numSegments = pass.segments.length - 1;
      kernels.gemmPackedTree(
        toRow - fromRow,
        inputs,
        rows,
        left,
        packedB,
        dW,
        inputs,
        segments,
        numSegments,
        tiles,
      );
    };
    let isCut = false;
    model.pieces.forEach(({ firstLayer, fromRow, toRow }, piece) => {
      if (firstLayer !== index) return;
      isCut = true;
      multiply(fromRow, toRow);
      this.#finishPiece(pass, piece, report);
    });
    // A small layer travels with an earlier one, which completes the piece.
    if (!isCut) multiply(0, outputs);
  }

  /** dX[B, I] = dY W. */
  #inputGradient({ rows }: Pass, index: number, dY: number, dX: number): void {
    const { kernels, model, weights } = this.#parts;
    const { packedA, tiles } = this.#buffers;
    const { inputs, outputs } = model.layers[index] as DenseLayer;
    kernels.packLeftRows(dY, rows, outputs, outputs, packedA);
    const panels = weights.backwardPanels[index] as number;
    kernels.gemmPacked(rows, inputs, outputs, packedA, panels, dX, inputs, tiles);
  }

  /** Adds the piece to its left neighbours where this pass makes that possible, and reports it if it is final. */
  #finishPiece(pass: Pass, index: number, report: (piece: GradientPiece) => void): void {
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

/** Addresses of one thread's buffers. */
interface Buffers {
  readonly indices: number;
  readonly targets: number;
  /** activations[0] holds the features, activations[l + 1] the output of layer l. */
  readonly activations: readonly number[];
  /** The last of `activations`. */
  readonly outputs: number;
  readonly errors: readonly [number, number];
  readonly packedA: number;
  readonly packedB: number;
  readonly tiles: number;
  readonly columnSlots: number;
  readonly segments: number;
  readonly rowLosses: number;
}

/** Bytes of the GEMM kernel's scratch: 12 register tiles. */
const TILES_BYTES = 12 * 4 * TILE_ROWS * TILE_COLUMNS;

function allocateBuffers({ memory, model, plan, samples }: EngineParts): Buffers {
  const { maxRows, leavesPerPass } = plan;
  const allocate = (length: number, purpose: string): number => memory.allocate(4 * length, purpose);
  const widths = [model.inputWidth, ...model.layers.map((layer) => layer.outputs)];
  const activations = widths.map((width) => allocate(maxRows * width, 'activations'));
  const { packedA, packedB } = packedOperandLengths(model, maxRows);
  const widest = maxOutputs(model);
  return {
    indices: allocate(maxRows, 'sample indices'),
    targets: allocate(maxRows * samples.layout.targetWidth, 'targets'),
    activations,
    outputs: activations[activations.length - 1] as number,
    errors: [allocate(maxRows * widest, 'activations'), allocate(maxRows * widest, 'activations')],
    packedA: allocate(packedA, 'packed operands'),
    packedB: allocate(packedB, 'packed operands'),
    tiles: memory.allocate(TILES_BYTES, 'packed operands'),
    columnSlots: allocate(COLUMN_SLOTS * widest, 'bias gradients'),
    segments: allocate(leavesPerPass + 1, 'shard bounds'),
    rowLosses: memory.allocate(8 * maxRows, 'losses'),
  };
}

function activationNumber(layer: DenseLayer): number {
  return ACTIVATIONS.indexOf(layer.activation);
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
