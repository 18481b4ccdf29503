// How many rows a compute thread takes at once, and what memory that needs. Decided before anything runs.
//
//   once a process:   weights, of two steps | packed weights, forward and backward panels | dataset
//   once a thread:    targets | activations, a row block a layer | two error blocks | packed operands
//                     | scratch | gradients, one flat vector a partial sum
import { LEFT_REPEATS, TILE_COLUMNS, TILE_ROWS } from '../kernels/tile.ts';
import type { DenseLayer, Model } from '../model/model.ts';

/** Activations of one pass are kept to about this size; larger ranges run in several passes. */
const ACTIVATION_BUDGET_BYTES = 32 * 2 ** 20;

/** Rows and leaves of one pass, and the bytes that follow from them. */
export interface EnginePlan {
  /** Leaves of the largest subtree computed in one pass: a power of two. */
  readonly leavesPerPass: number;
  /** Rows that the buffers hold. */
  readonly maxRows: number;
  readonly bytes: {
    readonly weights: number;
    readonly packedWeights: number;
    /** Of one partial sum; an aligned range needs one. */
    readonly gradients: number;
    readonly activations: number;
    readonly scratch: number;
  };
}

/** Plans passes for batches of `batchSize` rows in `shards` leaves. */
export function planEngine(model: Model, batchSize: number, shards: number): EnginePlan {
  const rowsPerLeaf = Math.ceil(batchSize / shards);
  const rowBytes = 4 * (model.inputWidth + sum(model.layers.map((layer) => layer.outputs)));
  let leavesPerPass = 1;
  while (leavesPerPass < shards && leavesPerPass * 2 * rowsPerLeaf * rowBytes <= ACTIVATION_BUDGET_BYTES) {
    leavesPerPass *= 2;
  }
  const maxRows = Math.min(leavesPerPass * rowsPerLeaf, batchSize);
  const { packedA, packedB } = packedOperandLengths(model, maxRows);
  return {
    leavesPerPass,
    maxRows,
    bytes: {
      weights: 2 * 4 * model.numParameters,
      packedWeights:
        4 * sum(model.layers.map((layer) => packedForwardLength(layer) + packedBackwardLength(layer))),
      gradients: 4 * model.numParameters,
      activations: maxRows * (rowBytes + 4 * 2 * maxOutputs(model) + 4 * model.outputWidth),
      scratch: 4 * (packedA + packedB + (COLUMN_SLOTS + 1) * maxOutputs(model)) + maxRows * 12,
    },
  };
}

/** Partial sums that a bias gradient stacks above its result: log2 of the most shards, 1024, and one. */
export const COLUMN_SLOTS = 11;

/** f32 of a layer's forward panels: W^T, [ceil(out / 8)][in][8]. */
export function packedForwardLength(layer: DenseLayer): number {
  return roundUp(layer.outputs, TILE_COLUMNS) * layer.inputs;
}

/** f32 of a layer's backward panels: W, [ceil(in / 8)][out][8]. */
export function packedBackwardLength(layer: DenseLayer): number {
  return roundUp(layer.inputs, TILE_COLUMNS) * layer.outputs;
}

/** The widest layer output. */
export function maxOutputs(model: Model): number {
  return Math.max(...model.layers.map((layer) => layer.outputs));
}

/** f32 of a packed left operand of `rows` rows and depth `depth`. */
export function packedLeftLength(rows: number, depth: number): number {
  return roundUp(rows, TILE_ROWS) * depth * LEFT_REPEATS;
}

/** f32 of the packed left and right operands, over all products of a pass of `rows` rows. */
export function packedOperandLengths(model: Model, rows: number): { packedA: number; packedB: number } {
  const widest = Math.max(model.inputWidth, maxOutputs(model));
  const widestInput = Math.max(...model.layers.map((layer) => layer.inputs));
  return {
    // Left of the forward and input-gradient products; left of the weight-gradient product.
    packedA: Math.max(packedLeftLength(rows, widest), packedLeftLength(maxOutputs(model), rows)),
    packedB: roundUp(widestInput, TILE_COLUMNS) * rows,
  };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
