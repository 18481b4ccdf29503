// The formulas of an LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al.,
// 2000) for four units of a sample, or one. Rows of gates are [4, H] in PyTorch's order i, f, g, o.
//
//   i, f, o = sigmoid(.)   g = tanh(.)   of   x W + h' W' + bias
//   c = f c' + i g         h = o tanh(c)          h', c': of the position before
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, sigmoidVector, tanhSlope, tanhVector } from './math';

// @ts-ignore: decorator
@inline
function preactivation<T>(gates: usize, recurrent: usize, bias: usize): v128 {
  return f32x4.add(f32x4.add(loadLanes<T>(gates), loadLanes<T>(recurrent)), loadLanes<T>(bias));
}

/** Sets cell (c) and hidden (h), and gates, which hold x W, to their values; recurrent is h' W'. */
// @ts-ignore: decorator
@inline
export function lstmForwardUnits<T>(
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
 * Sets gates, which hold their values, to the gradients of what went into them. dY comes
 * from the layer above, dHidden and dCellIn from the position after; dCell is for the one
 * before, and may be dCellIn.
 */
// @ts-ignore: decorator
@inline
export function lstmBackwardUnits<T>(
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
