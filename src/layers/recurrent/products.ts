// The products of a recurrent layer, in slices: a left operand is packed to four times its size,
// and that of all positions at once would be the largest block of a plan.
import { TILE_COLUMNS, packedLeftLength } from '../../kernels/kernels.ts';
import type { Kernels } from '../../kernels/kernels.ts';
import type { ParameterTensor, Microbatch } from '../layer.ts';

/** Rows of a slice: what the kernel takes at once from the second-level cache, a multiple of the tile. */
const SLICE_ROWS = 60;
/**
 * Rows of a weight's gradient at a time, whose sums run over all positions: the left panels of more
 * would not stay in the second-level cache (6,400 positions, 512 x 128: 23.6 GFLOP/s with 10 rows,
 * 19.7 with 60, in one run).
 */
const GRADIENT_ROWS = 10;

/** f32 of the left operand of `multiply`. */
export function sliceLength(rows: number, depth: number): number {
  return packedLeftLength(Math.min(rows, SLICE_ROWS), depth);
}

/** f32 of the left operand of `setWeightGradient`. */
export function gradientSliceLength(outputs: number, rows: number): number {
  return packedLeftLength(Math.min(outputs, GRADIENT_ROWS), rows);
}

/** A product y[rows, columns] = x[rows, depth] W. */
export interface Product {
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly x: number;
  /** Distance between rows of x in f32. */
  readonly stride: number;
  /** Packed right operand. */
  readonly panels: number;
  readonly y: number;
}

/** Computes y, whose bits do not depend on the slices. `left` is scratch of `sliceLength(rows, depth)`. */
export function multiply(kernels: Kernels, product: Product, left: number, tiles: number): void {
  const { rows, depth, columns, x, stride, panels, y } = product;
  for (let row = 0; row < rows; row += SLICE_ROWS) {
    const count = Math.min(SLICE_ROWS, rows - row);
    kernels.packLeftRows(x + 4 * row * stride, count, depth, stride, left);
    kernels.gemmPacked(count, columns, depth, left, panels, y + 4 * row * columns, columns, tiles);
  }
}

/** The gradient dW[outputs, inputs] = dY^T x of a weight, over the rows of all positions. */
export interface WeightProduct {
  readonly weight: ParameterTensor;
  readonly outputs: number;
  readonly inputs: number;
  readonly rows: number;
  readonly dY: number;
  readonly x: number;
  /** Shards' bounds in rows. */
  readonly bounds: number;
  /** Scratch of `gradientSliceLength(outputs, rows)`. */
  readonly left: number;
  /** Scratch of `packedRightLength(rows, inputs)`. */
  readonly right: number;
  /** Scratch for the stack of register tiles. */
  readonly tiles: number;
}

/**
 * Sets the weight's gradient along the tree of shards, its last rows first: finished buckets travel
 * while others are computed.
 */
export function setWeightGradient(kernels: Kernels, microbatch: Microbatch, product: WeightProduct): void {
  const { weight, outputs, inputs, rows, dY, x, bounds, left, right, tiles } = product;
  const numShards = microbatch.bounds.length - 1;
  kernels.packRightColumns(x, inputs, rows, inputs, right, 0, Math.ceil(inputs / TILE_COLUMNS));
  for (let end = outputs; end > 0;) {
    const start = Math.floor((end - 1) / GRADIENT_ROWS) * GRADIENT_ROWS;
    const to = weight.offset + start * inputs;
    kernels.packLeftColumns(dY + 4 * start, end - start, rows, outputs, left);
    // prettier-ignore
    kernels.gemmPackedTree(end - start, inputs, rows, left, right, microbatch.gradient + 4 * to, inputs, bounds, numShards, tiles);
    microbatch.complete(to);
    end = start;
  }
}
