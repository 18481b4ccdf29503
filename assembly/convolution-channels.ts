// What a convolution does with whole channels: bias and activation, sums for the bias gradient,
// and the transpose that a weight gradient needs when it was computed from its other side.
// Letters: C channels, P positions.
import {
  activate,
  Elu,
  LEAKY_RELU,
  LeakyRelu,
  LINEAR,
  Linear,
  RELU,
  Relu,
  SIGMOID,
  Sigmoid,
  TANH,
  Tanh,
} from './activation';
import { storePair } from './lanes';

function forwardChannels<F>(y: usize, bias: usize, channels: u32, positions: u32): void {
  for (let channel: u32 = 0; channel < channels; channel++) {
    const shift = v128.load32_splat(bias);
    let p: u32 = 0;
    for (; p + 8 <= positions; p += 8) {
      const x0 = f32x4.add(v128.load(y), shift);
      const x1 = f32x4.add(v128.load(y, 16), shift);
      storePair(y, activate<F>(x0), activate<F>(x1));
      y += 32;
    }
    for (; p < positions; p++) {
      const x = f32x4.add(v128.load32_zero(y), shift);
      store<f32>(y, f32x4.extract_lane(activate<F>(x), 0));
      y += 4;
    }
    bias += 4;
  }
}

/** y[C, P] = f(y + bias[C]) in place, for the activations that biasActivationForward takes. */
export function channelBiasActivation(kind: u32, y: usize, bias: usize, channels: u32, positions: u32): void {
  if (kind == LINEAR) forwardChannels<Linear>(y, bias, channels, positions);
  else if (kind == RELU) forwardChannels<Relu>(y, bias, channels, positions);
  else if (kind == LEAKY_RELU) forwardChannels<LeakyRelu>(y, bias, channels, positions);
  else if (kind == TANH) forwardChannels<Tanh>(y, bias, channels, positions);
  else if (kind == SIGMOID) forwardChannels<Sigmoid>(y, bias, channels, positions);
  else forwardChannels<Elu>(y, bias, channels, positions);
}

/**
 * sums[C] = the sums of x[C, P] over its positions; added to sums where `accumulate`.
 *
 * Position p goes to lane p mod 16 of sixteen sums a, each in ascending order from zero.
 * Then b[l] = (a[l] + a[l + 4]) + (a[l + 8] + a[l + 12]) for l < 4, and the sum is (b[0]
 * + b[1]) + (b[2] + b[3]).
 */
export function channelSums(x: usize, channels: u32, positions: u32, sums: usize, accumulate: bool): void {
  for (let channel: u32 = 0; channel < channels; channel++) {
    const sum = sumValues(x, positions);
    store<f32>(sums, accumulate ? load<f32>(sums) + sum : sum);
    x += <usize>positions << 2;
    sums += 4;
  }
}

function sumValues(x: usize, length: u32): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 16 <= length; i += 16) {
    a = f32x4.add(a, v128.load(x));
    b = f32x4.add(b, v128.load(x, 16));
    c = f32x4.add(c, v128.load(x, 32));
    d = f32x4.add(d, v128.load(x, 48));
    x += 64;
  }
  // The rest fills a, b, c and d in turn; lanes without a value add zero, which changes
  // no sum that began at +0.
  if (i < length) a = f32x4.add(a, loadFirst(x, length - i));
  if (i + 4 < length) b = f32x4.add(b, loadFirst(x + 16, length - i - 4));
  if (i + 8 < length) c = f32x4.add(c, loadFirst(x + 32, length - i - 8));
  if (i + 12 < length) d = f32x4.add(d, loadFirst(x + 48, length - i - 12));
  const sum = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
  const low = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
  return low + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3));
}

/** The first `count` of four values, the others zero; reads no further. */
function loadFirst(x: usize, count: u32): v128 {
  if (count >= 4) return v128.load(x);
  let values = v128.load32_zero(x);
  if (count >= 2) values = v128.load32_lane(x + 4, values, 1);
  if (count == 3) values = v128.load32_lane(x + 8, values, 2);
  return values;
}

/** to[columns, rows] = the transpose of from[rows, columns]. */
export function transpose(from: usize, rows: u32, columns: u32, to: usize): void {
  const step = <usize>columns << 2;
  for (let column: u32 = 0; column < columns; column++) {
    let at = from + (<usize>column << 2);
    for (let row: u32 = 0; row < rows; row++) {
      store<f32>(to, load<f32>(at));
      at += step;
      to += 4;
    }
  }
}
