// Bias and activation, forward and backward. Letters: B rows, O columns.
// Backward passes take the output y where f'(x) is a function of f(x), so that f may work in place; those of
// self-gated.ts take the input. Loops take two vectors at a time, which V8 may pair.
import { storePair } from './lanes';
import { ONE, constant, expMinusOneVector, sigmoidSlope, sigmoidVector, tanhSlope, tanhVector } from './math';
import { gelu, geluSlope, geluTanh, geluTanhSlope, silu, siluSlope } from './self-gated';

/** Slope of leakyRelu below zero, as in PyTorch. */
const LEAK: usize = memory.data<f32>([0.01]);

// Numbers of the activations, in the order of ACTIVATIONS in src/layers/activation.ts.
export const LINEAR: u32 = 0;
export const RELU: u32 = 1;
export const LEAKY_RELU: u32 = 2;
export const TANH: u32 = 3;
export const SIGMOID: u32 = 4;
export const ELU: u32 = 5;
export const GELU: u32 = 6;
export const GELU_TANH: u32 = 7;
export const SILU: u32 = 8;

// @ts-ignore: decorator
@inline
export function activate(kind: u32, x: v128): v128 {
  if (kind == RELU) return f32x4.max(x, f32x4.splat(0));
  if (kind == LEAKY_RELU) return v128.bitselect(f32x4.mul(x, constant(LEAK)), x, f32x4.lt(x, f32x4.splat(0)));
  if (kind == TANH) return tanhVector(x);
  if (kind == SIGMOID) return sigmoidVector(x);
  if (kind == ELU) return v128.bitselect(x, expMinusOneVector(x), f32x4.gt(x, f32x4.splat(0)));
  if (kind == GELU) return gelu(x);
  if (kind == GELU_TANH) return geluTanh(x);
  if (kind == SILU) return silu(x);
  return x;
}

// @ts-ignore: decorator
@inline
function slope(kind: u32, y: v128): v128 {
  const one = constant(ONE);
  if (kind == RELU) return v128.and(one, f32x4.gt(y, f32x4.splat(0)));
  if (kind == LEAKY_RELU) return v128.bitselect(one, constant(LEAK), f32x4.gt(y, f32x4.splat(0)));
  if (kind == TANH) return tanhSlope(y);
  if (kind == ELU) return v128.bitselect(one, f32x4.add(y, one), f32x4.gt(y, f32x4.splat(0)));
  return sigmoidSlope(y);
}

// @ts-ignore: decorator
@inline
function forwardRows(kind: u32, y: usize, bias: usize, rows: u32, columns: u32): void {
  for (let row: u32 = 0; row < rows; row++) {
    let j: u32 = 0;
    for (; j + 8 <= columns; j += 8) {
      const x0 = f32x4.add(v128.load(y), v128.load(bias + (<usize>j << 2)));
      const x1 = f32x4.add(v128.load(y, 16), v128.load(bias + (<usize>j << 2), 16));
      storePair(y, activate(kind, x0), activate(kind, x1));
      y += 32;
    }
    if (j + 4 <= columns) {
      const x = f32x4.add(v128.load(y), v128.load(bias + (<usize>j << 2)));
      v128.store(y, activate(kind, x));
      j += 4;
      y += 16;
    }
    for (; j < columns; j++) {
      const x = f32x4.splat(load<f32>(y) + load<f32>(bias + (<usize>j << 2)));
      store<f32>(y, f32x4.extract_lane(activate(kind, x), 0));
      y += 4;
    }
  }
}

/**
 * y[B, O] = f(y + bias[O]) in place, for activations whose slope is a function of y: the others'
 * backward needs what this overwrites. A layer without bias passes a vector of zeros.
 */
export function biasActivationForward(kind: u32, y: usize, bias: usize, rows: u32, columns: u32): void {
  // One call a kind, so that each inlined loop holds one activation and no branch.
  if (kind == LINEAR) forwardRows(LINEAR, y, bias, rows, columns);
  else if (kind == RELU) forwardRows(RELU, y, bias, rows, columns);
  else if (kind == LEAKY_RELU) forwardRows(LEAKY_RELU, y, bias, rows, columns);
  else if (kind == TANH) forwardRows(TANH, y, bias, rows, columns);
  else if (kind == SIGMOID) forwardRows(SIGMOID, y, bias, rows, columns);
  else forwardRows(ELU, y, bias, rows, columns);
}

// @ts-ignore: decorator
@inline
function forwardValues(kind: u32, x: usize, y: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    storePair(y, activate(kind, v128.load(x)), activate(kind, v128.load(x, 16)));
    x += 32;
    y += 32;
  }
  if (i + 4 <= length) {
    v128.store(y, activate(kind, v128.load(x)));
    i += 4;
    x += 16;
    y += 16;
  }
  for (; i < length; i++) {
    store<f32>(y, f32x4.extract_lane(activate(kind, f32x4.splat(load<f32>(x))), 0));
    x += 4;
    y += 4;
  }
}

/** y[length] = f(x). `y` may be `x`. */
export function activationForward(kind: u32, x: usize, y: usize, length: u32): void {
  if (kind == LINEAR) forwardValues(LINEAR, x, y, length);
  else if (kind == RELU) forwardValues(RELU, x, y, length);
  else if (kind == LEAKY_RELU) forwardValues(LEAKY_RELU, x, y, length);
  else if (kind == TANH) forwardValues(TANH, x, y, length);
  else if (kind == SIGMOID) forwardValues(SIGMOID, x, y, length);
  else if (kind == ELU) forwardValues(ELU, x, y, length);
  else if (kind == GELU) forwardValues(GELU, x, y, length);
  else if (kind == GELU_TANH) forwardValues(GELU_TANH, x, y, length);
  else forwardValues(SILU, x, y, length);
}

