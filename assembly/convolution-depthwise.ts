// Depthwise convolution: a window per channel, with no sum over channels, which a matrix
// product would compute with one row of each tile in use. Padded images and geometry as
// in convolution-geometry.ts. Letters: C channels, M windows a channel (so C x M
// outputs), T taps, P positions.
import { cropPlane } from './convolution-border';
import { channelBiasActivation } from './convolution-channels';
import {
  forwardThreeByThree,
  hasGatheredGradient,
  hasThreeByThree,
  inputGradientThreeByThree,
  storeSum,
  sumLanes,
  surround,
  weightGradientThreeByThree,
} from './convolution-depthwise-3x3';
import { addTap } from './convolution-fold';
import {
  Geometry,
  hasVectorRows,
  highLanes,
  loadFour,
  outBytesOf,
  paddedBytesOf,
  paddedRowBytesOf,
  planeBytesOf,
  positionsOf,
  tapOffset,
  tapsOf,
  windowOffset,
} from './convolution-geometry';
import { LEFT_STEP, MR } from './tile';

/**
 * y[C * M, P] = f(sums + bias[C * M]) from padded[C, ...] and weights[C * M, T]: taps in ascending order, from
 * zero. Each plane gets its bias and activation, as in channelBiasActivation, while it is in the L1 cache.
 */
export function depthwiseForward(
  kind: u32,
  padded: usize,
  record: usize,
  weights: usize,
  bias: usize,
  channels: u32,
  multiplier: u32,
  y: usize,
): void {
  const geometry = changetype<Geometry>(record);
  const weightBytes = <usize>tapsOf(geometry) << 2;
  const outBytes = outBytesOf(geometry);
  const positions = positionsOf(geometry);
  const hasBlocks = geometry.outWidth >= 4 && geometry.outHeight >= 4;
  for (let channel: u32 = 0; channel < channels; channel++) {
    for (let m: u32 = 0; m < multiplier; m++) {
      if (hasThreeByThree(record)) forwardThreeByThree(false, padded, geometry, weights, 4, y);
      else if (hasBlocks && geometry.strideX == 1) forwardPlane(1, padded, geometry, weights, y);
      else if (hasBlocks && geometry.strideX == 2) forwardPlane(2, padded, geometry, weights, y);
      else if (hasBlocks) forwardPlane(geometry.strideX, padded, geometry, weights, y);
      else forwardSlowly(padded, geometry, weights, y);
      channelBiasActivation(kind, y, bias, 1, positions);
      weights += weightBytes;
      bias += 4;
      y += outBytes;
    }
    padded += paddedBytesOf(geometry);
  }
}

/**
 * The same for a matrix product over the 3 x 3 taps of a single channel, from its left panels: a tile would be
 * stored after nine steps.
 */
export function singleChannelForward(
  kind: u32,
  padded: usize,
  record: usize,
  panels: usize,
  bias: usize,
  filters: u32,
  y: usize,
): void {
  const geometry = changetype<Geometry>(record);
  for (let filter: u32 = 0; filter < filters; filter++) {
    const weights = panels + <usize>(filter / MR) * (9 * LEFT_STEP) + <usize>((filter % MR) << 2);
    forwardThreeByThree(true, padded, geometry, weights, LEFT_STEP, y);
    channelBiasActivation(kind, y, bias, 1, positionsOf(geometry));
    bias += 4;
    y += outBytesOf(geometry);
  }
}

/** Blocks of 4 x 4 outputs; the last block of a row or column overlaps the one before it. */
// @ts-ignore: decorator
@inline
function forwardPlane(stride: u32, plane: usize, geometry: Geometry, weights: usize, y: usize): void {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const width = geometry.outWidth;
  const height = geometry.outHeight;
  for (let row: u32 = 0; ; row = min(row + 4, height - 4)) {
    const from = plane + <usize>row * rowStep;
    const to = y + (<usize>(row * width) << 2);
    for (let column: u32 = 0; ; column = min(column + 4, width - 4)) {
      forwardBlock(stride, from + ((<usize>column * stride) << 2), geometry, rowStep, weights, to + (<usize>column << 2));
      if (column + 4 == width) break;
    }
    if (row + 4 == height) break;
  }
}

