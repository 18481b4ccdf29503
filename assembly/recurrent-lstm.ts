// One position of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000), for all samples
// of a pass. Letters: B samples, H units. Blocks of gates are [B, 4, H] in PyTorch's order i, f, g, o.
//
//   i, f, o = sigmoid(.)   g = tanh(.)   of   x W + h' W' + bias
//   c = f c' + i g         h = o tanh(c)          h', c': of the position before
//
// A stride is the distance between samples in f32; 0 reads one row, of zeros, for all: what stands before the first
// position, and behind the last.
import { sigmoidVector, tanhVector } from './math';
import { read, sigmoidSlope, tanhSlope, write } from './recurrent-lanes';

// @ts-ignore: decorator
@inline
function preactivation(gates: usize, recurrent: usize, bias: usize, isWide: bool): v128 {
  return f32x4.add(f32x4.add(read(gates, isWide), read(recurrent, isWide)), read(bias, isWide));
}

// @ts-ignore: decorator
@inline
function forwardUnits(
  gates: usize,
  recurrent: usize,
  bias: usize,
  previousCell: usize,
  cell: usize,
  hidden: usize,
  unitBytes: usize,
  isWide: bool,
): void {
  const twice = unitBytes << 1;
  const i = sigmoidVector(preactivation(gates, recurrent, bias, isWide));
  const f = sigmoidVector(preactivation(gates + unitBytes, recurrent + unitBytes, bias + unitBytes, isWide));
  gates += twice;
  recurrent += twice;
  bias += twice;
  const g = tanhVector(preactivation(gates, recurrent, bias, isWide));
  const o = sigmoidVector(preactivation(gates + unitBytes, recurrent + unitBytes, bias + unitBytes, isWide));
  const c = f32x4.add(f32x4.mul(f, read(previousCell, isWide)), f32x4.mul(i, g));
  write(gates - twice, i, isWide);
  write(gates - unitBytes, f, isWide);
  write(gates, g, isWide);
  write(gates + unitBytes, o, isWide);
  write(cell, c, isWide);
  write(hidden, f32x4.mul(o, tanhVector(c)), isWide);
}

/**
 * gates[B, 4, H] holds x W and gets the values of the gates; recurrent[B, 4, H] is h' W'. Sets cell[B, H] and
 * hidden[B, H], which lie `stateStride` apart.
 */
export function lstmForward(
  rows: u32,
  units: u32,
  gates: usize,
  gateStride: u32,
  recurrent: usize,
  recurrentStride: u32,
  bias: usize,
  previousCell: usize,
  previousStride: u32,
  cell: usize,
  hidden: usize,
  stateStride: u32,
): void {
  const unitBytes = <usize>units << 2;
  const wideBytes = unitBytes & ~15;
  for (let row: u32 = 0; row < rows; row++) {
    let j: usize = 0;
    for (; j < wideBytes; j += 16) {
      forwardUnits(gates + j, recurrent + j, bias + j, previousCell + j, cell + j, hidden + j, unitBytes, true);
    }
    for (; j < unitBytes; j += 4) {
      forwardUnits(gates + j, recurrent + j, bias + j, previousCell + j, cell + j, hidden + j, unitBytes, false);
    }
    gates += <usize>gateStride << 2;
    recurrent += <usize>recurrentStride << 2;
    previousCell += <usize>previousStride << 2;
    cell += <usize>stateStride << 2;
    hidden += <usize>stateStride << 2;
  }
}

// @ts-ignore: decorator
@inline
function backwardUnits(
  gates: usize,
  cell: usize,
  previousCell: usize,
  dY: usize,
  dHidden: usize,
  dCellIn: usize,
  dCell: usize,
  unitBytes: usize,
  isWide: bool,
): void {
  const i = read(gates, isWide);
  const f = read(gates + unitBytes, isWide);
  const g = read(gates + (unitBytes << 1), isWide);
  const o = read(gates + 3 * unitBytes, isWide);
  const tanhC = tanhVector(read(cell, isWide));
  const dH = f32x4.add(read(dY, isWide), read(dHidden, isWide));
  const dC = f32x4.add(read(dCellIn, isWide), f32x4.mul(f32x4.mul(dH, o), tanhSlope(tanhC)));
  write(gates, f32x4.mul(f32x4.mul(dC, g), sigmoidSlope(i)), isWide);
  write(gates + unitBytes, f32x4.mul(f32x4.mul(dC, read(previousCell, isWide)), sigmoidSlope(f)), isWide);
  write(gates + (unitBytes << 1), f32x4.mul(f32x4.mul(dC, i), tanhSlope(g)), isWide);
  write(gates + 3 * unitBytes, f32x4.mul(f32x4.mul(dH, tanhC), sigmoidSlope(o)), isWide);
  write(dCell, f32x4.mul(dC, f), isWide);
}

/**
 * gates[B, 4, H] holds the values of the gates and gets the gradients of what went into them. dY[B, H] comes from
 * above, dHidden and dCellIn[B, H] from the position behind; dCell[B, H], dense, is for the one before, and may be dCellIn.
 */
export function lstmBackward(
  rows: u32,
  units: u32,
  gates: usize,
  gateStride: u32,
  cell: usize,
  stateStride: u32,
  previousCell: usize,
  previousStride: u32,
  dY: usize,
  dYStride: u32,
  dHidden: usize,
  dCellIn: usize,
  behindStride: u32,
  dCell: usize,
): void {
  const unitBytes = <usize>units << 2;
  const wideBytes = unitBytes & ~15;
  for (let row: u32 = 0; row < rows; row++) {
    let j: usize = 0;
    for (; j < wideBytes; j += 16) {
      backwardUnits(gates + j, cell + j, previousCell + j, dY + j, dHidden + j, dCellIn + j, dCell + j, unitBytes, true);
    }
    for (; j < unitBytes; j += 4) {
      backwardUnits(gates + j, cell + j, previousCell + j, dY + j, dHidden + j, dCellIn + j, dCell + j, unitBytes, false);
    }
    gates += <usize>gateStride << 2;
    cell += <usize>stateStride << 2;
    previousCell += <usize>previousStride << 2;
    dY += <usize>dYStride << 2;
    dHidden += <usize>behindStride << 2;
    dCellIn += <usize>behindStride << 2;
    dCell += unitBytes;
  }
}
