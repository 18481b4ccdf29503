// The formulas of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al.,
// 2000). Rows of gates are [4, H] in PyTorch's order i, f, g, o.
//
//   i, f, o = sigmoid(.)   g = tanh(.)   of   x W + h' W' + bias
//   c = f c' + i g         h = o tanh(c)          h', c': of the position before
import { forwardValues, Sigmoid, Tanh } from './activation';
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, tanhSlope } from './math';
import { addTwo } from './vectors';

/** Sets cell (c) and hidden (h) of a sample, and gates, which hold x W, to their values; recurrent is h' W'. */
export function lstmForwardRow(
  gates: usize,
  recurrent: usize,
  bias: usize,
  previousCell: usize,
  cell: usize,
  hidden: usize,
  units: u32,
): void {
  const unitBytes = <usize>units << 2;
  const g = gates + (unitBytes << 1);
  const o = g + unitBytes;
  addTwo(gates, recurrent, bias, 4 * units);
  forwardValues<Sigmoid>(gates, gates, 2 * units);
  forwardValues<Tanh>(g, g, units);
  forwardValues<Sigmoid>(o, o, units);
  let j: usize = 0;
  for (; j + 16 <= unitBytes; j += 16) storeCell<v128>(gates + j, previousCell + j, cell + j, unitBytes);
  for (; j < unitBytes; j += 4) storeCell<f32>(gates + j, previousCell + j, cell + j, unitBytes);
  forwardValues<Tanh>(cell, hidden, units);
  for (j = 0; j + 16 <= unitBytes; j += 16) multiplyLanes<v128>(hidden + j, o + j);
  for (; j < unitBytes; j += 4) multiplyLanes<f32>(hidden + j, o + j);
}

// @ts-ignore: decorator
@inline
function storeCell<T>(gates: usize, previousCell: usize, cell: usize, unitBytes: usize): void {
  const kept = f32x4.mul(loadLanes<T>(gates + unitBytes), loadLanes<T>(previousCell));
  const added = f32x4.mul(loadLanes<T>(gates), loadLanes<T>(gates + (unitBytes << 1)));
  storeLanes<T>(cell, f32x4.add(kept, added));
}

// @ts-ignore: decorator
@inline
function multiplyLanes<T>(x: usize, factor: usize): void {
  storeLanes<T>(x, f32x4.mul(loadLanes<T>(factor), loadLanes<T>(x)));
}

/**
 * Sets gates, which hold their values, to the gradients of what went into them. dY comes
 * from the layer above, dHidden and dCellIn from the position after; dCell is for the one
 * before, and may be dCellIn.
 */
// @ts-ignore: decorator
@inline
export function lstmBackwardUnits<T>(
  gates: usize,
  tanhCell: usize,
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
  const tanhC = loadLanes<T>(tanhCell);
  const dH = f32x4.add(loadLanes<T>(dY), loadLanes<T>(dHidden));
  const dC = f32x4.add(loadLanes<T>(dCellIn), f32x4.mul(f32x4.mul(dH, o), tanhSlope(tanhC)));
  storeLanes<T>(gates, f32x4.mul(f32x4.mul(dC, g), sigmoidSlope(i)));
  storeLanes<T>(gates + unitBytes, f32x4.mul(f32x4.mul(dC, loadLanes<T>(previousCell)), sigmoidSlope(f)));
  storeLanes<T>(gates + (unitBytes << 1), f32x4.mul(f32x4.mul(dC, i), tanhSlope(g)));
  storeLanes<T>(gates + 3 * unitBytes, f32x4.mul(f32x4.mul(dH, tanhC), sigmoidSlope(o)));
  storeLanes<T>(dCell, f32x4.mul(dC, f));
}
