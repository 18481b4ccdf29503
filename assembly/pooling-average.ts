// Average pooling over planes of an image, forward and backward; geometry as in
// convolution-geometry.ts, without dilation. The border counts as zeros, and every window is
// divided by all of its values, as PyTorch's default has it.
import { cropPlane } from './convolution-border';
import { channelSums } from './convolution-channels';
import { addTap } from './convolution-fold';
import {
  Geometry,
  loadFour,
  outBytesOf,
  paddedBytesOf,
  paddedRowBytesOf,
  planeBytesOf,
  tapOffset,
  tapsOf,
} from './convolution-geometry';
import { afterPlane, evenValues, fillPlane, isHalving, oddValues, planeWithBorder, storePairs } from './pooling-window';

/**
 * y[channels, outHeight, outWidth] from x[channels, height, width]: sums in scan order, from zero. Scratch as in
 * pooling-window.ts.
 */
export function averagePoolForward(x: usize, record: usize, channels: u32, scratch: usize, y: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  const isHalved = isHalving(geometry);
  if (!isHalved) fillPlane(geometry, scratch, 0);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalved) halvePlane(x, geometry, y);
    else poolPlane(planeWithBorder(x, geometry, scratch), geometry, afterPlane(geometry, scratch), y);
    x += inputBytes;
    y += outBytes;
  }
}

/**
 * dX[channels, height, width] from dY[channels, outHeight, outWidth]: windows in
 * ascending order, from zero. Scratch as in pooling-window.ts.
 */
export function averagePoolBackward(dY: usize, record: usize, channels: u32, scratch: usize, dX: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  const isHalved = isHalving(geometry);
  if (isHalved) memory.fill(dX, 0, <usize>channels * inputBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalved) spreadHalves(dY, geometry, dX);
    else spreadPlane(dY, geometry, scratch, afterPlane(geometry, scratch), dX);
    dY += outBytes;
    dX += inputBytes;
  }
}

function halvePlane(x: usize, geometry: Geometry, y: usize): void {
  const rowBytes = <usize>geometry.width << 2;
  const width = geometry.outWidth;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      const from = x + (<usize>column << 3);
      const first = f32x4.add(f32x4.splat(0), evenValues(from));
      const upper = f32x4.add(first, oddValues(from));
      const sum = f32x4.add(f32x4.add(upper, evenValues(from + rowBytes)), oddValues(from + rowBytes));
      v128.store(y + (<usize>column << 2), f32x4.div(sum, f32x4.splat(4)));
      if (column + 4 == width) break;
    }
    x += 2 * rowBytes;
    y += <usize>width << 2;
  }
}

function spreadHalves(dY: usize, geometry: Geometry, dX: usize): void {
  const rowBytes = <usize>geometry.width << 2;
  const width = geometry.outWidth;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      // Added to zero as other windows are: -0 becomes +0 here too.
      const share = f32x4.div(v128.load(dY + (<usize>column << 2)), f32x4.splat(4));
      const d = f32x4.add(f32x4.splat(0), share);
      const to = dX + (<usize>column << 3);
      storePairs(to, d, d);
      storePairs(to + rowBytes, d, d);
      if (column + 4 == width) break;
    }
    dY += <usize>width << 2;
    dX += 2 * rowBytes;
  }
}

function poolPlane(plane: usize, geometry: Geometry, narrow: usize, y: usize): void {
  const size = f32x4.splat(<f32>tapsOf(geometry));
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const step = <usize>geometry.strideX << 2;
  const width = geometry.outWidth;
  const isNarrow = width < 4;
  for (let row = geometry.outHeight; row > 0; row--) {
    const to = isNarrow ? narrow : y;
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      v128.store(to + (<usize>column << 2), f32x4.div(sumFour(plane + <usize>column * step, geometry), size));
      if (column + 4 >= width) break;
    }
    if (isNarrow) memory.copy(y, narrow, <usize>width << 2);
    plane += rowStep;
    y += <usize>width << 2;
  }
}

/** Sums of four windows. The border adds zeros, which change no sum that began at +0. */
// @ts-ignore: decorator
@inline
function sumFour(from: usize, geometry: Geometry): v128 {
  let sum = f32x4.splat(0);
  const strideX = geometry.strideX;
  const columns = geometry.kernelWidth;
  const rowStep = paddedRowBytesOf(geometry) - (<usize>columns << 2);
  for (let i = geometry.kernelHeight; i > 0; i--) {
    for (let j = columns; j > 0; j--) {
      sum = f32x4.add(sum, loadFour(from, strideX));
      from += 4;
    }
    from += rowStep;
  }
  return sum;
}

/** Taps in descending order: that is windows in ascending order for each value of dX. */
function spreadPlane(dY: usize, geometry: Geometry, plane: usize, shares: usize, dX: usize): void {
  const size = <f32>tapsOf(geometry);
  const bytes = outBytesOf(geometry);
  for (let at: usize = 0; at < bytes; at += 4) store<f32>(shares + at, load<f32>(dY + at) / size);
  memory.fill(plane, 0, paddedBytesOf(geometry));
  for (let tap = tapsOf(geometry); tap > 0; tap--) {
    addTap(plane + tapOffset(geometry, tap - 1), geometry, shares, 1);
  }
  cropPlane(plane, geometry, dX);
}

/** y[channels] = the means of x[channels, positions]; sums as in channelSums. */
export function channelMeans(x: usize, channels: u32, positions: u32, y: usize): void {
  channelSums(x, channels, positions, y, false);
  for (let channel: u32 = 0; channel < channels; channel++) {
    store<f32>(y, load<f32>(y) / <f32>positions);
    y += 4;
  }
}

/** dX[channels, positions] = dY[channels] / positions. */
export function channelMeansBackward(dY: usize, channels: u32, positions: u32, dX: usize): void {
  for (let channel: u32 = 0; channel < channels; channel++) {
    const share = load<f32>(dY) / <f32>positions;
    let p: u32 = 0;
    for (; p + 4 <= positions; p += 4) {
      v128.store(dX, f32x4.splat(share));
      dX += 16;
    }
    for (; p < positions; p++) {
      store<f32>(dX, share);
      dX += 4;
    }
    dY += 4;
  }
}
