// Scaled dot-product attention of one head over one sample (Vaswani et al., 2017), on the packed matrix products.
// Letters: T positions, H values of a head. Rows of q, k, v and their gradients lie `stride` f32 apart: they are
// columns of one product that holds all heads.
import { gemmPacked } from './gemm';
import { packLeftColumns, packLeftRows, packRightColumns, packRightRows } from './pack';
import { softmaxRow, softmaxRowBackward } from './softmax';
import { NR } from './tile';

// @ts-ignore: decorator
@inline
function panels(columns: u32): u32 {
  return (columns + NR - 1) / NR;
}

/** Positions that position `row` attends to: itself and those before it where `isCausal`. */
// @ts-ignore: decorator
@inline
function reach(row: u32, positions: u32, isCausal: bool): u32 {
  return isCausal ? row + 1 : positions;
}

// @ts-ignore: decorator
@inline
function scaleOf(headSize: u32): f32 {
  return 1 / Mathf.sqrt(<f32>headSize);
}

/**
 * probabilities[T, T] = softmax over rows of q[T, H] k[T, H]^T / sqrt(H); exactly 0 behind `reach`. Scratch: `left`
 * and `right` for packed operands of the larger of the products here, `tile` for one register tile.
 */
export function attentionProbabilities(
  q: usize,
  k: usize,
  positions: u32,
  headSize: u32,
  stride: u32,
  isCausal: bool,
  probabilities: usize,
  left: usize,
  right: usize,
  tile: usize,
): void {
  packLeftRows(q, positions, headSize, stride, left);
  packRightRows(k, positions, headSize, stride, right, 0, panels(positions));
  gemmPacked(positions, positions, headSize, left, right, probabilities, positions, tile);
  const scale = scaleOf(headSize);
  let row = probabilities;
  for (let i: u32 = 0; i < positions; i++) {
    const length = reach(i, positions, isCausal);
    softmaxRow(row, length, scale, row);
    memory.fill(row + (<usize>length << 2), 0, <usize>(positions - length) << 2);
    row += <usize>positions << 2;
  }
}

/** out[T, H] = probabilities[T, T] v[T, H]; rows of `out` lie `outStride` apart. */
export function attentionOutput(
  probabilities: usize,
  v: usize,
  positions: u32,
  headSize: u32,
  stride: u32,
  out: usize,
  outStride: u32,
  left: usize,
  right: usize,
  tile: usize,
): void {
  packLeftRows(probabilities, positions, positions, positions, left);
  packRightColumns(v, headSize, positions, stride, right, 0, panels(headSize));
  gemmPacked(positions, headSize, positions, left, right, out, outStride, tile);
}

/**
 * dV[T, H] = probabilities^T dOut, and dScores[T, T], the gradient of q k^T: with dP = dOut v^T, it is
 * probabilities (dP - sum over the row of dP probabilities) / sqrt(H).
 */
export function attentionBackwardScores(
  v: usize,
  dOut: usize,
  positions: u32,
  headSize: u32,
  stride: u32,
  outStride: u32,
  isCausal: bool,
  probabilities: usize,
  dV: usize,
  dScores: usize,
  left: usize,
  right: usize,
  tile: usize,
): void {
  packLeftColumns(probabilities, positions, positions, positions, left);
  packRightColumns(dOut, headSize, positions, outStride, right, 0, panels(headSize));
  gemmPacked(positions, headSize, positions, left, right, dV, stride, tile);
  packLeftRows(dOut, positions, headSize, outStride, left);
  packRightRows(v, positions, headSize, stride, right, 0, panels(positions));
  gemmPacked(positions, positions, headSize, left, right, dScores, positions, tile);
  const scale = scaleOf(headSize);
  const rowBytes: usize = <usize>positions << 2;
  for (let i: u32 = 0; i < positions; i++) {
    const length = reach(i, positions, isCausal);
    softmaxRowBackward(dScores, probabilities, length, scale);
    memory.fill(dScores + (<usize>length << 2), 0, <usize>(positions - length) << 2);
    dScores += rowBytes;
    probabilities += rowBytes;
  }
}

/** dQ[T, H] = dScores k, dK[T, H] = dScores^T q. */
export function attentionBackwardInputs(
  q: usize,
  k: usize,
  positions: u32,
  headSize: u32,
  stride: u32,
  dScores: usize,
  dQ: usize,
  dK: usize,
  left: usize,
  right: usize,
  tile: usize,
): void {
  packLeftRows(dScores, positions, positions, positions, left);
  packRightColumns(k, headSize, positions, stride, right, 0, panels(headSize));
  gemmPacked(positions, headSize, positions, left, right, dQ, stride, tile);
  packLeftColumns(dScores, positions, positions, positions, left);
  packRightColumns(q, headSize, positions, stride, right, 0, panels(headSize));
  gemmPacked(positions, headSize, positions, left, right, dK, stride, tile);
}