// @ts-ignore: decorator
@inline
function forwardBlock(
  stride: u32,
  from: usize,
  geometry: Geometry,
  rowStep: usize,
  weights: usize,
  to: usize,
): void {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const columnBytes = <usize>geometry.dilationX << 2;
  const rowBytes = <usize>geometry.dilationY * paddedRowBytesOf(geometry);
  let weight = weights;
  let row = from;
  for (let i = geometry.kernelHeight; i > 0; i--) {
    let at = row;
    for (let j = geometry.kernelWidth; j > 0; j--) {
      const w = v128.load32_splat(weight);
      a = f32x4.add(a, f32x4.mul(w, loadFour(at, stride)));
      b = f32x4.add(b, f32x4.mul(w, loadFour(at + rowStep, stride)));
      c = f32x4.add(c, f32x4.mul(w, loadFour(at + 2 * rowStep, stride)));
      d = f32x4.add(d, f32x4.mul(w, loadFour(at + 3 * rowStep, stride)));
      at += columnBytes;
      weight += 4;
    }
    row += rowBytes;
  }
  const width = <usize>geometry.outWidth << 2;
  v128.store(to, a);
  v128.store(to + width, b);
  v128.store(to + 2 * width, c);
  v128.store(to + 3 * width, d);
}

/** Any stride and size. */
function forwardSlowly(plane: usize, geometry: Geometry, weights: usize, y: usize): void {
  const positions = positionsOf(geometry);
  const columnBytes = <usize>geometry.dilationX << 2;
  const rowBytes = <usize>geometry.dilationY * paddedRowBytesOf(geometry);
  for (let position: u32 = 0; position < positions; position++) {
    let row = plane + windowOffset(geometry, position);
    let weight = weights;
    let sum: f32 = 0;
    for (let i = geometry.kernelHeight; i > 0; i--) {
      let at = row;
      for (let j = geometry.kernelWidth; j > 0; j--) {
        sum += load<f32>(weight) * load<f32>(at);
        at += columnBytes;
        weight += 4;
      }
      row += rowBytes;
    }
    store<f32>(y, sum);
    y += 4;
  }
}

/**
 * dX[C, height, width] from dY[C * M, P] and weights[C * M, T]: windows, then taps, in ascending
 * order, from zero. `plane` is scratch for one padded plane, and for [height + 2, width + 2].
 */
export function depthwiseInputGradient(
  dY: usize,
  record: usize,
  weights: usize,
  channels: u32,
  multiplier: u32,
  plane: usize,
  dX: usize,
): void {
  const geometry = changetype<Geometry>(record);
  const isGathered = hasGatheredGradient(geometry);
  if (isGathered) memory.fill(plane, 0, <usize>((geometry.height + 2) * (geometry.width + 2)) << 2);
  for (let channel: u32 = 0; channel < channels; channel++) {
    if (isGathered) gatherPlane(dY, geometry, weights, multiplier, plane, dX);
    else scatterPlane(dY, geometry, weights, multiplier, plane, dX);
    weights += <usize>(multiplier * tapsOf(geometry)) << 2;
    dY += <usize>(multiplier * positionsOf(geometry)) << 2;
    dX += planeBytesOf(geometry);
  }
}

function gatherPlane(dY: usize, geometry: Geometry, weights: usize, multiplier: u32, plane: usize, dX: usize): void {
  for (let m: u32 = 0; m < multiplier; m++) {
    surround(dY, geometry, plane);
    if (m == 0) inputGradientThreeByThree(false, plane, geometry, weights, dX);
    else inputGradientThreeByThree(true, plane, geometry, weights, dX);
    weights += <usize>tapsOf(geometry) << 2;
    dY += outBytesOf(geometry);
  }
}

function scatterPlane(dY: usize, geometry: Geometry, weights: usize, multiplier: u32, plane: usize, dX: usize): void {
  memory.fill(plane, 0, paddedBytesOf(geometry));
  for (let m: u32 = 0; m < multiplier; m++) {
    for (let tap: u32 = 0; tap < tapsOf(geometry); tap++) {
      addTap(plane + tapOffset(geometry, tap), geometry, dY, load<f32>(weights));
      weights += 4;
    }
    dY += outBytesOf(geometry);
  }
  cropPlane(plane, geometry, dX);
}

