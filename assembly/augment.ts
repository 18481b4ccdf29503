// Images moved and mirrored at random. What happens to a sample is a function of (seed, layer, step,
// sample), so it does not matter who draws it.
import { philox4x32 } from './random';

/** PURPOSE.augment in src/random.ts: the second word of the key. */
const PURPOSE: u32 = 5;

/** A u32 to a whole number below `bound`. */
// @ts-ignore: decorator
@inline
function below(bits: u32, bound: u32): u32 {
  return <u32>((<u64>bits * <u64>bound) >> 32);
}

/**
 * y[channels, outHeight, outWidth] = the window of x[channels, height, width] that starts at (top, left),
 * which may lie beyond the borders: zeros there. `flips`: 1 mirrors left and right, 2 top and bottom.
 */
function copyWindow(
  x: usize,
  channels: u32,
  height: u32,
  width: u32,
  top: i32,
  left: i32,
  outHeight: u32,
  outWidth: u32,
  flips: u32,
  y: usize,
): void {
  // Columns [first, end) of the window lie within the image.
  const first = min(max(-left, 0), <i32>outWidth);
  const end = max(min(<i32>width - left, <i32>outWidth), first);
  const rowBytes = <usize>outWidth << 2;
  for (let channel: u32 = 0; channel < channels; channel++) {
    for (let line: u32 = 0; line < outHeight; line++) {
      const row = top + <i32>(flips & 2 ? outHeight - 1 - line : line);
      if (row < 0 || row >= <i32>height) {
        memory.fill(y, 0, rowBytes);
        y += rowBytes;
        continue;
      }
      const from = x + ((<usize>(<u32>row) * width) << 2);
      if (flips & 1) {
        for (let column: i32 = 0; column < <i32>outWidth; column++) {
          const at = <i32>outWidth - 1 - column;
          const isInside = at >= first && at < end;
          store<f32>(y + (<usize>column << 2), isInside ? load<f32>(from + (<isize>(left + at) << 2)) : 0);
        }
      } else {
        memory.fill(y, 0, <usize>first << 2);
        memory.copy(y + (<usize>first << 2), from + (<isize>(left + first) << 2), <usize>(end - first) << 2);
        memory.fill(y + (<usize>end << 2), 0, rowBytes - (<usize>end << 2));
      }
      y += rowBytes;
    }
    x += (<usize>height * width) << 2;
  }
}

/**
 * y[B, channels, outHeight, outWidth]: a window of each image x[B, channels, height, width], moved by up to
 * `shiftY` and `shiftX` beyond the borders, where zeros are, and mirrored. `flips` are those that may
 * happen (1: left and right, 2: top and bottom), each for half of the samples. Draws are one block of
 * Philox4x32-10 (random.ts) a sample: counter (0, sample, step, layer), key (seed, purpose). `samples` are the
 * u32 [B] keys of the rows; `block` is 16 bytes of scratch.
 */
export function augmentImages(
  x: usize,
  rows: u32,
  channels: u32,
  height: u32,
  width: u32,
  outHeight: u32,
  outWidth: u32,
  flips: u32,
  shiftY: u32,
  shiftX: u32,
  seed: u32,
  layer: u32,
  step: u32,
  samples: usize,
  block: usize,
  y: usize,
): void {
  const imageBytes = (<usize>channels * height * width) << 2;
  const outBytes = (<usize>channels * outHeight * outWidth) << 2;
  const numTops = height - outHeight + 2 * shiftY + 1;
  const numLefts = width - outWidth + 2 * shiftX + 1;
  for (let row: u32 = 0; row < rows; row++) {
    philox4x32(0, load<u32>(samples + (<usize>row << 2)), step, layer, seed, PURPOSE, block);
    const drawnFlips = load<u32>(block) & flips;
    const top = <i32>below(load<u32>(block, 4), numTops) - <i32>shiftY;
    const left = <i32>below(load<u32>(block, 8), numLefts) - <i32>shiftX;
    copyWindow(x, channels, height, width, top, left, outHeight, outWidth, drawnFlips, y);
    x += imageBytes;
    y += outBytes;
  }
}

/** y[B, channels, outHeight, outWidth]: the middle of each image x[B, channels, height, width]. */
export function cropImages(
  x: usize,
  rows: u32,
  channels: u32,
  height: u32,
  width: u32,
  outHeight: u32,
  outWidth: u32,
  y: usize,
): void {
  const top = (height - outHeight) >> 1;
  const left = (width - outWidth) >> 1;
  for (let row: u32 = 0; row < rows; row++) {
    copyWindow(x, channels, height, width, top, left, outHeight, outWidth, 0, y);
    x += (<usize>channels * height * width) << 2;
    y += (<usize>channels * outHeight * outWidth) << 2;
  }
}
