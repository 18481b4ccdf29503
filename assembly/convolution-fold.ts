// From patches back to the image: each value of dX is the sum over all windows that it took part in.
// Letters: P windows (positions), K = channels x taps.
import { cropPlane } from './convolution-border';
import {
  Geometry,
  highLanes,
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
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const rowBytes = <usize>geometry.outWidth << 2;
  const rows = geometry.outHeight;
  if (geometry.outWidth >= 4 && geometry.strideX <= 2) {
    if (geometry.strideX == 1) addRows(true, to, rowStep, from, rowBytes, rows, f32x4.splat(weight));
    else addRows(false, to, rowStep, from, rowBytes, rows, f32x4.splat(weight));
    return;
  }
  const step = <usize>geometry.strideX << 2;
  for (let row: u32 = 0; row < rows; row++) {
    let at = to;
    for (const end = from + rowBytes; from < end; from += 4) {
      store<f32>(at, load<f32>(at) + weight * load<f32>(from));
      at += step;
    }
    to += rowStep;
  }
}

// @ts-ignore: decorator
@inline
function addRows(
  isDense: bool,
  to: usize,
  rowStep: usize,
  from: usize,
  rowBytes: usize,
  rows: u32,
  weight: v128,
): void {
  const whole = rowBytes & ~15;
  const last = rowBytes - 16;
  // A row's last values as the high lanes of a vector whose low lanes, counted already, add zero.
  // That changes nothing: sums that started at +0 are never -0.
  const lanes = highLanes(<u32>(rowBytes - whole) >> 2);
  for (let row: u32 = 0; row < rows; row++) {
    for (let at: usize = 0; at < whole; at += 16) {
      addFour(isDense, to, at, f32x4.mul(weight, v128.load(from + at)));
    }
    if (whole < rowBytes) {
      addFour(isDense, to, last, v128.and(f32x4.mul(weight, v128.load(from + last)), lanes));
    }
    from += rowBytes;
    to += rowStep;
  }
}

/** Adds to four neighbours, or to every second of seven: the others add zero. */
// @ts-ignore: decorator
@inline
function addFour(isDense: bool, row: usize, at: usize, values: v128): void {
  if (isDense) {
    v128.store(row + at, f32x4.add(v128.load(row + at), values));
    return;
  }
  const to = row + 2 * at;
  const zero = f32x4.splat(0);
  v128.store(to, f32x4.add(v128.load(to), v128.shuffle<f32>(values, zero, 0, 4, 1, 4)));
  v128.store(to, f32x4.add(v128.load(to, 12), v128.shuffle<f32>(values, zero, 4, 2, 4, 3)), 12);
}