/**
 * dW[C * M, T] of one sample from padded[C, ...] and dY[C * M, P]; added to dW where `accumulate`.
 *
 * A weight's sum has four lanes. In each row position x goes to lane x mod 4, but the last (width
 * mod 4) positions go to the highest lanes; a lane adds in ascending order, and the lanes are
 * added as (0 + 1) + (2 + 3).
 */
export function depthwiseWeightGradient(
  padded: usize,
  record: usize,
  dY: usize,
  channels: u32,
  multiplier: u32,
  dW: usize,
  accumulate: bool,
): void {
  const geometry = changetype<Geometry>(record);
  for (let channel: u32 = 0; channel < channels; channel++) {
    for (let m: u32 = 0; m < multiplier; m++) {
      if (hasThreeByThree(record)) weightGradientThreeByThree(padded, geometry, dY, dW, accumulate);
      else weightGradientPlane(padded, geometry, dY, dW, accumulate);
      dW += <usize>tapsOf(geometry) << 2;
      dY += outBytesOf(geometry);
    }
    padded += paddedBytesOf(geometry);
  }
}

function weightGradientPlane(plane: usize, geometry: Geometry, dY: usize, dW: usize, accumulate: bool): void {
  for (let tap: u32 = 0; tap < tapsOf(geometry); tap++) {
    storeSum(dW, tapSum(plane + tapOffset(geometry, tap), geometry, dY), accumulate);
    dW += 4;
  }
}

function tapSum(from: usize, geometry: Geometry, dY: usize): f32 {
  if (geometry.outWidth < 4) return tapSumOfNarrow(from, geometry, dY);
  if (geometry.strideX == 1) return tapSumOfWide(1, from, geometry, dY);
  if (geometry.strideX == 2) return tapSumOfWide(2, from, geometry, dY);
  return tapSumOfWide(geometry.strideX, from, geometry, dY);
}

// @ts-ignore: decorator
@inline
function tapSumOfWide(stride: u32, from: usize, geometry: Geometry, dY: usize): f32 {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const rowBytes = <usize>geometry.outWidth << 2;
  const whole = rowBytes & ~15;
  const last = rowBytes - 16;
  const lanes = highLanes(<u32>(rowBytes - whole) >> 2);
  let sum = f32x4.splat(0);
  let window = from;
  let d = dY;
  for (let row = geometry.outHeight; row > 0; row--) {
    for (let at: usize = 0; at < whole; at += 16) {
      sum = f32x4.add(sum, f32x4.mul(v128.load(d + at), loadFour(window + at * stride, stride)));
    }
    if (whole < rowBytes) {
      const product = f32x4.mul(v128.load(d + last), loadFour(window + last * stride, stride));
      sum = f32x4.add(sum, v128.and(product, lanes));
    }
    d += rowBytes;
    window += rowStep;
  }
  return sumLanes(sum);
}

/** Rows of 1 to 3 positions: they are all in the highest lanes. */
function tapSumOfNarrow(from: usize, geometry: Geometry, dY: usize): f32 {
  const rowStep = <usize>geometry.strideY * paddedRowBytesOf(geometry);
  const step = <usize>geometry.strideX << 2;
  const width = geometry.outWidth;
  let lane1: f32 = 0;
  let lane2: f32 = 0;
  let lane3: f32 = 0;
  for (let row = geometry.outHeight; row > 0; row--) {
    const d = dY + (<usize>width << 2);
    const x = from + <usize>width * step;
    if (width == 3) lane1 += load<f32>(d - 12) * load<f32>(x - 3 * step);
    if (width >= 2) lane2 += load<f32>(d - 8) * load<f32>(x - 2 * step);
    lane3 += load<f32>(d - 4) * load<f32>(x - step);
    dY = d;
    from += rowStep;
  }
  return lane1 + (lane2 + lane3);
}
