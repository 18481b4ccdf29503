// Maximum pooling over planes of an image, forward and backward; geometry as in
// convolution-geometry.ts, without dilation. A window takes its first largest value in scan order,
// or its last NaN, as PyTorch does; the border is never taken. The backward pass finds that value
// again, which costs less than to store where it was.
import { Geometry, loadFour, outBytesOf, paddedRowBytesOf, planeBytesOf } from './convolution-geometry';
import { afterPlane, evenValues, fillPlane, isHalving, oddValues, planeWithBorder, storePairs } from './pooling-window';

/** y[channels, outHeight, outWidth] from x[channels, height, width]; scratch as in pooling-window.ts. */
export function maxPoolForward(x: usize, record: usize, channels: u32, scratch: usize, y: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  const isHalved = isHalving(geometry);
  if (!isHalved) fillPlane(geometry, scratch, f32.NEGATIVE_INFINITY);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalved) halvePlane(x, geometry, y);
    else poolPlane(planeWithBorder(x, geometry, scratch), geometry, afterPlane(geometry, scratch), y);
    x += inputBytes;
    y += outBytes;
  }
}

/**
 * dX[channels, height, width] from dY[channels, outHeight, outWidth] and x; windows in
 * ascending order, from zero. Scratch as in pooling-window.ts.
 */
export function maxPoolBackward(dY: usize, x: usize, record: usize, channels: u32, scratch: usize, dX: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  const isHalved = isHalving(geometry);
  if (!isHalved) fillPlane(geometry, scratch, f32.NEGATIVE_INFINITY);
  memory.fill(dX, 0, <usize>channels * inputBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalved) spreadHalves(dY, x, geometry, dX);
    else spreadPlane(dY, planeWithBorder(x, geometry, scratch), geometry, afterPlane(geometry, scratch), dX);
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

function poolPlane(plane: usize, geometry: Geometry, narrow: usize, y: usize): void {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const step = <usize>geometry.strideX << 2;
  const width = geometry.outWidth;
  const isNarrow = width < 4;
  for (let row = geometry.outHeight; row > 0; row--) {
    const to = isNarrow ? narrow : y;
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      v128.store(to + (<usize>column << 2), scanFour(false, plane + <usize>column * step, geometry, 0, i32x4.splat(0)));
      if (column + 4 >= width) break;
    }
    if (isNarrow) memory.copy(y, narrow, <usize>width << 2);
    plane += rowStep;
    y += <usize>width << 2;
  }
}

/** Finds the places of a row's largest values first, as offsets into dX, then adds its errors there. */
function spreadPlane(dY: usize, plane: usize, geometry: Geometry, places: usize, dX: usize): void {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const step = <usize>geometry.strideX << 2;
  const width = geometry.outWidth;
  const steps = i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(<i32>step));
  const firstLeft = i32x4.sub(steps, i32x4.splat(<i32>geometry.padLeft << 2));
  for (let row: u32 = 0; row < geometry.outHeight; row++) {
    const top = <i32>(row * geometry.strideY) - <i32>geometry.padTop;
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      const at = <usize>column * step;
      const left = i32x4.add(firstLeft, i32x4.splat(<i32>at));
      v128.store(places + (<usize>column << 2), scanFour(true, plane + at, geometry, top, left));
      if (column + 4 >= width) break;
    }
    for (let column: u32 = 0; column < width; column++) {
      const to = dX + load<u32>(places + (<usize>column << 2));
      store<f32>(to, load<f32>(to) + load<f32>(dY));
      dY += 4;
    }
    plane += rowStep;
  }
}

/**
 * The largest values of four windows, or their places: bytes from the start of the unpadded plane, in which
 * the windows begin in row `top` at the bytes `left` of it.
 */
// @ts-ignore: decorator
@inline
function scanFour(isPlace: bool, from: usize, geometry: Geometry, top: i32, left: v128): v128 {
  const rowBytes = <i32>geometry.width << 2;
  let largest = f32x4.splat(f32.NEGATIVE_INFINITY);
  // Nothing is above the border where all of a window is -Infinity. Then it takes its first value.
  let place = i32x4.add(i32x4.max_s(left, i32x4.splat(0)), i32x4.splat(max(top, 0) * rowBytes));
  let next = i32x4.add(left, i32x4.splat(top * rowBytes));
  const strideX = geometry.strideX;
  const columns = geometry.kernelWidth;
  const paddedStep = paddedRowBytesOf(geometry) - (<usize>columns << 2);
  const rowStep = i32x4.splat(rowBytes - <i32>(columns << 2));
  for (let i = geometry.kernelHeight; i > 0; i--) {
    for (let j = columns; j > 0; j--) {
      const value = loadFour(from, strideX);
      const isLarger = beats(value, largest);
      largest = v128.bitselect(value, largest, isLarger);
      if (isPlace) {
        place = v128.bitselect(next, place, isLarger);
        next = i32x4.add(next, i32x4.splat(4));
      }
      from += 4;
    }
    if (isPlace) next = i32x4.add(next, rowStep);
    from += paddedStep;
  }
  return isPlace ? place : largest;
}
