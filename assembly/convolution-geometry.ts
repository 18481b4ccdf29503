// The sizes of a convolution or of a pooling window, which its kernels take by address. Images are
// planes of [height, width] f32, one a channel, rows from top to bottom.

/** The record of a window, u32 in this order, filled once. src/layers/window.ts writes it. */
// @ts-ignore: decorator
@unmanaged
export class Geometry {
  /** Sizes of an input plane. */
  height: u32;
  width: u32;
  /** Taps of the window. */
  kernelHeight: u32;
  kernelWidth: u32;
  /** Distances between windows. */
  strideY: u32;
  strideX: u32;
  /** Zeros before the first row and column. */
  padTop: u32;
  padLeft: u32;
  /** Distances between taps. */
  dilationY: u32;
  dilationX: u32;
  /** Numbers of windows, so the sizes of an output plane. */
  outHeight: u32;
  outWidth: u32;
  /** Sizes of a plane with the border that windows reach into. */
  paddedHeight: u32;
  paddedWidth: u32;
}

/** Taps of a window. */
// @ts-ignore: decorator
@inline
export function tapsOf(geometry: Geometry): u32 {
  return geometry.kernelHeight * geometry.kernelWidth;
}

/** Windows of a plane. */
// @ts-ignore: decorator
@inline
export function positionsOf(geometry: Geometry): u32 {
  return geometry.outHeight * geometry.outWidth;
}

/** Bytes of an input plane. */
// @ts-ignore: decorator
@inline
export function planeBytesOf(geometry: Geometry): usize {
  return <usize>(geometry.height * geometry.width) << 2;
}

/** Bytes of an output plane. */
// @ts-ignore: decorator
@inline
export function outBytesOf(geometry: Geometry): usize {
  return <usize>positionsOf(geometry) << 2;
}

/** Bytes of a padded plane. */
// @ts-ignore: decorator
@inline
export function paddedBytesOf(geometry: Geometry): usize {
  return <usize>(geometry.paddedHeight * geometry.paddedWidth) << 2;
}

/** Bytes from one padded row to the next. */
// @ts-ignore: decorator
@inline
export function paddedRowBytesOf(geometry: Geometry): usize {
  return <usize>geometry.paddedWidth << 2;
}

/**
 * Bytes from the start of a padded image to where the first window has its tap `k`,
 * channels one after the other.
 */
// @ts-ignore: decorator
@inline
export function tapOffset(geometry: Geometry, k: u32): usize {
  const taps = tapsOf(geometry);
  const tap = k % taps;
  const row = (tap / geometry.kernelWidth) * geometry.dilationY;
  const column = (tap % geometry.kernelWidth) * geometry.dilationX;
  const offset = <usize>(row * geometry.paddedWidth + column) << 2;
  return <usize>(k / taps) * paddedBytesOf(geometry) + offset;
}

/** Bytes from the start of a padded plane to the first tap of window `position`. */
// @ts-ignore: decorator
@inline
export function windowOffset(geometry: Geometry, position: u32): usize {
  const row = (position / geometry.outWidth) * geometry.strideY;
  const column = (position % geometry.outWidth) * geometry.strideX;
  return <usize>(row * geometry.paddedWidth + column) << 2;
}

/** True where four neighbouring windows of a row are four neighbouring values, so that vectors serve. */
// @ts-ignore: decorator
@inline
export function hasVectorRows(geometry: Geometry): bool {
  return geometry.strideX == 1 && geometry.outWidth >= 4;
}

/** Four values of a row, `stride` apart. */
// @ts-ignore: decorator
@inline
export function loadFour(at: usize, stride: u32): v128 {
  if (stride == 1) return v128.load(at);
  // The second vector begins at the fourth value: nothing beyond the last one is read.
  if (stride == 2) return v128.shuffle<f32>(v128.load(at), v128.load(at, 12), 0, 2, 5, 7);
  const step = <usize>stride << 2;
  const pair = v128.load32_lane(at + step, v128.load32_zero(at), 1);
  return v128.load32_lane(at + 3 * step, v128.load32_lane(at + 2 * step, pair, 2), 3);
}

/** Ones in the highest `count` (0 to 4) of four lanes. */
// @ts-ignore: decorator
@inline
export function highLanes(count: u32): v128 {
  return i32x4.gt_s(i32x4.splat(<i32>count), i32x4(3, 2, 1, 0));
}

/** Ones in the lowest `count` (0 to 4) of four lanes. */
// @ts-ignore: decorator
@inline
export function lowLanes(count: u32): v128 {
  return i32x4.gt_s(i32x4.splat(<i32>count), i32x4(0, 1, 2, 3));
}
