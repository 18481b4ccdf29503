// What both kinds of pooling share: planes with the border that windows reach into, and vectors of four
// windows. Where windows halve a plane, a vector reads eight neighbours of a row at once, those on
// even columns apart from those on odd ones.
//
// Scratch is one padded plane, 4 x strideX values that narrow rows are read beyond, and P + 4 values,
// for P windows.
import { copyInside } from './convolution-border';
import { Geometry, paddedBytesOf, planeBytesOf } from './convolution-geometry';

/** Windows of 2 x 2 side by side, at least four a row: they have vectors. */
// @ts-ignore: decorator
@inline
export function isHalving(geometry: Geometry): bool {
  const hasShape = geometry.kernelHeight == 2 && geometry.kernelWidth == 2;
  const hasStride = geometry.strideY == 2 && geometry.strideX == 2;
  const hasNoBorder = geometry.padTop == 0 && geometry.padLeft == 0;
  return hasShape && hasStride && hasNoBorder && geometry.outWidth >= 4;
}

/** The first, third, fifth and seventh of eight values. */
// @ts-ignore: decorator
@inline
export function evenValues(from: usize): v128 {
  return v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 0, 2, 4, 6);
}

/** The second, fourth, sixth and eighth of eight values. */
// @ts-ignore: decorator
@inline
export function oddValues(from: usize): v128 {
  return v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 1, 3, 5, 7);
}

/** Stores even[0], odd[0], even[1], odd[1] and so on. */
// @ts-ignore: decorator
@inline
export function storePairs(to: usize, even: v128, odd: v128): void {
  v128.store(to, v128.shuffle<f32>(even, odd, 0, 4, 1, 5));
  v128.store(to, v128.shuffle<f32>(even, odd, 2, 6, 3, 7), 16);
}

/** Fills the scratch's plane with `value`. */
export function fillPlane(geometry: Geometry, scratch: usize, value: f32): void {
  const end = scratch + paddedBytesOf(geometry);
  for (let at = scratch; at < end; at += 4) store<f32>(at, value);
}

/** The plane to read windows from: x itself, or a copy in the border that is in scratch. */
// @ts-ignore: decorator
@inline
export function planeWithBorder(x: usize, geometry: Geometry, scratch: usize): usize {
  // Vectors of narrow rows read beyond the last one.
  if (paddedBytesOf(geometry) == planeBytesOf(geometry) && geometry.outWidth >= 4) return x;
  copyInside(x, geometry, scratch);
  return scratch;
}

/** The part of scratch that comes after the plane. */
// @ts-ignore: decorator
@inline
export function afterPlane(geometry: Geometry, scratch: usize): usize {
  return scratch + paddedBytesOf(geometry) + (<usize>geometry.strideX << 4);
}
