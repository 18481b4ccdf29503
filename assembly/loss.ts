// Losses with their gradients in one pass. Letters: B rows, O outputs, C classes.
// Loss and gradient of a row depend on that row alone; nothing is averaged over rows here.
import { expVector } from './math';

/**
 * Mean squared error: loss of a row = mean over O of (y - t)^2, dY[B, O] = 2 (y - t) / O.
 * Writes one f64 loss a row to `rowLoss`. `dY` may be `y`; 0 asks for the loss alone.
 */
export function mseForwardBackward(y: usize, target: usize, rows: u32, columns: u32, dY: usize, rowLoss: usize): void {
  const scale: f32 = 2 / <f32>columns;
  for (let row: u32 = 0; row < rows; row++) {
    let sum: f64 = 0;
    for (let j: u32 = 0; j < columns; j++) {
      const offset = <usize>(row * columns + j) << 2;
      const difference = load<f32>(y + offset) - load<f32>(target + offset);
      sum += <f64>difference * <f64>difference;
      if (dY) store<f32>(dY + offset, difference * scale);
    }
    store<f64>(rowLoss + (<usize>row << 3), sum / <f64>columns);
  }
}

/**
 * Softmax and cross-entropy: loss of a row = log(sum_j e^(y_j - max)) + max - y_label,
 * dY[B, C] = softmax(y) - onehot(label). `labels` are u32 below C. Writes one f64 loss a row to
 * `rowLoss`. `dY` may be `y`; it always receives the softmax's exponentials, so it is needed.
 */
export function softmaxCrossEntropyForwardBackward(
  y: usize,
  labels: usize,
  rows: u32,
  classes: u32,
  dY: usize,
  rowLoss: usize,
): void {
  const rowBytes: usize = <usize>classes << 2;
  for (let row: u32 = 0; row < rows; row++) {
    const labelOffset = <usize>load<u32>(labels + (<usize>row << 2)) << 2;
    const labelValue = load<f32>(y + labelOffset);
    const max = maxOf(y, classes);
    const sum = exponentials(y, classes, max, dY);
    scaleBy(dY, classes, 1 / sum);
    store<f32>(dY + labelOffset, load<f32>(dY + labelOffset) - 1);
    store<f64>(rowLoss + (<usize>row << 3), Math.log(<f64>sum) + (<f64>max - <f64>labelValue));
    y += rowBytes;
    dY += rowBytes;
  }
}

function maxOf(x: usize, length: u32): f32 {
  let max = load<f32>(x);
  for (let j: u32 = 1; j < length; j++) max = f32.max(max, load<f32>(x + (<usize>j << 2)));
  return max;
}

/** out = e^(x - max); returns the sum, accumulated in four lanes and then the tail. */
function exponentials(x: usize, length: u32, max: f32, out: usize): f32 {
  const shift = f32x4.splat(max);
  let lanes = f32x4.splat(0);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    const e = expVector(f32x4.sub(v128.load(x), shift));
    v128.store(out, e);
    lanes = f32x4.add(lanes, e);
    x += 16;
    out += 16;
  }
  let sum =
    f32x4.extract_lane(lanes, 0) +
    f32x4.extract_lane(lanes, 1) +
    (f32x4.extract_lane(lanes, 2) + f32x4.extract_lane(lanes, 3));
  for (; j < length; j++) {
    const e = f32x4.extract_lane(expVector(f32x4.splat(load<f32>(x) - max)), 0);
    store<f32>(out, e);
    sum += e;
    x += 4;
    out += 4;
  }
  return sum;
}

function scaleBy(x: usize, length: u32, factor: f32): void {
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    v128.store(x, f32x4.mul(v128.load(x), f32x4.splat(factor)));
    x += 16;
  }
  for (; j < length; j++) {
    store<f32>(x, load<f32>(x) * factor);
    x += 4;
  }
}
