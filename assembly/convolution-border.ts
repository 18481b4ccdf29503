// Images with their border of zeros: laid around them once, so that no later kernel has to look for edges.
import {
  heightOf,
  padLeftOf,
  padTopOf,
  paddedBytesOf,
  paddedRowBytesOf,
  widthOf,
} from './convolution-geometry';

/** padded[channels, paddedHeight, paddedWidth] = x[channels, height, width] in a border of zeros. */
export function padImage(x: usize, geometry: usize, channels: u32, padded: usize): void {
  const planeBytes = paddedBytesOf(geometry);
  const inputBytes = <usize>(heightOf(geometry) * widthOf(geometry)) << 2;
  memory.fill(padded, 0, <usize>channels * planeBytes);
  for (let channel: u32 = 0; channel < channels; channel++) {
    copyRows(x, padded + innerOffset(geometry), <usize>widthOf(geometry) << 2, paddedRowBytesOf(geometry), geometry);
    x += inputBytes;
    padded += planeBytes;
  }
}

/** x[height, width] = the inside of a padded plane. */
export function cropPlane(padded: usize, geometry: usize, x: usize): void {
  copyRows(padded + innerOffset(geometry), x, paddedRowBytesOf(geometry), <usize>widthOf(geometry) << 2, geometry);
}

// @ts-ignore: decorator
@inline
function innerOffset(geometry: usize): usize {
  return <usize>padTopOf(geometry) * paddedRowBytesOf(geometry) + (<usize>padLeftOf(geometry) << 2);
}

/** Copies all rows of a plane between images whose rows are `fromStep` and `toStep` bytes apart. */
function copyRows(from: usize, to: usize, fromStep: usize, toStep: usize, geometry: usize): void {
  const width = widthOf(geometry);
  for (let row = heightOf(geometry); row > 0; row--) {
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
