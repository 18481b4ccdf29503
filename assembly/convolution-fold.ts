// From patches back to the image: each value of dX is the sum over all windows that it took part in.
// Letters: P windows (positions), K = channels x taps.
import { cropPlane } from './convolution-border';
import {
  Geometry,
  outBytesOf,
  paddedBytesOf,
  paddedRowBytesOf,
  planeBytesOf,
  tapOffset,
  tapsOf,
} from './convolution-geometry';

/**
 * dX[channels, height, width] = the sum of all patches[K, P] that a value took part in: taps in
 * ascending order, from zero. `plane` is scratch for one padded plane.
 */
export function foldPatches(patches: usize, record: usize, channels: u32, plane: usize, dX: usize): void {
  const geometry = changetype<Geometry>(record);
  const patchBytes = outBytesOf(geometry);
  const inputBytes = planeBytesOf(geometry);
  const taps = tapsOf(geometry);
  for (let channel: u32 = 0; channel < channels; channel++) {
    memory.fill(plane, 0, paddedBytesOf(geometry));
    for (let tap: u32 = 0; tap < taps; tap++) {
      addTap(plane + tapOffset(geometry, tap), geometry, patches, 1);
      patches += patchBytes;
    }
    cropPlane(plane, geometry, dX);
    dX += inputBytes;
  }
}

/** Adds weight x the value of every position to where one tap of its window lies. */
export function addTap(to: usize, geometry: Geometry, from: usize, weight: f32): void {
  if (geometry.strideX == 1) addRows(1, to, geometry, from, weight);
  else if (geometry.strideX == 2) addRows(2, to, geometry, from, weight);
  else addRows(geometry.strideX, to, geometry, from, weight);
}

// @ts-ignore: decorator
@inline
function addRows(strideX: u32, to: usize, geometry: Geometry, from: usize, weight: f32): void {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const rowBytes = <usize>geometry.outWidth << 2;
  // The eighth value that a vector with stride 2 adds zero to is in the row if another window follows.
  const vectorBytes: usize = strideX > 2 ? 0 : strideX == 1 ? rowBytes & ~15 : (rowBytes - 4) & ~15;
  const scale = f32x4.splat(weight);
  for (let row = geometry.outHeight; row > 0; row--) {
    let at: usize = 0;
    for (; at < vectorBytes; at += 16) addFour(strideX, to + at * strideX, f32x4.mul(scale, v128.load(from + at)));
    for (; at < rowBytes; at += 4) {
      const value = to + at * strideX;
      store<f32>(value, load<f32>(value) + weight * load<f32>(from + at));
    }
    from += rowBytes;
    to += rowStep;
  }
}

/** Adds to four neighbours, or to every second of eight: the others add zero, which changes no sum that began at +0. */
// @ts-ignore: decorator
@inline
function addFour(strideX: u32, to: usize, values: v128): void {
  if (strideX == 1) {
    v128.store(to, f32x4.add(v128.load(to), values));
    return;
  }
  const zero = f32x4.splat(0);
  v128.store(to, f32x4.add(v128.load(to), v128.shuffle<f32>(values, zero, 0, 4, 1, 4)));
  v128.store(to, f32x4.add(v128.load(to, 16), v128.shuffle<f32>(values, zero, 2, 4, 3, 4)), 16);
}
