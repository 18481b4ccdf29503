// One position of a GRU (Cho et al., 2014) in PyTorch's form, for all samples of a pass. Letters: B samples, H units.
// Blocks of gates are [B, 3, H] in PyTorch's order r, z, n.
//
//   r, z = sigmoid(x W + h' W' + bias)   q = h' Wn' + bn'   n = tanh(x Wn + bn + r q)   h = n + z (h' - n)
//
// The bias is [4, H]: for r and z the sums of both of PyTorch's, then bn and bn'. A stride is the distance between
// samples in f32; 0 reads one row, of zeros, for all: what stands before the first position, and behind the last.
import { loadLanes, storeLanes } from './lanes';
import { sigmoidSlope, sigmoidVector, tanhSlope, tanhVector } from './math';

// @ts-ignore: decorator
@inline
function sum<T>(a: usize, b: usize): v128 {
  return f32x4.add(loadLanes<T>(a), loadLanes<T>(b));
}

// @ts-ignore: decorator
@inline
function forwardUnits<T>(
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
 * gates[B, 3, H] holds x W and gets the values of the gates; recurrent[B, 3, H] is h' W'. Sets candidate[B, H] (q)
 * and hidden[B, H], which lie `stateStride` apart.
 */
export function gruForward(
  rows: u32,
  units: u32,
  gates: usize,
  gateStride: u32,
  recurrent: usize,
  recurrentStride: u32,
  bias: usize,
  previous: usize,
  previousStride: u32,
  candidate: usize,
  hidden: usize,
  stateStride: u32,
): void {
  const unitBytes = <usize>units << 2;
  const wideBytes = unitBytes & ~15;
  for (let row: u32 = 0; row < rows; row++) {
    let j: usize = 0;
    for (; j < wideBytes; j += 16) {
      forwardUnits<v128>(gates + j, recurrent + j, bias + j, previous + j, candidate + j, hidden + j, unitBytes);
    }
    for (; j < unitBytes; j += 4) {
      forwardUnits<f32>(gates + j, recurrent + j, bias + j, previous + j, candidate + j, hidden + j, unitBytes);
    }
    gates += <usize>gateStride << 2;
    recurrent += <usize>recurrentStride << 2;
    previous += <usize>previousStride << 2;
    candidate += <usize>stateStride << 2;
    hidden += <usize>stateStride << 2;
  }
}

// @ts-ignore: decorator
@inline
function backwardUnits<T>(
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

/**
 * gates[B, 3, H] holds the values of the gates and gets the gradients of what h' W' went into (r, z, q);
 * candidate[B, H] holds q and gets the gradient of what x Wn went into. dY[B, H] comes from above; from the position
 * behind come dHidden, by way of the gates, and dDirectIn, by way of z. dDirect[B, H], dense, may be dDirectIn.
 */
export function gruBackward(
  rows: u32,
  units: u32,
  gates: usize,
  gateStride: u32,
  candidate: usize,
  stateStride: u32,
  previous: usize,
  previousStride: u32,
  dY: usize,
  dYStride: u32,
  dHidden: usize,
  dDirectIn: usize,
  behindStride: u32,
  dDirect: usize,
): void {
  const unitBytes = <usize>units << 2;
  const wideBytes = unitBytes & ~15;
  for (let row: u32 = 0; row < rows; row++) {
    let j: usize = 0;
    for (; j < wideBytes; j += 16) {
      backwardUnits<v128>(gates + j, candidate + j, previous + j, dY + j, dHidden + j, dDirectIn + j, dDirect + j, unitBytes);
    }
    for (; j < unitBytes; j += 4) {
      backwardUnits<f32>(gates + j, candidate + j, previous + j, dY + j, dHidden + j, dDirectIn + j, dDirect + j, unitBytes);
    }
    gates += <usize>gateStride << 2;
    candidate += <usize>stateStride << 2;
    previous += <usize>previousStride << 2;
    dY += <usize>dYStride << 2;
    dHidden += <usize>behindStride << 2;
    dDirectIn += <usize>behindStride << 2;
    dDirect += unitBytes;
  }
}
