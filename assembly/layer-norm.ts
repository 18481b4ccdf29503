// Layer normalization (Ba, Kiros and Hinton, 2016), forward and backward. Letters: B rows, C
// columns, over which each row is normalized.
import { reciprocalRoot } from './math';
import { sumOfLanes } from './softmax';

/**
 * y[B, C] = (x - mean) / sqrt(variance + epsilon) gain[C] + bias[C], mean and biased variance of
 * each row. Keeps [B][2] in `statistics`: the mean and the reciprocal of the root.
 */
export function layerNormForward(
  x: usize,
  gain: usize,
  bias: usize,
  rows: u32,
  columns: u32,
  epsilon: f32,
  y: usize,
  statistics: usize,
): void {
  const rowBytes: usize = <usize>columns << 2;
  const count = <f32>columns;
  for (let row: u32 = 0; row < rows; row++) {
    const mean = sumOf(x, columns) / count;
    const variance = sumOfSquaredDistances(x, mean, columns) / count;
    const reciprocal = reciprocalRoot(variance + epsilon);
    store<f32>(statistics, mean);
    store<f32>(statistics, reciprocal, 4);
    normalizeRow(x, gain, bias, columns, mean, reciprocal, y);
    x += rowBytes;
    y += rowBytes;
    statistics += 8;
  }
}

function normalizeRow(
  x: usize,
  gain: usize,
  bias: usize,
  columns: u32,
  mean: f32,
  reciprocal: f32,
  y: usize,
): void {
  const means = f32x4.splat(mean);
  const reciprocals = f32x4.splat(reciprocal);
  let j: usize = 0;
  const end = <usize>columns << 2;
  for (; j + 16 <= end; j += 16) {
    const normalized = f32x4.mul(f32x4.sub(v128.load(x + j), means), reciprocals);
    v128.store(y + j, f32x4.add(f32x4.mul(normalized, v128.load(gain + j)), v128.load(bias + j)));
  }
  for (; j < end; j += 4) {
    const normalized = (load<f32>(x + j) - mean) * reciprocal;
    store<f32>(y + j, normalized * load<f32>(gain + j) + load<f32>(bias + j));
  }
}

/**
 * dX[B, C] over dY[B, C]: with n = (x - mean) r and d = dY gain, dX = r (d - mean of d - n mean of d n). Also
 * products[B, C] = dY n, whose sums over rows are the gain's gradient. `products` may be `x`, and not dY.
 */
export function layerNormBackward(
  dY: usize,
  x: usize,
  gain: usize,
  rows: u32,
  columns: u32,
  statistics: usize,
  products: usize,
): void {
  const rowBytes: usize = <usize>columns << 2;
  for (let row: u32 = 0; row < rows; row++) {
    backwardRow(dY, x, gain, columns, load<f32>(statistics), load<f32>(statistics, 4), products);
    dY += rowBytes;
    x += rowBytes;
    products += rowBytes;
    statistics += 8;
  }
}

function backwardRow(
  dY: usize,
  x: usize,
  gain: usize,
  columns: u32,
  mean: f32,
  reciprocal: f32,
  products: usize,
): void {
  const means = f32x4.splat(mean);
  const reciprocals = f32x4.splat(reciprocal);
  const end = <usize>columns << 2;
  let dLanes = f32x4.splat(0);
  let dnLanes = f32x4.splat(0);
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    const g = v128.load(gain + j);
    const error = v128.load(dY + j);
    const product = f32x4.mul(error, f32x4.mul(f32x4.sub(v128.load(x + j), means), reciprocals));
    v128.store(products + j, product);
    dLanes = f32x4.add(dLanes, f32x4.mul(error, g));
    dnLanes = f32x4.add(dnLanes, f32x4.mul(product, g));
  }
  let d = sumOfLanes(dLanes);
  let dn = sumOfLanes(dnLanes);
  for (; j < end; j += 4) {
    const g = load<f32>(gain + j);
    const error = load<f32>(dY + j);
    const product = error * ((load<f32>(x + j) - mean) * reciprocal);
    store<f32>(products + j, product);
    d += error * g;
    dn += product * g;
  }
  inputGradientRow(dY, x, gain, columns, mean, reciprocal, d / <f32>columns, dn / <f32>columns);
}

// @ts-ignore: decorator
@inline
function inputGradientRow(
  dY: usize,
  x: usize,
  gain: usize,
  columns: u32,
  mean: f32,
  reciprocal: f32,
  dMean: f32,
  dnMean: f32,
): void {
  const means = f32x4.splat(mean);
  const reciprocals = f32x4.splat(reciprocal);
  const dMeans = f32x4.splat(dMean);
  const dnMeans = f32x4.splat(dnMean);
  const end = <usize>columns << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    const n = f32x4.mul(f32x4.sub(v128.load(x + j), means), reciprocals);
    const centred = f32x4.sub(f32x4.mul(v128.load(dY + j), v128.load(gain + j)), dMeans);
    v128.store(dY + j, f32x4.mul(reciprocals, f32x4.sub(centred, f32x4.mul(n, dnMeans))));
  }
  for (; j < end; j += 4) {
    const n = (load<f32>(x + j) - mean) * reciprocal;
    const centred = load<f32>(dY + j) * load<f32>(gain + j) - dMean;
    store<f32>(dY + j, reciprocal * (centred - n * dnMean));
  }
}

/** Sixteen lanes at a time, then four, then one: the order depends on the length alone. */
export function sumOf(x: usize, length: u32): f32 {
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
  for (; i + 4 <= length; i += 4) {
    a = f32x4.add(a, v128.load(x));
    x += 16;
  }
  let sum = sumOfLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; i < length; i++) {
    sum += load<f32>(x);
    x += 4;
  }
  return sum;
}

// @ts-ignore: decorator
@inline
function addSquare(sum: v128, x: v128, mean: v128): v128 {
  const distance = f32x4.sub(x, mean);
  return f32x4.add(sum, f32x4.mul(distance, distance));
}

/** Sum of (x - mean)^2, in the order of `sumOf`. */
export function sumOfSquaredDistances(x: usize, mean: f32, length: u32): f32 {
  const means = f32x4.splat(mean);
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 16 <= length; i += 16) {
    a = addSquare(a, v128.load(x), means);
    b = addSquare(b, v128.load(x, 16), means);
    c = addSquare(c, v128.load(x, 32), means);
    d = addSquare(d, v128.load(x, 48), means);
    x += 64;
  }
  for (; i + 4 <= length; i += 4) {
    a = addSquare(a, v128.load(x), means);
    x += 16;
  }
  let sum = sumOfLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; i < length; i++) {
    const distance = load<f32>(x) - mean;
    sum += distance * distance;
    x += 4;
  }
  return sum;
}
