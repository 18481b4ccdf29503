// From patches back to the image: each value of dX is the sum over all windows that it took part in.
// Letters: P windows (positions), K = channels x taps.
import { cropPlane } from './convolution-border';
import {
  Geometry,
  hasVectorRows,
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
      addTap(plane + tapOffset(geometry, tap), geometry, patches);
      patches += patchBytes;
    }
    cropPlane(plane, geometry, dX);
    dX += inputBytes;
  }
}

/** Adds one tap's value of every position. */
function addTap(to: usize, geometry: Geometry, from: usize): void {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const rowBytes = <usize>geometry.outWidth << 2;
  const rows = geometry.outHeight;
  if (hasVectorRows(geometry)) {
    addRows(to, rowStep, from, rowBytes, rows);
    return;
  }
  const step = <usize>geometry.strideX << 2;
  for (let row: u32 = 0; row < rows; row++) {
    let at = to;
    for (const end = from + rowBytes; from < end; from += 4) {
      store<f32>(at, load<f32>(at) + load<f32>(from));
      at += step;
    }
    to += rowStep;
  }
}

function addRows(to: usize, rowStep: usize, from: usize, rowBytes: usize, rows: u32): void {
  const whole = rowBytes & ~15;
  const last = rowBytes - 16;
  // A row's last values as the high lanes of a vector whose low lanes, counted already, add zero.
  // That changes nothing: sums that started at +0 are never -0.
  const lanes = highLanes(<u32>(rowBytes - whole) >> 2);
  for (let row: u32 = 0; row < rows; row++) {
    for (let at: usize = 0; at < whole; at += 16) {
      v128.store(to + at, f32x4.add(v128.load(to + at), v128.load(from + at)));
    }
    if (whole < rowBytes) {
      v128.store(to + last, f32x4.add(v128.load(to + last), v128.and(v128.load(from + last), lanes)));
    }
    from += rowBytes;
    to += rowStep;
  }
}
