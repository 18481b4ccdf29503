// One position of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000), for all samples
// of a pass. Letters: B samples, H units. Blocks of gates are [B, 4, H] in PyTorch's order i, f, g, o.
//
//   i, f, o = sigmoid(.)   g = tanh(.)   of   x W + h' W' + bias
//   c = f c' + i g         h = o tanh(c)          h', c': of the position before
//
// A stride is the distance between samples in f32; 0 reads one row, of zeros, for all: what stands before the first
// position, and behind the last.
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, sigmoidVector, tanhSlope, tanhVector } from './math';

// @ts-ignore: decorator
@inline
function preactivation<T>(gates: usize, recurrent: usize, bias: usize): v128 {
  return f32x4.add(f32x4.add(loadLanes<T>(gates), loadLanes<T>(recurrent)), loadLanes<T>(bias));
}

// @ts-ignore: decorator
@inline
function forwardUnits<T>(
  gates: usize,
  recurrent: usize,
  bias: usize,
  previousCell: usize,
  cell: usize,
  hidden: usize,
  unitBytes: usize,
): void {
  const twice = unitBytes << 1;
  const i = sigmoidVector(preactivation<T>(gates, recurrent, bias));
  const f = sigmoidVector(preactivation<T>(gates + unitBytes, recurrent + unitBytes, bias + unitBytes));
  gates += twice;
  recurrent += twice;
  bias += twice;
  const g = tanhVector(preactivation<T>(gates, recurrent, bias));
  const o = sigmoidVector(preactivation<T>(gates + unitBytes, recurrent + unitBytes, bias + unitBytes));
  const c = f32x4.add(f32x4.mul(f, loadLanes<T>(previousCell)), f32x4.mul(i, g));
  storeLanes<T>(gates - twice, i);
  storeLanes<T>(gates - unitBytes, f);
  storeLanes<T>(gates, g);
  storeLanes<T>(gates + unitBytes, o);
  storeLanes<T>(cell, c);
  storeLanes<T>(hidden, f32x4.mul(o, tanhVector(c)));
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
      forwardUnits<v128>(gates + j, recurrent + j, bias + j, previousCell + j, cell + j, hidden + j, unitBytes);
    }
    for (; j < unitBytes; j += 4) {
      forwardUnits<f32>(gates + j, recurrent + j, bias + j, previousCell + j, cell + j, hidden + j, unitBytes);
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
function backwardUnits<T>(
  gates: usize,
  cell: usize,
  previousCell: usize,
  dY: usize,
  dHidden: usize,
  dCellIn: usize,
  dCell: usize,
  unitBytes: usize,
): void {
  const i = loadLanes<T>(gates);
  const f = loadLanes<T>(gates + unitBytes);
  const g = loadLanes<T>(gates + (unitBytes << 1));
  const o = loadLanes<T>(gates + 3 * unitBytes);
  const tanhC = tanhVector(loadLanes<T>(cell));
  const dH = f32x4.add(loadLanes<T>(dY), loadLanes<T>(dHidden));
  const dC = f32x4.add(loadLanes<T>(dCellIn), f32x4.mul(f32x4.mul(dH, o), tanhSlope(tanhC)));
  storeLanes<T>(gates, f32x4.mul(f32x4.mul(dC, g), sigmoidSlope(i)));
  storeLanes<T>(gates + unitBytes, f32x4.mul(f32x4.mul(dC, loadLanes<T>(previousCell)), sigmoidSlope(f)));
  storeLanes<T>(gates + (unitBytes << 1), f32x4.mul(f32x4.mul(dC, i), tanhSlope(g)));
  storeLanes<T>(gates + 3 * unitBytes, f32x4.mul(f32x4.mul(dH, tanhC), sigmoidSlope(o)));
  storeLanes<T>(dCell, f32x4.mul(dC, f));
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
      backwardUnits<v128>(gates + j, cell + j, previousCell + j, dY + j, dHidden + j, dCellIn + j, dCell + j, unitBytes);
    }
    for (; j < unitBytes; j += 4) {
      backwardUnits<f32>(gates + j, cell + j, previousCell + j, dY + j, dHidden + j, dCellIn + j, dCell + j, unitBytes);
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
