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

// The activations as types. Each loop is compiled for each of them, into a function that holds one formula and no
// branch: inlined side by side, Binaryen would fold the loops into one that looks at the kind for every vector.
export class Linear {}
export class Relu {}
export class LeakyRelu {}
export class Tanh {}
export class Sigmoid {}
export class Elu {}
class Gelu {}
class GeluTanh {}
class Silu {}

// @ts-ignore: decorator
@inline
function is<F, G>(): bool {
  return idof<F>() == idof<G>();
}

/** f(x). */
// @ts-ignore: decorator
@inline
export function activate<F>(x: v128): v128 {
  // The sum makes 0 of -0.
  if (is<F, Relu>()) return f32x4.add(f32x4.pmax(x, f32x4.splat(0)), f32x4.splat(0));
  if (is<F, LeakyRelu>()) return f32x4.pmax(x, f32x4.mul(x, constant(LEAK)));
  if (is<F, Tanh>()) return tanhVector(x);
  if (is<F, Sigmoid>()) return sigmoidVector(x);
  if (is<F, Elu>()) return v128.bitselect(x, expMinusOneVector(x), f32x4.gt(x, f32x4.splat(0)));
  if (is<F, Gelu>()) return gelu(x);
  if (is<F, GeluTanh>()) return geluTanh(x);
  if (is<F, Silu>()) return silu(x);
  return x;
}

/** f'(x), given y = f(x), or x where self-gated.ts has the slope. */
// @ts-ignore: decorator
@inline
function slope<F>(saved: v128): v128 {
  const one = constant(ONE);
  if (is<F, Relu>()) return v128.and(one, f32x4.gt(saved, f32x4.splat(0)));
  if (is<F, LeakyRelu>()) return v128.bitselect(one, constant(LEAK), f32x4.gt(saved, f32x4.splat(0)));
  if (is<F, Tanh>()) return tanhSlope(saved);
  if (is<F, Sigmoid>()) return sigmoidSlope(saved);
  if (is<F, Elu>()) return v128.bitselect(one, f32x4.add(saved, one), f32x4.gt(saved, f32x4.splat(0)));
  if (is<F, Gelu>()) return geluSlope(saved);
  if (is<F, GeluTanh>()) return geluTanhSlope(saved);
  return siluSlope(saved);
}

function forwardRows<F>(y: usize, bias: usize, rows: u32, columns: u32): void {
  for (let row: u32 = 0; row < rows; row++) {
    let j: u32 = 0;
    for (; j + 8 <= columns; j += 8) {
      const x0 = f32x4.add(v128.load(y), v128.load(bias + (<usize>j << 2)));
      const x1 = f32x4.add(v128.load(y, 16), v128.load(bias + (<usize>j << 2), 16));
      storePair(y, activate<F>(x0), activate<F>(x1));
      y += 32;
    }
    if (j + 4 <= columns) {
      const x = f32x4.add(v128.load(y), v128.load(bias + (<usize>j << 2)));
      v128.store(y, activate<F>(x));
      j += 4;
      y += 16;
    }
    for (; j < columns; j++) {
      const x = f32x4.splat(load<f32>(y) + load<f32>(bias + (<usize>j << 2)));
      store<f32>(y, f32x4.extract_lane(activate<F>(x), 0));
      y += 4;
    }
  }
}

/**
 * y[B, O] = f(y + bias[O]) in place, for activations whose slope is a function of y: the others'
 * backward needs what this overwrites. A layer without bias passes a vector of zeros.
 */
export function biasActivationForward(kind: u32, y: usize, bias: usize, rows: u32, columns: u32): void {
  if (kind == LINEAR) forwardRows<Linear>(y, bias, rows, columns);
  else if (kind == RELU) forwardRows<Relu>(y, bias, rows, columns);
  else if (kind == LEAKY_RELU) forwardRows<LeakyRelu>(y, bias, rows, columns);
  else if (kind == TANH) forwardRows<Tanh>(y, bias, rows, columns);
  else if (kind == SIGMOID) forwardRows<Sigmoid>(y, bias, rows, columns);
  else forwardRows<Elu>(y, bias, rows, columns);
}

/** y[length] = f(x). `y` may be `x`. */
export function forwardValues<F>(x: usize, y: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    storePair(y, activate<F>(v128.load(x)), activate<F>(v128.load(x, 16)));
    x += 32;
    y += 32;
  }
  if (i + 4 <= length) {
    v128.store(y, activate<F>(v128.load(x)));
    i += 4;
    x += 16;
    y += 16;
  }
  for (; i < length; i++) {
    store<f32>(y, f32x4.extract_lane(activate<F>(f32x4.splat(load<f32>(x))), 0));
    x += 4;
    y += 4;
  }
}

/** Does the same as `forwardValues`, for an activation by its number. */
export function activationForward(kind: u32, x: usize, y: usize, length: u32): void {
  if (kind == LINEAR) forwardValues<Linear>(x, y, length);
  else if (kind == RELU) forwardValues<Relu>(x, y, length);
  else if (kind == LEAKY_RELU) forwardValues<LeakyRelu>(x, y, length);
  else if (kind == TANH) forwardValues<Tanh>(x, y, length);
  else if (kind == SIGMOID) forwardValues<Sigmoid>(x, y, length);
  else if (kind == ELU) forwardValues<Elu>(x, y, length);
  else if (kind == GELU) forwardValues<Gelu>(x, y, length);
  else if (kind == GELU_TANH) forwardValues<GeluTanh>(x, y, length);
  else forwardValues<Silu>(x, y, length);
}

function backwardValues<F>(dY: usize, saved: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const d0 = f32x4.mul(v128.load(dY), slope<F>(v128.load(saved)));
    const d1 = f32x4.mul(v128.load(dY, 16), slope<F>(v128.load(saved, 16)));
    storePair(dY, d0, d1);
    dY += 32;
    saved += 32;
  }
  if (i + 4 <= length) {
    v128.store(dY, f32x4.mul(v128.load(dY), slope<F>(v128.load(saved))));
    i += 4;
    dY += 16;
    saved += 16;
  }
  for (; i < length; i++) {
    const d = f32x4.mul(f32x4.splat(load<f32>(dY)), slope<F>(f32x4.splat(load<f32>(saved))));
    store<f32>(dY, f32x4.extract_lane(d, 0));
    dY += 4;
    saved += 4;
  }
}

/** dY[length] *= f'(x) in place; `saved` is y = f(x), or x for those of self-gated.ts. Linear: nothing to do. */
export function activationBackward(kind: u32, dY: usize, saved: usize, length: u32): void {
  if (kind == RELU) backwardValues<Relu>(dY, saved, length);
  else if (kind == LEAKY_RELU) backwardValues<LeakyRelu>(dY, saved, length);
  else if (kind == TANH) backwardValues<Tanh>(dY, saved, length);
  else if (kind == SIGMOID) backwardValues<Sigmoid>(dY, saved, length);
  else if (kind == ELU) backwardValues<Elu>(dY, saved, length);
  else if (kind == GELU) backwardValues<Gelu>(dY, saved, length);
  else if (kind == GELU_TANH) backwardValues<GeluTanh>(dY, saved, length);
  else if (kind == SILU) backwardValues<Silu>(dY, saved, length);
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
