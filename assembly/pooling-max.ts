// Maximum pooling over planes of an image, forward and backward; geometry as in
// convolution-geometry.ts, without dilation. A window takes its first largest value in scan order,
// or its last NaN, as PyTorch does; the border is never taken. The backward pass finds that value
// again, which costs less than to store where it was.
import { Geometry, outBytesOf, planeBytesOf } from './convolution-geometry';
import { evenValues, isHalving, oddValues, storePairs } from './pooling-halving';

/** y[channels, outHeight, outWidth] from x[channels, height, width]. */
export function maxPoolForward(x: usize, record: usize, channels: u32, y: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalving(geometry)) halvePlane(x, geometry, y);
    else poolPlane(x, geometry, y);
    x += inputBytes;
    y += outBytes;
  }
}

/**
 * dX[channels, height, width] from dY[channels, outHeight, outWidth] and x; windows in
 * ascending order, from zero.
 */
export function maxPoolBackward(dY: usize, x: usize, record: usize, channels: u32, dX: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  memory.fill(dX, 0, <usize>channels * inputBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalving(geometry)) spreadHalves(dY, x, geometry, dX);
    else spreadPlane(dY, x, geometry, dX);
    dY += outBytes;
    x += inputBytes;
    dX += inputBytes;
  }
}

/** Lanes in which `value` is taken in place of `largest`. */
// @ts-ignore: decorator
@inline
function beats(value: v128, largest: v128): v128 {
  return v128.or(f32x4.gt(value, largest), f32x4.ne(value, value));
}

function halvePlane(x: usize, geometry: Geometry, y: usize): void {
  const rowBytes = <usize>geometry.width << 2;
  const width = geometry.outWidth;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      const from = x + (<usize>column << 3);
      let largest = evenValues(from);
      const b = oddValues(from);
      largest = v128.bitselect(b, largest, beats(b, largest));
      const c = evenValues(from + rowBytes);
      largest = v128.bitselect(c, largest, beats(c, largest));
      const d = oddValues(from + rowBytes);
      largest = v128.bitselect(d, largest, beats(d, largest));
      v128.store(y + (<usize>column << 2), largest);
      if (column + 4 == width) break;
    }
    x += 2 * rowBytes;
    y += <usize>width << 2;
  }
}

function spreadHalves(dY: usize, x: usize, geometry: Geometry, dX: usize): void {
  const rowBytes = <usize>geometry.width << 2;
  const width = geometry.outWidth;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      const at = <usize>column << 3;
      // Added to zero, as where windows overlap: -0 becomes +0 here too.
      const d = f32x4.add(f32x4.splat(0), v128.load(dY + (<usize>column << 2)));
      spreadFour(d, x + at, dX + at, rowBytes);
      if (column + 4 == width) break;
    }
    dY += <usize>width << 2;
    x += 2 * rowBytes;
    dX += 2 * rowBytes;
  }
}

// @ts-ignore: decorator
@inline
function spreadFour(d: v128, x: usize, dX: usize, rowBytes: usize): void {
  const first = evenValues(x);
  const second = oddValues(x);
  const third = evenValues(x + rowBytes);
  const fourth = oddValues(x + rowBytes);
  const isSecond = beats(second, first);
  const upper = v128.bitselect(second, first, isSecond);
  const isThird = beats(third, upper);
  const isFourth = beats(fourth, v128.bitselect(third, upper, isThird));
  const toThree = v128.andnot(d, isFourth);
  const toTwo = v128.andnot(toThree, isThird);
  storePairs(dX, v128.andnot(toTwo, isSecond), v128.and(toTwo, isSecond));
  storePairs(dX + rowBytes, v128.and(toThree, isThird), v128.and(d, isFourth));
}

function poolPlane(x: usize, geometry: Geometry, y: usize): void {
  for (let row: u32 = 0; row < geometry.outHeight; row++) {
    for (let column: u32 = 0; column < geometry.outWidth; column++) {
      store<f32>(y, load<f32>(findLargest(x, geometry, row, column)));
      y += 4;
    }
  }
}

function spreadPlane(dY: usize, x: usize, geometry: Geometry, dX: usize): void {
  for (let row: u32 = 0; row < geometry.outHeight; row++) {
    for (let column: u32 = 0; column < geometry.outWidth; column++) {
      const at = findLargest(x, geometry, row, column) - x + dX;
      store<f32>(at, load<f32>(at) + load<f32>(dY));
      dY += 4;
    }
  }
}

/** Address of the value that window (row, column) takes. */
function findLargest(x: usize, geometry: Geometry, row: u32, column: u32): usize {
  const width = geometry.width;
  const top = <i32>(row * geometry.strideY) - <i32>geometry.padTop;
  const left = <i32>(column * geometry.strideX) - <i32>geometry.padLeft;
  const bottom = min(top + <i32>geometry.kernelHeight, <i32>geometry.height);
  const right = min(left + <i32>geometry.kernelWidth, <i32>width);
  const firstColumn = max(left, 0);
  let found: usize = x + (<usize>(max(top, 0) * <i32>width + firstColumn) << 2);
  let largest = load<f32>(found);
  for (let i = max(top, 0); i < bottom; i++) {
    let at = x + (<usize>(i * <i32>width + firstColumn) << 2);
    for (let j = firstColumn; j < right; j++) {
      const value = load<f32>(at);
      if (value > largest || value != value) {
        largest = value;
        found = at;
      }
      at += 4;
    }
  }
  return found;
}
