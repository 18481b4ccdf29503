// Softmax over rows, forward and backward, and the passes over one row that attention and
// cross-entropy share. Letters: B rows, C columns. Sums over a row add up in four lanes, which are
// joined in one order, and then the tail.
import { storePair } from './lanes';
import { expVector } from './math';

/** y[B, C] = e^(x - max) / sum over the row. `y` may be `x`. */
export function softmaxForward(x: usize, rows: u32, columns: u32, y: usize): void {
  const rowBytes: usize = <usize>columns << 2;
  for (let row: u32 = 0; row < rows; row++) {
    softmaxRow(x, columns, 1, y);
    x += rowBytes;
    y += rowBytes;
  }
}

/** dY[B, C] = y (dY - sum over the row of dY y), in place. */
export function softmaxBackward(dY: usize, y: usize, rows: u32, columns: u32): void {
  const rowBytes: usize = <usize>columns << 2;
  for (let row: u32 = 0; row < rows; row++) {
    softmaxRowBackward(dY, y, columns, 1);
    dY += rowBytes;
    y += rowBytes;
  }
}

/** y[length] = softmax of `scale` x, with 0 < scale. `y` may be `x`. */
export function softmaxRow(x: usize, length: u32, scale: f32, y: usize): void {
  const sum = exponentials(x, length, maxOf(x, length), scale, y);
  scaleBy(y, length, 1 / sum);
}

/** dY[length] = scale y (dY - sum dY y): the gradient before `scale` was applied. */
export function softmaxRowBackward(dY: usize, y: usize, length: u32, scale: f32): void {
  const sum = dot(dY, y, length);
  const sums = f32x4.splat(sum);
  const scales = f32x4.splat(scale);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    const change = f32x4.mul(v128.load(y), f32x4.sub(v128.load(dY), sums));
    v128.store(dY, f32x4.mul(change, scales));
    dY += 16;
    y += 16;
  }
  for (; j < length; j++) {
    store<f32>(dY, load<f32>(y) * (load<f32>(dY) - sum) * scale);
    dY += 4;
    y += 4;
  }
}

/** The four lanes in the one order in which they are added. */
// @ts-ignore: decorator
@inline
export function sumOfLanes(lanes: v128): f32 {
  const low = f32x4.extract_lane(lanes, 0) + f32x4.extract_lane(lanes, 1);
  return low + (f32x4.extract_lane(lanes, 2) + f32x4.extract_lane(lanes, 3));
}

/** The largest value, whatever its zero's sign. NaN is passed over: sums of exponentials find it. */
export function maxOf(x: usize, length: u32): f32 {
  let lanes = f32x4.splat(f32.NEGATIVE_INFINITY);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    lanes = f32x4.pmax(lanes, v128.load(x));
    x += 16;
  }
  for (; j < length; j++) {
    lanes = f32x4.pmax(lanes, v128.load32_splat(x));
    x += 4;
  }
  lanes = f32x4.pmax(lanes, v128.shuffle<f32>(lanes, lanes, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.pmax(lanes, v128.shuffle<f32>(lanes, lanes, 1, 0, 3, 2)), 0);
}

/** y = e^((x - max) scale); returns the sum. */
export function exponentials(x: usize, length: u32, max: f32, scale: f32, y: usize): f32 {
  const shift = f32x4.splat(max);
  const scales = f32x4.splat(scale);
  let lanes = f32x4.splat(0);
  let j: u32 = 0;
  for (; j + 8 <= length; j += 8) {
    const e0 = expVector(f32x4.mul(f32x4.sub(v128.load(x), shift), scales));
    const e1 = expVector(f32x4.mul(f32x4.sub(v128.load(x, 16), shift), scales));
    storePair(y, e0, e1);
    lanes = f32x4.add(f32x4.add(lanes, e0), e1);
    x += 32;
    y += 32;
  }
  if (j + 4 <= length) {
    const e = expVector(f32x4.mul(f32x4.sub(v128.load(x), shift), scales));
    v128.store(y, e);
    lanes = f32x4.add(lanes, e);
    j += 4;
    x += 16;
    y += 16;
  }
  let sum = sumOfLanes(lanes);
  for (; j < length; j++) {
    const e = f32x4.extract_lane(expVector(f32x4.splat((load<f32>(x) - max) * scale)), 0);
    store<f32>(y, e);
    sum += e;
    x += 4;
    y += 4;
  }
  return sum;
}

function scaleBy(x: usize, length: u32, factor: f32): void {
  const factors = f32x4.splat(factor);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    v128.store(x, f32x4.mul(v128.load(x), factors));
    x += 16;
  }
  for (; j < length; j++) {
    store<f32>(x, load<f32>(x) * factor);
    x += 4;
  }
}

function dot(a: usize, b: usize, length: u32): f32 {
  let lanes = f32x4.splat(0);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    lanes = f32x4.add(lanes, f32x4.mul(v128.load(a), v128.load(b)));
    a += 16;
    b += 16;
  }
  let sum = sumOfLanes(lanes);
  for (; j < length; j++) {
    sum += load<f32>(a) * load<f32>(b);
    a += 4;
    b += 4;
  }
  return sum;
}
