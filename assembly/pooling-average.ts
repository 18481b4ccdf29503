// Average pooling over planes of an image, forward and backward; geometry as in
// convolution-geometry.ts, without dilation. The border counts as zeros, and every window is
// divided by all of its values, as PyTorch's default has it.
import { Geometry, outBytesOf, planeBytesOf, tapsOf } from './convolution-geometry';
import { channelSums } from './convolution-channels';
import { evenValues, isHalving, oddValues, storePairs } from './pooling-halving';

/** y[channels, outHeight, outWidth] from x[channels, height, width]: sums in scan order, from zero. */
export function averagePoolForward(x: usize, record: usize, channels: u32, y: usize): void {
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
 * dX[channels, height, width] from dY[channels, outHeight, outWidth]: windows in
 * ascending order, from zero.
 */
export function averagePoolBackward(dY: usize, record: usize, channels: u32, dX: usize): void {
  const geometry = changetype<Geometry>(record);
  const inputBytes = planeBytesOf(geometry);
  const outBytes = outBytesOf(geometry);
  memory.fill(dX, 0, <usize>channels * inputBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isHalving(geometry)) spreadHalves(dY, geometry, dX);
    else spreadPlane(dY, geometry, dX);
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

function poolPlane(x: usize, geometry: Geometry, y: usize): void {
  const size = <f32>tapsOf(geometry);
  for (let row: u32 = 0; row < geometry.outHeight; row++) {
    for (let column: u32 = 0; column < geometry.outWidth; column++) {
      let sum: f32 = 0;
      for (let i = firstRow(geometry, row); i < endRow(geometry, row); i++) {
        for (let j = firstColumn(geometry, column); j < endColumn(geometry, column); j++) {
          sum += load<f32>(x + (<usize>(i * geometry.width + j) << 2));
        }
      }
      store<f32>(y, sum / size);
      y += 4;
    }
  }
}

function spreadPlane(dY: usize, geometry: Geometry, dX: usize): void {
  const size = <f32>tapsOf(geometry);
  for (let row: u32 = 0; row < geometry.outHeight; row++) {
    for (let column: u32 = 0; column < geometry.outWidth; column++) {
      const share = load<f32>(dY) / size;
      for (let i = firstRow(geometry, row); i < endRow(geometry, row); i++) {
        for (let j = firstColumn(geometry, column); j < endColumn(geometry, column); j++) {
          const at = dX + (<usize>(i * geometry.width + j) << 2);
          store<f32>(at, load<f32>(at) + share);
        }
      }
      dY += 4;
    }
  }
}

// The part of a window that lies inside the plane.

// @ts-ignore: decorator
@inline
function firstRow(geometry: Geometry, row: u32): u32 {
  return <u32>max(<i32>(row * geometry.strideY) - <i32>geometry.padTop, 0);
}

// @ts-ignore: decorator
@inline
function endRow(geometry: Geometry, row: u32): u32 {
  return min(row * geometry.strideY + geometry.kernelHeight - geometry.padTop, geometry.height);
}

// @ts-ignore: decorator
@inline
function firstColumn(geometry: Geometry, column: u32): u32 {
  return <u32>max(<i32>(column * geometry.strideX) - <i32>geometry.padLeft, 0);
}

// @ts-ignore: decorator
@inline
function endColumn(geometry: Geometry, column: u32): u32 {
  return min(column * geometry.strideX + geometry.kernelWidth - geometry.padLeft, geometry.width);
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
