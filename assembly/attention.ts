// Scaled dot-product attention of one head over one sample (Vaswani et al., 2017), on the packed
// matrix products. Letters: T positions, H values of a head.
import { gemmPacked } from './gemm';
import { reciprocalRoot } from './math';
import { packLeftColumns, packLeftRows, packRightColumns, packRightRows } from './pack';
import { softmaxRow, softmaxRowBackward } from './softmax';
import { NR } from './tile';

/** The record of a layer's heads, u32 in this order. src/layers/attention.ts writes it. */
// @ts-ignore: decorator
@unmanaged
class Attention {
  /** T and H. */
  positions: u32;
  headSize: u32;
  /**
   * f32 between rows of q, k, v and their gradients: they are columns of one
   * product that holds all heads.
   */
  stride: u32;
  /** f32 between rows of the output and its gradient. */
  outStride: u32;
  /** 1 where a position attends to itself and those before it, 0 where it attends to all. */
  isCausal: u32;
  /** Scratch for the packed operands of the largest of the products here, and for one register tile. */
  left: usize;
  right: usize;
  tile: usize;
  /** [T, T]: gradients of q k^T. */
  dScores: usize;
}

// @ts-ignore: decorator
@inline
function panels(columns: u32): u32 {
  return (columns + NR - 1) / NR;
}

/** Positions that position `row` attends to. */
// @ts-ignore: decorator
@inline
function reach(a: Attention, row: u32): u32 {
  return a.isCausal ? row + 1 : a.positions;
}

/**
 * Sets probabilities[T, T] to the softmax over rows of q[T, H] k[T, H]^T / sqrt(H);
 * exactly 0 after `reach`.
 */
export function attentionProbabilities(record: usize, q: usize, k: usize, probabilities: usize): void {
  const a = changetype<Attention>(record);
  const positions = a.positions;
  packLeftRows(q, positions, a.headSize, a.stride, a.left);
  packRightRows(k, positions, a.headSize, a.stride, a.right, 0, panels(positions));
  gemmPacked(positions, positions, a.headSize, a.left, a.right, probabilities, positions, a.tile);
  const scale = reciprocalRoot(<f32>a.headSize);
  let row = probabilities;
  for (let i: u32 = 0; i < positions; i++) {
    const length = reach(a, i);
    softmaxRow(row, length, scale, row);
    memory.fill(row + (<usize>length << 2), 0, <usize>(positions - length) << 2);
    row += <usize>positions << 2;
  }
}

/** Sets out[T, H] to probabilities[T, T] v[T, H]. */
export function attentionOutput(record: usize, probabilities: usize, v: usize, out: usize): void {
  const a = changetype<Attention>(record);
  const positions = a.positions;
  packLeftRows(probabilities, positions, positions, positions, a.left);
  packRightColumns(v, a.headSize, positions, a.stride, a.right, 0, panels(a.headSize));
  gemmPacked(positions, a.headSize, positions, a.left, a.right, out, a.outStride, a.tile);
}

/**
 * Sets dV[T, H] to probabilities^T dOut, and dScores[T, T] to the gradient of q k^T: with dP = dOut
 * v^T, it is probabilities (dP - sum over the row of dP probabilities) / sqrt(H).
 */
export function attentionBackwardScores(
  record: usize,
  v: usize,
  dOut: usize,
  probabilities: usize,
  dV: usize,
): void {
  const a = changetype<Attention>(record);
  const positions = a.positions;
  packLeftColumns(probabilities, positions, positions, positions, a.left);
  packRightColumns(dOut, a.headSize, positions, a.outStride, a.right, 0, panels(a.headSize));
  gemmPacked(positions, a.headSize, positions, a.left, a.right, dV, a.stride, a.tile);
  packLeftRows(dOut, positions, a.headSize, a.outStride, a.left);
  packRightRows(v, positions, a.headSize, a.stride, a.right, 0, panels(positions));
  gemmPacked(positions, positions, a.headSize, a.left, a.right, a.dScores, positions, a.tile);
  const scale = reciprocalRoot(<f32>a.headSize);
  const rowBytes: usize = <usize>positions << 2;
  let dScores = a.dScores;
  for (let i: u32 = 0; i < positions; i++) {
    const length = reach(a, i);
    softmaxRowBackward(dScores, probabilities, length, scale);
    memory.fill(dScores + (<usize>length << 2), 0, <usize>(positions - length) << 2);
    dScores += rowBytes;
    probabilities += rowBytes;
  }
}

/** Sets dQ[T, H] to dScores k, and dK[T, H] to dScores^T q. */
export function attentionBackwardInputs(record: usize, q: usize, k: usize, dQ: usize, dK: usize): void {
  const a = changetype<Attention>(record);
  const positions = a.positions;
  packLeftRows(a.dScores, positions, positions, positions, a.left);
  packRightColumns(k, a.headSize, positions, a.stride, a.right, 0, panels(a.headSize));
  gemmPacked(positions, a.headSize, positions, a.left, a.right, dQ, a.stride, a.tile);
  packLeftColumns(a.dScores, positions, positions, positions, a.left);
  packRightColumns(q, a.headSize, positions, a.stride, a.right, 0, panels(a.headSize));
  gemmPacked(positions, a.headSize, positions, a.left, a.right, dK, a.stride, a.tile);
}
