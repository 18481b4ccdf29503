// The sizes of a convolution or of a pooling window: a record of u32 in memory, filled once, that its kernels take by
// address. Images are planes of [height, width] f32, one a channel, rows from top to bottom.
//
//   0 height       1 width        of an input plane
//   2 kernelHeight 3 kernelWidth  taps of the window
//   4 strideY      5 strideX      distance between windows
//   6 padTop       7 padLeft      zeros before the first row and column
//   8 dilationY    9 dilationX    distance between taps
//  10 outHeight   11 outWidth     windows, so the size of an output plane
//  12 paddedHeight 13 paddedWidth what the windows cover: a plane with its border

// @ts-ignore: decorator
@inline
export function heightOf(geometry: usize): u32 {
  return load<u32>(geometry);
}

// @ts-ignore: decorator
@inline
export function widthOf(geometry: usize): u32 {
  return load<u32>(geometry, 4);
}

// @ts-ignore: decorator
@inline
export function kernelHeightOf(geometry: usize): u32 {
  return load<u32>(geometry, 8);
}

// @ts-ignore: decorator
@inline
export function kernelWidthOf(geometry: usize): u32 {
  return load<u32>(geometry, 12);
}

// @ts-ignore: decorator
@inline
export function strideYOf(geometry: usize): u32 {
  return load<u32>(geometry, 16);
}

// @ts-ignore: decorator
@inline
export function strideXOf(geometry: usize): u32 {
  return load<u32>(geometry, 20);
}

// @ts-ignore: decorator
@inline
export function padTopOf(geometry: usize): u32 {
  return load<u32>(geometry, 24);
}

// @ts-ignore: decorator
@inline
export function padLeftOf(geometry: usize): u32 {
  return load<u32>(geometry, 28);
}

// @ts-ignore: decorator
@inline
export function dilationYOf(geometry: usize): u32 {
  return load<u32>(geometry, 32);
}

// @ts-ignore: decorator
@inline
export function dilationXOf(geometry: usize): u32 {
  return load<u32>(geometry, 36);
}

// @ts-ignore: decorator
@inline
export function outHeightOf(geometry: usize): u32 {
  return load<u32>(geometry, 40);
}

// @ts-ignore: decorator
@inline
export function outWidthOf(geometry: usize): u32 {
  return load<u32>(geometry, 44);
}

// @ts-ignore: decorator
@inline
export function paddedHeightOf(geometry: usize): u32 {
  return load<u32>(geometry, 48);
}

// @ts-ignore: decorator
@inline
export function paddedWidthOf(geometry: usize): u32 {
  return load<u32>(geometry, 52);
}

/** Taps of a window. */
// @ts-ignore: decorator
@inline
export function tapsOf(geometry: usize): u32 {
  return kernelHeightOf(geometry) * kernelWidthOf(geometry);
}

/** Windows of a plane. */
// @ts-ignore: decorator
@inline
export function positionsOf(geometry: usize): u32 {
  return outHeightOf(geometry) * outWidthOf(geometry);
}

/** Bytes of an input plane. */
// @ts-ignore: decorator
@inline
export function planeBytesOf(geometry: usize): usize {
  return <usize>(heightOf(geometry) * widthOf(geometry)) << 2;
}

/** Bytes of an output plane. */
// @ts-ignore: decorator
@inline
export function outBytesOf(geometry: usize): usize {
  return <usize>positionsOf(geometry) << 2;
}

/** Bytes of a padded plane. */
// @ts-ignore: decorator
@inline
export function paddedBytesOf(geometry: usize): usize {
  return <usize>(paddedHeightOf(geometry) * paddedWidthOf(geometry)) << 2;
}

/** Bytes from one padded row to the next. */
// @ts-ignore: decorator
@inline
export function paddedRowBytesOf(geometry: usize): usize {
  return <usize>paddedWidthOf(geometry) << 2;
}

/** Bytes from the start of a padded image to where the first window has its tap `k`, channels one after the other. */
// @ts-ignore: decorator
@inline
export function tapOffset(geometry: usize, k: u32): usize {
  const taps = tapsOf(geometry);
  const tap = k % taps;
  const row = (tap / kernelWidthOf(geometry)) * dilationYOf(geometry);
  const column = (tap % kernelWidthOf(geometry)) * dilationXOf(geometry);
  const offset = <usize>(row * paddedWidthOf(geometry) + column) << 2;
  return <usize>(k / taps) * paddedBytesOf(geometry) + offset;
}

/** Bytes from the start of a padded plane to the first tap of window `position`. */
// @ts-ignore: decorator
@inline
export function windowOffset(geometry: usize, position: u32): usize {
  const row = (position / outWidthOf(geometry)) * strideYOf(geometry);
  const column = (position % outWidthOf(geometry)) * strideXOf(geometry);
  return <usize>(row * paddedWidthOf(geometry) + column) << 2;
}

/** True where four neighbouring windows of a row are four neighbouring values, so that vectors serve. */
// @ts-ignore: decorator
@inline
export function hasVectorRows(geometry: usize): bool {
  return strideXOf(geometry) == 1 && outWidthOf(geometry) >= 4;
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
