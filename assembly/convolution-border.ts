// Images with their border of zeros: laid around them once, so that no later kernel has to look for edges.
import { Geometry, paddedBytesOf, paddedRowBytesOf, planeBytesOf } from './convolution-geometry';

/** padded[channels, paddedHeight, paddedWidth] = x[channels, height, width] in a border of zeros. */
export function padImage(x: usize, record: usize, channels: u32, padded: usize): void {
  const geometry = changetype<Geometry>(record);
  const planeBytes = paddedBytesOf(geometry);
  const inputBytes = planeBytesOf(geometry);
  memory.fill(padded, 0, <usize>channels * planeBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    copyInside(x, geometry, padded);
    x += inputBytes;
    padded += planeBytes;
  }
}

/** Sets the inside of a padded plane to x[height, width]. */
export function copyInside(x: usize, geometry: Geometry, padded: usize): void {
  copyRows(x, padded + innerOffset(geometry), <usize>geometry.width << 2, paddedRowBytesOf(geometry), geometry);
}

/** x[height, width] = the inside of a padded plane. */
export function cropPlane(padded: usize, geometry: Geometry, x: usize): void {
  copyRows(padded + innerOffset(geometry), x, paddedRowBytesOf(geometry), <usize>geometry.width << 2, geometry);
}

// @ts-ignore: decorator
@inline
function innerOffset(geometry: Geometry): usize {
  return <usize>geometry.padTop * paddedRowBytesOf(geometry) + (<usize>geometry.padLeft << 2);
}

/** Copies all rows of a plane between images whose rows are `fromStep` and `toStep` bytes apart. */
function copyRows(from: usize, to: usize, fromStep: usize, toStep: usize, geometry: Geometry): void {
  const width = geometry.width;
  for (let row = geometry.height; row > 0; row--) {
    copyRow(from, to, width);
    from += fromStep;
    to += toStep;
  }
}

// @ts-ignore: decorator
@inline
export function copyRow(from: usize, to: usize, width: u32): void {
  const bytes = <usize>width << 2;
  if (width < 4) {
    for (let at: usize = 0; at < bytes; at += 4) store<f32>(to + at, load<f32>(from + at));
    return;
  }
  // The last vector overlaps the one before it, which is cheaper than up to three single values.
  const last = bytes - 16;
  for (let at: usize = 0; at < last; at += 16) v128.store(to + at, v128.load(from + at));
  v128.store(to + last, v128.load(from + last));
}
