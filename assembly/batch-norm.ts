// Batch normalization (Ioffe and Szegedy, 2015) of one shard, forward and backward. Letters: B
// samples of the shard, C channels, S values of a channel in a sample (1 of a vector), m = B S. A
// channel's sums run over the samples in order; where S > 1 a sample's plane is summed first.
import { sumOf, sumOfSquaredDistances } from './layer-norm';
import { reciprocalRoot } from './math';
import { sumOfLanes } from './softmax';

/**
 * mean[C] and biased variance[C] of x[B, C, S], in two passes: a single one would cancel
 * where the mean is large.
 */
export function channelMoments(x: usize, rows: u32, channels: u32, size: u32, mean: usize, variance: usize): void {
  const bytes: usize = <usize>channels << 2;
  const count = <f32>rows * <f32>size;
  memory.fill(mean, 0, bytes);
  memory.fill(variance, 0, bytes);
  if (size == 1) {
    for (let row: u32 = 0; row < rows; row++) addRow(mean, x + <usize>row * bytes, channels);
    divideBy(mean, channels, count);
    for (let row: u32 = 0; row < rows; row++) addSquaredRow(variance, x + <usize>row * bytes, mean, channels);
  } else {
    const planeBytes: usize = <usize>size << 2;
    let plane = x;
    for (let row: u32 = 0; row < rows; row++) {
      for (let c: usize = 0; c < bytes; c += 4) {
        store<f32>(mean + c, load<f32>(mean + c) + sumOf(plane, size));
        plane += planeBytes;
      }
    }
    divideBy(mean, channels, count);
    plane = x;
    for (let row: u32 = 0; row < rows; row++) {
      for (let c: usize = 0; c < bytes; c += 4) {
        const sum = sumOfSquaredDistances(plane, load<f32>(mean + c), size);
        store<f32>(variance + c, load<f32>(variance + c) + sum);
        plane += planeBytes;
      }
    }
  }
  divideBy(variance, channels, count);
}

// @ts-ignore: decorator
@inline
function addRow(sums: usize, x: usize, length: u32): void {
  const end = <usize>length << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) v128.store(sums + j, f32x4.add(v128.load(sums + j), v128.load(x + j)));
  for (; j < end; j += 4) store<f32>(sums + j, load<f32>(sums + j) + load<f32>(x + j));
}

// @ts-ignore: decorator
@inline
function addSquaredRow(sums: usize, x: usize, mean: usize, length: u32): void {
  const end = <usize>length << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    const distance = f32x4.sub(v128.load(x + j), v128.load(mean + j));
    v128.store(sums + j, f32x4.add(v128.load(sums + j), f32x4.mul(distance, distance)));
  }
  for (; j < end; j += 4) {
    const distance = load<f32>(x + j) - load<f32>(mean + j);
    store<f32>(sums + j, load<f32>(sums + j) + distance * distance);
  }
}

function divideBy(x: usize, length: u32, divisor: f32): void {
  for (let end = x + (<usize>length << 2); x < end; x += 4) store<f32>(x, load<f32>(x) / divisor);
}

/** out[C] = 1 / sqrt(variance[C] + epsilon). */
export function reciprocalDeviations(variance: usize, channels: u32, epsilon: f32, out: usize): void {
  for (let j: usize = 0; j < <usize>channels << 2; j += 4) {
    store<f32>(out + j, reciprocalRoot(load<f32>(variance + j) + epsilon));
  }
}

/**
 * Sets the share of a shard in the sums of the running statistics: means[C] = B mean,
 * variances[C] = B times the unbiased variance. Where m = 1 that is NaN, at which the step stops:
 * one value has no variance.
 */
export function weighMoments(
  mean: usize,
  variance: usize,
  rows: u32,
  channels: u32,
  size: u32,
  means: usize,
  variances: usize,
): void {
  const count = <f32>rows * <f32>size;
  const unbiased: f32 = count > 1 ? count / (count - 1) : f32.NaN;
  for (let j: usize = 0; j < <usize>channels << 2; j += 4) {
    store<f32>(means + j, load<f32>(mean + j) * <f32>rows);
    store<f32>(variances + j, load<f32>(variance + j) * unbiased * <f32>rows);
  }
}

/** y[B, C, S] = (x - mean[C]) (reciprocal[C] gain[C]) + bias[C]: in training and at evaluation. */
export function batchNormForward(
  x: usize,
  rows: u32,
  channels: u32,
  size: u32,
  mean: usize,
  reciprocal: usize,
  gain: usize,
  bias: usize,
  y: usize,
): void {
  const bytes: usize = <usize>channels << 2;
  const planeBytes: usize = <usize>size << 2;
  for (let row: u32 = 0; row < rows; row++) {
    let c: usize = 0;
    if (size == 1) {
      for (; c + 16 <= bytes; c += 16) {
        const factor = f32x4.mul(v128.load(reciprocal + c), v128.load(gain + c));
        const centred = f32x4.sub(v128.load(x), v128.load(mean + c));
        v128.store(y, f32x4.add(f32x4.mul(centred, factor), v128.load(bias + c)));
        x += 16;
        y += 16;
      }
    }
    for (; c < bytes; c += 4) {
      const factor = load<f32>(reciprocal + c) * load<f32>(gain + c);
      scalePlane(x, size, load<f32>(mean + c), factor, load<f32>(bias + c), y);
      x += planeBytes;
      y += planeBytes;
    }
  }
}

