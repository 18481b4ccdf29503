// Patches, the operand that makes a convolution a matrix product, packed straight from a padded
// image: the matrix itself never exists. Letters: P windows (positions), K = channels x taps, in
// the order of PyTorch's weights.
import {
  Geometry,
  hasVectorRows,
  lowLanes,
  paddedBytesOf,
  paddedRowBytesOf,
  positionsOf,
  tapOffset,
  tapsOf,
  windowOffset,
} from './convolution-geometry';
import { transposeFourByFour } from './pack';
import { MR, NR, RIGHT_STEP, min } from './tile';

/**
 * Right panels over positions, for y = W patches: packed[endPanel - firstPanel][K][8] from
 * padded[channels, paddedHeight, paddedWidth].
 */
export function packPatchColumns(
  padded: usize,
  record: usize,
  channels: u32,
  packed: usize,
  firstPanel: u32,
  endPanel: u32,
): void {
  const geometry = changetype<Geometry>(record);
  const positions = positionsOf(geometry);
  const panelBytes = <usize>(channels * tapsOf(geometry)) * RIGHT_STEP;
  const width = geometry.outWidth;
  let row = (firstPanel * NR) / width;
  let column = (firstPanel * NR) % width;
  for (let panel = firstPanel; panel < endPanel; panel++) {
    const position = panel * NR;
    if (hasVectorRows(geometry) && position + NR <= positions) {
      packPositions(padded, geometry, channels, row, column, packed);
    } else {
      for (let lane: u32 = 0; lane < NR; lane++) {
        packPosition(padded, geometry, channels, position + lane, packed + (<usize>lane << 2));
      }
    }
    packed += panelBytes;
    for (column += NR; column >= width; column -= width) row++;
  }
}

/**
 * Eight positions with vectors: four of them lie in one row, or in the end of one
 * and the start of the next.
 */
function packPositions(padded: usize, geometry: Geometry, channels: u32, row: u32, column: u32, to: usize): void {
  const width = geometry.outWidth;
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const a = padded + <usize>row * rowStep + (<usize>column << 2);
  const aRun = width - column;
  const isNextRow = aRun <= 4;
  const bRun = isNextRow ? aRun + width - 4 : aRun - 4;
  // Seen from a vector's first lane, the next row's windows begin where this row's windows
  // would continue, a step away.
  const step = rowStep - (<usize>width << 2);
  const b = a + 16 + (isNextRow ? step : 0);
  if (aRun >= 4 && bRun >= 4) {
    packWhole(geometry, channels, a, b, to);
  } else {
    packSplit(geometry, channels, a, b, aRun < 4 ? step : 0, bRun < 4 ? step : 0, lowLanes(aRun), lowLanes(bRun), to);
  }
}

function packWhole(geometry: Geometry, channels: u32, a: usize, b: usize, to: usize): void {
  const columnBytes = <usize>geometry.dilationX << 2;
  const rowBytes = <usize>geometry.dilationY * paddedRowBytesOf(geometry);
  const planeBytes = paddedBytesOf(geometry);
  const kernelWidth = geometry.kernelWidth;
  const kernelHeight = geometry.kernelHeight;
  for (let channel: u32 = 0; channel < channels; channel++) {
    let row = <usize>channel * planeBytes;
    for (let i: u32 = 0; i < kernelHeight; i++) {
      let at = row;
      for (let j: u32 = 0; j < kernelWidth; j++) {
        v128.store(to, v128.load(a + at));
        v128.store(to, v128.load(b + at), 16);
        at += columnBytes;
        to += RIGHT_STEP;
      }
      row += rowBytes;
    }
  }
}

function packSplit(
  geometry: Geometry,
  channels: u32,
  a: usize,
  b: usize,
  aStep: usize,
  bStep: usize,
  aLanes: v128,
  bLanes: v128,
  to: usize,
): void {
  const columnBytes = <usize>geometry.dilationX << 2;
  const rowBytes = <usize>geometry.dilationY * paddedRowBytesOf(geometry);
  const planeBytes = paddedBytesOf(geometry);
  const kernelWidth = geometry.kernelWidth;
  const kernelHeight = geometry.kernelHeight;
  const aNext = a + aStep;
  const bNext = b + bStep;
  for (let channel: u32 = 0; channel < channels; channel++) {
    let row = <usize>channel * planeBytes;
    for (let i: u32 = 0; i < kernelHeight; i++) {
      let at = row;
      for (let j: u32 = 0; j < kernelWidth; j++) {
        v128.store(to, v128.bitselect(v128.load(a + at), v128.load(aNext + at), aLanes));
        v128.store(to, v128.bitselect(v128.load(b + at), v128.load(bNext + at), bLanes), 16);
        at += columnBytes;
        to += RIGHT_STEP;
      }
      row += rowBytes;
    }
  }
}

