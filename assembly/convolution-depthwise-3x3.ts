// Depthwise convolution by windows of 3 x 3 without dilation, the size that most models use: nine
// weights, or nine sums, stay in registers. The order of additions is that of
// convolution-depthwise.ts.
import { Geometry, hasVectorRows, highLanes, paddedRowBytesOf } from './convolution-geometry';
import { copyRow } from './convolution-border';
import { madd } from './madd';

/** True where the kernels of this file take a window. */
export function hasThreeByThree(record: usize): bool {
  const geometry = changetype<Geometry>(record);
  const isThreeByThree = geometry.kernelHeight == 3 && geometry.kernelWidth == 3;
  const isDense = geometry.dilationX == 1 && geometry.dilationY == 1;
  return isThreeByThree && isDense && hasVectorRows(geometry);
}

// @ts-ignore: decorator
@inline
function multiplyAdd(isProduct: bool, a: v128, b: v128, c: v128): v128 {
  return isProduct ? madd(a, b, c) : f32x4.add(c, f32x4.mul(a, b));
}

/** y[P] of one plane, from weights `weightStep` bytes apart; a matrix product where `isProduct` (madd.ts). */
// @ts-ignore: decorator
@inline
export function forwardThreeByThree(
  isProduct: bool,
  plane: usize,
  geometry: Geometry,
  weights: usize,
  weightStep: usize,
  y: usize,
): void {
  const w0 = v128.load32_splat(weights);
  const w1 = v128.load32_splat(weights + weightStep);
  const w2 = v128.load32_splat(weights + 2 * weightStep);
  const w3 = v128.load32_splat(weights + 3 * weightStep);
  const w4 = v128.load32_splat(weights + 4 * weightStep);
  const w5 = v128.load32_splat(weights + 5 * weightStep);
  const w6 = v128.load32_splat(weights + 6 * weightStep);
  const w7 = v128.load32_splat(weights + 7 * weightStep);
  const w8 = v128.load32_splat(weights + 8 * weightStep);
  const rowBytes = paddedRowBytesOf(geometry);
  const rowStep = <usize>geometry.strideY * rowBytes;
  const width = <usize>geometry.outWidth << 2;
  const last = width - 16;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let at: usize = 0; ; at = min(at + 16, last)) {
      const top = plane + at;
      const middle = top + rowBytes;
      const bottom = middle + rowBytes;
      let sum = multiplyAdd(isProduct, w0, v128.load(top), f32x4.splat(0));
      sum = multiplyAdd(isProduct, w1, v128.load(top, 4), sum);
      sum = multiplyAdd(isProduct, w2, v128.load(top, 8), sum);
      sum = multiplyAdd(isProduct, w3, v128.load(middle), sum);
      sum = multiplyAdd(isProduct, w4, v128.load(middle, 4), sum);
      sum = multiplyAdd(isProduct, w5, v128.load(middle, 8), sum);
      sum = multiplyAdd(isProduct, w6, v128.load(bottom), sum);
      sum = multiplyAdd(isProduct, w7, v128.load(bottom, 4), sum);
      sum = multiplyAdd(isProduct, w8, v128.load(bottom, 8), sum);
      v128.store(y + at, sum);
      if (at == last) break;
    }
    plane += rowStep;
    y += width;
  }
}

// @ts-ignore: decorator
@inline
export function storeSum(to: usize, sum: f32, accumulate: bool): void {
  store<f32>(to, accumulate ? load<f32>(to) + sum : sum);
}

// @ts-ignore: decorator
@inline
export function sumLanes(sum: v128): f32 {
  const low = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1);
  return low + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3));
}

/**
 * dW[9] of one plane, all sums at once: each dY is loaded once, and no addition
 * waits for the one before it.
 */
export function weightGradientThreeByThree(plane: usize, geometry: Geometry, dY: usize, dW: usize, accumulate: bool): void {
  const rowBytes = paddedRowBytesOf(geometry);
  const rowStep = <usize>geometry.strideY * rowBytes;
  const width = <usize>geometry.outWidth << 2;
  const whole = width & ~15;
  const rest = highLanes(<u32>(width - whole) >> 2);
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  let s8 = f32x4.splat(0);
  for (let row = geometry.outHeight; row > 0; row--) {
    let at: usize = 0;
    let d = v128.load(dY);
    for (;;) {
      const top = plane + at;
      const middle = top + rowBytes;
      const bottom = middle + rowBytes;
      // Backwards, and with a join after them, so that V8 keeps loads beside their uses: micro-kernel.ts.
      s8 = f32x4.add(s8, f32x4.mul(d, v128.load(bottom, 8)));
      s7 = f32x4.add(s7, f32x4.mul(d, v128.load(bottom, 4)));
      s6 = f32x4.add(s6, f32x4.mul(d, v128.load(bottom)));
      s5 = f32x4.add(s5, f32x4.mul(d, v128.load(middle, 8)));
      s4 = f32x4.add(s4, f32x4.mul(d, v128.load(middle, 4)));
      s3 = f32x4.add(s3, f32x4.mul(d, v128.load(middle)));
      s2 = f32x4.add(s2, f32x4.mul(d, v128.load(top, 8)));
      s1 = f32x4.add(s1, f32x4.mul(d, v128.load(top, 4)));
      s0 = f32x4.add(s0, f32x4.mul(d, v128.load(top)));
      at += 16;
      if (at + 16 <= width) {
        d = v128.load(dY + at);
      } else {
        if (at != whole || whole == width) break;
        // The rest of a row as the high lanes of its last vector: elsewhere dY, and so the product, is zero.
        at = width - 16;
        d = v128.and(v128.load(dY + at), rest);
      }
    }
    dY += width;
    plane += rowStep;
  }
  storeSum(dW, sumLanes(s0), accumulate);
  storeSum(dW + 4, sumLanes(s1), accumulate);
  storeSum(dW + 8, sumLanes(s2), accumulate);
  storeSum(dW + 12, sumLanes(s3), accumulate);
  storeSum(dW + 16, sumLanes(s4), accumulate);
  storeSum(dW + 20, sumLanes(s5), accumulate);
  storeSum(dW + 24, sumLanes(s6), accumulate);
  storeSum(dW + 28, sumLanes(s7), accumulate);
  storeSum(dW + 32, sumLanes(s8), accumulate);
}