// @ts-ignore: decorator
@inline
function backwardValues(kind: u32, dY: usize, y: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const d0 = f32x4.mul(v128.load(dY), slope(kind, v128.load(y)));
    const d1 = f32x4.mul(v128.load(dY, 16), slope(kind, v128.load(y, 16)));
    storePair(dY, d0, d1);
    dY += 32;
    y += 32;
  }
  if (i + 4 <= length) {
    v128.store(dY, f32x4.mul(v128.load(dY), slope(kind, v128.load(y))));
    i += 4;
    dY += 16;
    y += 16;
  }
  for (; i < length; i++) {
    const d = f32x4.mul(f32x4.splat(load<f32>(dY)), slope(kind, f32x4.splat(load<f32>(y))));
    store<f32>(dY, f32x4.extract_lane(d, 0));
    dY += 4;
    y += 4;
  }
}

/**
 * dY[length] *= f'(x) in place, where y = f(x), for activations whose slope is a function of
 * y. Linear: nothing to do.
 */
export function activationBackward(kind: u32, dY: usize, y: usize, length: u32): void {
  if (kind == RELU) backwardValues(RELU, dY, y, length);
  else if (kind == LEAKY_RELU) backwardValues(LEAKY_RELU, dY, y, length);
  else if (kind == TANH) backwardValues(TANH, dY, y, length);
  else if (kind == SIGMOID) backwardValues(SIGMOID, dY, y, length);
  else if (kind == ELU) backwardValues(ELU, dY, y, length);
}

// @ts-ignore: decorator
@inline
function slopeFromInput(kind: u32, x: v128): v128 {
  if (kind == GELU) return geluSlope(x);
  if (kind == GELU_TANH) return geluTanhSlope(x);
  return siluSlope(x);
}

// @ts-ignore: decorator
@inline
function backwardValuesFromInput(kind: u32, dY: usize, x: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const d0 = f32x4.mul(v128.load(dY), slopeFromInput(kind, v128.load(x)));
    const d1 = f32x4.mul(v128.load(dY, 16), slopeFromInput(kind, v128.load(x, 16)));
    storePair(dY, d0, d1);
    dY += 32;
    x += 32;
  }
  if (i + 4 <= length) {
    v128.store(dY, f32x4.mul(v128.load(dY), slopeFromInput(kind, v128.load(x))));
    i += 4;
    dY += 16;
    x += 16;
  }
  for (; i < length; i++) {
    const d = f32x4.mul(f32x4.splat(load<f32>(dY)), slopeFromInput(kind, f32x4.splat(load<f32>(x))));
    store<f32>(dY, f32x4.extract_lane(d, 0));
    dY += 4;
    x += 4;
  }
}

/** dY[length] *= f'(x) in place, for the activations of self-gated.ts. */
export function activationBackwardFromInput(kind: u32, dY: usize, x: usize, length: u32): void {
  if (kind == GELU) backwardValuesFromInput(GELU, dY, x, length);
  else if (kind == GELU_TANH) backwardValuesFromInput(GELU_TANH, dY, x, length);
  else backwardValuesFromInput(SILU, dY, x, length);
}

/**
 * Bias gradient: out[O] = the tree sum over shards of the column sums of dY[B, O], rows in ascending
 * order within a shard. `slots` is scratch for 11 rows of O (the stack of partial sums above `out`).
 */
export function columnSumTree(
  dY: usize,
  columns: u32,
  bounds: usize,
  numShards: u32,
  out: usize,
  slots: usize,
): void {
  const rowBytes: usize = <usize>columns << 2;
  let height: u32 = 0;
  for (let s: u32 = 0; s < numShards; s++) {
    const start = load<u32>(bounds + (<usize>s << 2));
    const end = load<u32>(bounds + (<usize>s << 2), 4);
    const slot = slotAddress(height, out, slots, rowBytes);
    memory.copy(slot, dY + <usize>start * rowBytes, rowBytes);
    for (let row = start + 1; row < end; row++) addInto(slot, dY + <usize>row * rowBytes, columns);
    height++;
    for (let level = s; level & 1; level >>= 1) {
      height--;
      mergeSlots(height, out, slots, rowBytes, columns);
    }
  }
  while (height > 1) {
    height--;
    mergeSlots(height, out, slots, rowBytes, columns);
  }
}

function slotAddress(slot: u32, out: usize, slots: usize, rowBytes: usize): usize {
  return slot == 0 ? out : slots + <usize>(slot - 1) * rowBytes;
}

function mergeSlots(right: u32, out: usize, slots: usize, rowBytes: usize, columns: u32): void {
  addInto(slotAddress(right - 1, out, slots, rowBytes), slotAddress(right, out, slots, rowBytes), columns);
}

/** Tree addition: left[length] += right[length]. */
export function addInto(left: usize, right: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 16 <= length; i += 16) {
    v128.store(left, f32x4.add(v128.load(left), v128.load(right)));
    v128.store(left, f32x4.add(v128.load(left, 16), v128.load(right, 16)), 16);
    v128.store(left, f32x4.add(v128.load(left, 32), v128.load(right, 32)), 32);
    v128.store(left, f32x4.add(v128.load(left, 48), v128.load(right, 48)), 48);
    left += 64;
    right += 64;
  }
  for (; i + 4 <= length; i += 4) {
    v128.store(left, f32x4.add(v128.load(left), v128.load(right)));
    left += 16;
    right += 16;
  }
  for (; i < length; i++) {
    store<f32>(left, load<f32>(left) + load<f32>(right));
    left += 4;
    right += 4;
  }
}
