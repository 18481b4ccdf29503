// The formulas of a GRU (Cho et al., 2014) in PyTorch's form. Rows of gates are [3, H] in PyTorch's order r, z, n.
//
//   r, z = sigmoid(x W + h' W' + bias)   q = h' Wn' + bn'   n = tanh(x Wn + bn + r q)   h = n + z (h' - n)
//
// The bias is [4, H]: for r and z the sums of both of PyTorch's, then bn and bn'.
import { forwardValues, Sigmoid, Tanh } from './activation';
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, tanhSlope } from './math';
import { addTwo } from './vectors';

// @ts-ignore: decorator
@inline
function sum<T>(a: usize, b: usize): v128 {
  return f32x4.add(loadLanes<T>(a), loadLanes<T>(b));
}

/** Sets candidate (q) and hidden (h) of a sample, and gates, which hold x W, to their values; recurrent is h' W'. */
export function gruForwardRow(
  gates: usize,
  recurrent: usize,
  bias: usize,
  previous: usize,
  candidate: usize,
  hidden: usize,
  units: u32,
): void {
  const unitBytes = <usize>units << 2;
  const n = gates + (unitBytes << 1);
  addTwo(gates, recurrent, bias, 2 * units);
  forwardValues<Sigmoid>(gates, gates, 2 * units);
  let j: usize = 0;
  for (; j + 16 <= unitBytes; j += 16) {
    storeCandidate<v128>(gates + j, recurrent + j, bias + j, candidate + j, unitBytes);
  }
  for (; j < unitBytes; j += 4) {
    storeCandidate<f32>(gates + j, recurrent + j, bias + j, candidate + j, unitBytes);
  }
  forwardValues<Tanh>(n, n, units);
  for (j = 0; j + 16 <= unitBytes; j += 16) storeHidden<v128>(n + j, previous + j, hidden + j, unitBytes);
  for (; j < unitBytes; j += 4) storeHidden<f32>(n + j, previous + j, hidden + j, unitBytes);
}

/** Stores q, and as a gate what n is the tanh of. */
// @ts-ignore: decorator
@inline
function storeCandidate<T>(gates: usize, recurrent: usize, bias: usize, candidate: usize, unitBytes: usize): void {
  const twice = unitBytes << 1;
  const q = sum<T>(recurrent + twice, bias + twice + unitBytes);
  storeLanes<T>(candidate, q);
  const x = sum<T>(gates + twice, bias + twice);
  storeLanes<T>(gates + twice, f32x4.add(x, f32x4.mul(loadLanes<T>(gates), q)));
}

/** `n` is the address of the last gate, z of the one before it. */
// @ts-ignore: decorator
@inline
function storeHidden<T>(n: usize, previous: usize, hidden: usize, unitBytes: usize): void {
  const n0 = loadLanes<T>(n);
  const change = f32x4.mul(loadLanes<T>(n - unitBytes), f32x4.sub(loadLanes<T>(previous), n0));
  storeLanes<T>(hidden, f32x4.add(n0, change));
}

/**
 * Sets gates, which hold their values, to the gradients of what h' W' went into (r, z, q), and
 * candidate, which holds q, to the gradient of what x Wn went into. dY comes from the layer above;
 * from the position after come dHidden, by way of the gates, and dDirectIn, by way of z. dDirect is
 * for the position before, and may be dDirectIn.
 */
// @ts-ignore: decorator
@inline
export function gruBackwardUnits<T>(
  gates: usize,
  candidate: usize,
  previous: usize,
  dY: usize,
  dHidden: usize,
  dDirectIn: usize,
  dDirect: usize,
  unitBytes: usize,
): void {
  const one = f32x4.splat(1);
  const twice = unitBytes << 1;
  const r = loadLanes<T>(gates);
  const z = loadLanes<T>(gates + unitBytes);
  const n = loadLanes<T>(gates + twice);
  const dH = f32x4.add(sum<T>(dY, dHidden), loadLanes<T>(dDirectIn));
  const dN = f32x4.mul(f32x4.mul(dH, f32x4.sub(one, z)), tanhSlope(n));
  const dZ = f32x4.mul(f32x4.mul(dH, f32x4.sub(loadLanes<T>(previous), n)), sigmoidSlope(z));
  const dR = f32x4.mul(f32x4.mul(dN, loadLanes<T>(candidate)), sigmoidSlope(r));
  storeLanes<T>(gates, dR);
  storeLanes<T>(gates + unitBytes, dZ);
  storeLanes<T>(gates + twice, f32x4.mul(dN, r));
  storeLanes<T>(candidate, dN);
  storeLanes<T>(dDirect, f32x4.mul(dH, z));
}