/** True where `inputGradientThreeByThree` takes a window: stride 1, and a border of at most two values. */
// @ts-ignore: decorator
@inline
export function hasGatheredGradient(geometry: Geometry): bool {
  const isThreeByThree = hasThreeByThree(changetype<usize>(geometry)) && geometry.strideY == 1 && geometry.width >= 4;
  const hasThinBorder = geometry.padTop <= 2 && geometry.padLeft <= 2;
  const hasRoom = geometry.outHeight <= geometry.height + geometry.padTop;
  return isThreeByThree && hasThinBorder && hasRoom && geometry.outWidth <= geometry.width + geometry.padLeft;
}

/**
 * dX[height, width] of one plane, or dX + it where `accumulate`: each value looks at the windows
 * that it took part in, where the general kernel adds to nine places for each window. `plane` is a
 * copy of dY that `surround` has made.
 */
// @ts-ignore: decorator
@inline
export function inputGradientThreeByThree(
  accumulate: bool,
  plane: usize,
  geometry: Geometry,
  weights: usize,
  dX: usize,
): void {
  const w0 = v128.load32_splat(weights);
  const w1 = v128.load32_splat(weights, 4);
  const w2 = v128.load32_splat(weights, 8);
  const w3 = v128.load32_splat(weights, 12);
  const w4 = v128.load32_splat(weights, 16);
  const w5 = v128.load32_splat(weights, 20);
  const w6 = v128.load32_splat(weights, 24);
  const w7 = v128.load32_splat(weights, 28);
  const w8 = v128.load32_splat(weights, 32);
  const width = <usize>geometry.width << 2;
  const rowBytes = width + 8;
  const last = width - 16;
  for (let row = geometry.height; row > 0; row--) {
    // The last vector of a row overlaps the one before it, whose sums are not to be added twice.
    for (let next: usize = 0; next < width; next += 16) {
      const at = min(next, last);
      const top = plane + at;
      const middle = top + rowBytes;
      const bottom = middle + rowBytes;
      let sum = accumulate ? v128.load(dX + at) : f32x4.splat(0);
      sum = f32x4.add(sum, f32x4.mul(w0, v128.load(bottom, 8)));
      sum = f32x4.add(sum, f32x4.mul(w1, v128.load(bottom, 4)));
      sum = f32x4.add(sum, f32x4.mul(w2, v128.load(bottom)));
      sum = f32x4.add(sum, f32x4.mul(w3, v128.load(middle, 8)));
      sum = f32x4.add(sum, f32x4.mul(w4, v128.load(middle, 4)));
      sum = f32x4.add(sum, f32x4.mul(w5, v128.load(middle)));
      sum = f32x4.add(sum, f32x4.mul(w6, v128.load(top, 8)));
      sum = f32x4.add(sum, f32x4.mul(w7, v128.load(top, 4)));
      sum = f32x4.add(sum, f32x4.mul(w8, v128.load(top)));
      if (accumulate && next > last) sum = v128.bitselect(sum, v128.load(dX + at), highLanes(<u32>(width - next) >> 2));
      v128.store(dX + at, sum);
    }
    plane += rowBytes;
    dX += width;
  }
}

/**
 * Sets the inside of plane[height + 2, width + 2] to dY, two rows and columns further in than the border
 * of x. The zeros around it change no sum that began at +0.
 */
export function surround(dY: usize, geometry: Geometry, plane: usize): void {
  const rowBytes = <usize>(geometry.width + 2) << 2;
  let to = plane + <usize>(2 - geometry.padTop) * rowBytes + (<usize>(2 - geometry.padLeft) << 2);
  for (let row = geometry.outHeight; row > 0; row--) {
    copyRow(dY, to, geometry.outWidth);
    dY += <usize>geometry.outWidth << 2;
    to += rowBytes;
  }
}