/** y = (x - mean) factor + bias. */
// @ts-ignore: decorator
@inline
function scalePlane(x: usize, size: u32, mean: f32, factor: f32, bias: f32, y: usize): void {
  const means = f32x4.splat(mean);
  const factors = f32x4.splat(factor);
  const biases = f32x4.splat(bias);
  const end = <usize>size << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    v128.store(y + i, f32x4.add(f32x4.mul(f32x4.sub(v128.load(x + i), means), factors), biases));
  }
  for (; i < end; i += 4) store<f32>(y + i, (load<f32>(x + i) - mean) * factor + bias);
}

/** Gradients of gain and bias: dGain[C] = sum of dY (x - mean) reciprocal, dBias[C] = sum of dY. */
export function batchNormParameterGradients(
  dY: usize,
  x: usize,
  rows: u32,
  channels: u32,
  size: u32,
  mean: usize,
  reciprocal: usize,
  dGain: usize,
  dBias: usize,
): void {
  const bytes: usize = <usize>channels << 2;
  const planeBytes: usize = <usize>size << 2;
  memory.fill(dGain, 0, bytes);
  memory.fill(dBias, 0, bytes);
  for (let row: u32 = 0; row < rows; row++) {
    let c: usize = 0;
    if (size == 1) {
      for (; c + 16 <= bytes; c += 16) {
        const error = v128.load(dY);
        const n = f32x4.mul(f32x4.sub(v128.load(x), v128.load(mean + c)), v128.load(reciprocal + c));
        v128.store(dGain + c, f32x4.add(v128.load(dGain + c), f32x4.mul(error, n)));
        v128.store(dBias + c, f32x4.add(v128.load(dBias + c), error));
        x += 16;
        dY += 16;
      }
    }
    for (; c < bytes; c += 4) {
      const product = productOfPlane(dY, x, size, load<f32>(mean + c), load<f32>(reciprocal + c));
      store<f32>(dGain + c, load<f32>(dGain + c) + product);
      store<f32>(dBias + c, load<f32>(dBias + c) + sumOf(dY, size));
      x += planeBytes;
      dY += planeBytes;
    }
  }
}

/** Sum of dY (x - mean) reciprocal over one plane. */
// @ts-ignore: decorator
@inline
function productOfPlane(dY: usize, x: usize, size: u32, mean: f32, reciprocal: f32): f32 {
  const means = f32x4.splat(mean);
  const reciprocals = f32x4.splat(reciprocal);
  const end = <usize>size << 2;
  let lanes = f32x4.splat(0);
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const n = f32x4.mul(f32x4.sub(v128.load(x + i), means), reciprocals);
    lanes = f32x4.add(lanes, f32x4.mul(v128.load(dY + i), n));
  }
  let sum = sumOfLanes(lanes);
  for (; i < end; i += 4) sum += load<f32>(dY + i) * ((load<f32>(x + i) - mean) * reciprocal);
  return sum;
}

/**
 * dX[B, C, S] over dY: with n = (x - mean) reciprocal,
 * dX = reciprocal gain (dY - dBias / m - n dGain / m), the gradients being those of this shard.
 */
export function batchNormInputGradient(
  dY: usize,
  x: usize,
  rows: u32,
  channels: u32,
  size: u32,
  mean: usize,
  reciprocal: usize,
  gain: usize,
  dGain: usize,
  dBias: usize,
): void {
  const bytes: usize = <usize>channels << 2;
  const planeBytes: usize = <usize>size << 2;
  const count = <f32>rows * <f32>size;
  const counts = f32x4.splat(count);
  for (let row: u32 = 0; row < rows; row++) {
    let c: usize = 0;
    if (size == 1) {
      for (; c + 16 <= bytes; c += 16) {
        const reciprocals = v128.load(reciprocal + c);
        const n = f32x4.mul(f32x4.sub(v128.load(x), v128.load(mean + c)), reciprocals);
        const centred = f32x4.sub(v128.load(dY), f32x4.div(v128.load(dBias + c), counts));
        const slope = f32x4.sub(centred, f32x4.mul(n, f32x4.div(v128.load(dGain + c), counts)));
        v128.store(dY, f32x4.mul(f32x4.mul(reciprocals, v128.load(gain + c)), slope));
        x += 16;
        dY += 16;
      }
    }
    for (; c < bytes; c += 4) {
      const dMean = load<f32>(dBias + c) / count;
      const dnMean = load<f32>(dGain + c) / count;
      inputGradientPlane(dY, x, size, load<f32>(mean + c), load<f32>(reciprocal + c), load<f32>(gain + c), dMean, dnMean);
      x += planeBytes;
      dY += planeBytes;
    }
  }
}

// @ts-ignore: decorator
@inline
function inputGradientPlane(
  dY: usize,
  x: usize,
  size: u32,
  mean: f32,
  reciprocal: f32,
  gain: f32,
  dMean: f32,
  dnMean: f32,
): void {
  const means = f32x4.splat(mean);
  const reciprocals = f32x4.splat(reciprocal);
  const factors = f32x4.splat(reciprocal * gain);
  const dMeans = f32x4.splat(dMean);
  const dnMeans = f32x4.splat(dnMean);
  const end = <usize>size << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const n = f32x4.mul(f32x4.sub(v128.load(x + i), means), reciprocals);
    const slope = f32x4.sub(f32x4.sub(v128.load(dY + i), dMeans), f32x4.mul(n, dnMeans));
    v128.store(dY + i, f32x4.mul(factors, slope));
  }
  for (; i < end; i += 4) {
    const n = (load<f32>(x + i) - mean) * reciprocal;
    store<f32>(dY + i, reciprocal * gain * (load<f32>(dY + i) - dMean - n * dnMean));
  }
}
