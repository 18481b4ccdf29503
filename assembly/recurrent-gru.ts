// The formulas of a GRU (Cho et al., 2014) in PyTorch's form for four units of a sample, or one.
// Rows of gates are [3, H] in PyTorch's order r, z, n.
//
//   r, z = sigmoid(x W + h' W' + bias)   q = h' Wn' + bn'   n = tanh(x Wn + bn + r q)   h = n + z (h' - n)
//
// The bias is [4, H]: for r and z the sums of both of PyTorch's, then bn and bn'.
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, sigmoidVector, tanhSlope, tanhVector } from './math';

// @ts-ignore: decorator
@inline
function sum<T>(a: usize, b: usize): v128 {
  return f32x4.add(loadLanes<T>(a), loadLanes<T>(b));
}

/** Sets candidate (q) and hidden (h), and gates, which hold x W, to their values; recurrent is h' W'. */
// @ts-ignore: decorator
@inline
export function gruForwardUnits<T>(
  gates: usize,
  recurrent: usize,
  bias: usize,
  previous: usize,
  candidate: usize,
  hidden: usize,
  unitBytes: usize,
): void {
  const twice = unitBytes << 1;
  const r = sigmoidVector(f32x4.add(sum<T>(gates, recurrent), loadLanes<T>(bias)));
  const z = sigmoidVector(
    f32x4.add(sum<T>(gates + unitBytes, recurrent + unitBytes), loadLanes<T>(bias + unitBytes)),
  );
  const q = sum<T>(recurrent + twice, bias + twice + unitBytes);
  const n = tanhVector(f32x4.add(sum<T>(gates + twice, bias + twice), f32x4.mul(r, q)));
  storeLanes<T>(gates, r);
  storeLanes<T>(gates + unitBytes, z);
  storeLanes<T>(gates + twice, n);
  storeLanes<T>(candidate, q);
  storeLanes<T>(hidden, f32x4.add(n, f32x4.mul(z, f32x4.sub(loadLanes<T>(previous), n))));
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