/** One position, or zeros after the last one. */
function packPosition(padded: usize, geometry: Geometry, channels: u32, position: u32, to: usize): void {
  const exists = position < positionsOf(geometry);
  const from = padded + windowOffset(geometry, exists ? position : 0);
  const columnBytes = <usize>geometry.dilationX << 2;
  const rowBytes = <usize>geometry.dilationY * paddedRowBytesOf(geometry);
  for (let channel: u32 = 0; channel < channels; channel++) {
    let row = from + <usize>channel * paddedBytesOf(geometry);
    for (let i = geometry.kernelHeight; i > 0; i--) {
      let at = row;
      for (let j = geometry.kernelWidth; j > 0; j--) {
        store<f32>(to, exists ? load<f32>(at) : 0);
        at += columnBytes;
        to += RIGHT_STEP;
      }
      row += rowBytes;
    }
  }
}

/**
 * Right panels over K, for dW = dY patches^T: packed[endPanel - firstPanel][P][8] from
 * padded[channels, paddedHeight, paddedWidth].
 */
export function packPatchRows(
  padded: usize,
  record: usize,
  channels: u32,
  packed: usize,
  firstPanel: u32,
  endPanel: u32,
): void {
  const geometry = changetype<Geometry>(record);
  packTaps(NR, padded, geometry, channels, packed, firstPanel, endPanel);
}

/** Left panels over K, for dW^T = patches dY^T: packed[ceil(K / 5)][P][5], better where K is small. */
export function packPatchesLeft(padded: usize, record: usize, channels: u32, packed: usize): void {
  const geometry = changetype<Geometry>(record);
  packTaps(MR, padded, geometry, channels, packed, 0, (channels * tapsOf(geometry) + MR - 1) / MR);
}

/** Panels of `lanes` taps of every position: four taps at a time, the rest one by one, zeros after the last. */
// @ts-ignore: decorator
@inline
function packTaps(
  lanes: u32,
  padded: usize,
  geometry: Geometry,
  channels: u32,
  packed: usize,
  firstPanel: u32,
  endPanel: u32,
): void {
  const depth = channels * tapsOf(geometry);
  const step = <usize>lanes << 2;
  const panelBytes = <usize>positionsOf(geometry) * step;
  for (let panel = firstPanel; panel < endPanel; panel++) {
    const first = panel * lanes;
    const end = min(first + lanes, depth);
    let k = first;
    let to = packed;
    if (end < first + lanes) memory.fill(packed, 0, panelBytes);
    for (; hasVectorRows(geometry) && k + 4 <= end; k += 4) {
      transposeFourTaps(padded, geometry, k, to, step);
      to += 16;
    }
    for (; k < end; k++) {
      packTap(padded, geometry, k, to, step);
      to += 4;
    }
    packed += panelBytes;
  }
}

/**
 * Four taps of every position, `step` bytes apart, four positions at a time; the last vector of a row
 * overlaps the one before it.
 */
// @ts-ignore: decorator
@inline
function transposeFourTaps(padded: usize, geometry: Geometry, k: u32, to: usize, step: usize): void {
  let a = padded + tapOffset(geometry, k);
  let b = padded + tapOffset(geometry, k + 1);
  let c = padded + tapOffset(geometry, k + 2);
  let d = padded + tapOffset(geometry, k + 3);
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const width = <usize>geometry.outWidth;
  const last = (width - 4) << 2;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let at: usize = 0; at < last; at += 16) {
      transposeFourByFour(a + at, b + at, c + at, d + at, to + (at >> 2) * step, step);
    }
    transposeFourByFour(a + last, b + last, c + last, d + last, to + (last >> 2) * step, step);
    a += rowStep;
    b += rowStep;
    c += rowStep;
    d += rowStep;
    to += width * step;
  }
}

/** One tap of every position, `toStep` bytes apart. */
function packTap(padded: usize, geometry: Geometry, k: u32, to: usize, toStep: usize): void {
  let row = padded + tapOffset(geometry, k);
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const step = <usize>geometry.strideX << 2;
  for (let y = geometry.outHeight; y > 0; y--) {
    let at = row;
    for (let x = geometry.outWidth; x > 0; x--) {
      store<f32>(to, load<f32>(at));
      at += step;
      to += toStep;
    }
    row += rowStep;
  }
}
