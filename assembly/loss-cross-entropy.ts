// Softmax and cross-entropy over class logits, for one label a row or one a position of
// a sequence, and the ranks that labels have among the logits. Letters: B rows, P
// positions of a row, C classes.
import { exponentials, maxOf } from './softmax';

/**
 * Loss of a position = log(sum_j e^(y_j - max)) + max - sum_j q_j y_j with q = (1 - s)
 * onehot(label) + s / C, where s is the label smoothing; a row's loss is the sum over its
 * positions. dY[B, P, C] = softmax(y) - q.
 *
 * `labels` are u32 [B, P] below C; `weights` f32 [B, P], or 0 where each position weighs 1; a
 * position of weight 0 gives zeros. Writes one f64 a row to `rowLoss`. `dY` may be `y`; it holds
 * the exponentials meanwhile, so it is needed.
 */
export function softmaxCrossEntropyForwardBackward(
  y: usize,
  labels: usize,
  weights: usize,
  rows: u32,
  positions: u32,
  classes: u32,
  smoothing: f64,
  dY: usize,
  rowLoss: usize,
): void {
  const bytes: usize = <usize>classes << 2;
  for (let row: u32 = 0; row < rows; row++) {
    let loss: f64 = 0;
    for (let position: u32 = 0; position < positions; position++) {
      const weight: f32 = weights ? load<f32>(weights) : 1;
      if (weight == 0) memory.fill(dY, 0, bytes);
      else loss += positionForwardBackward(y, load<u32>(labels), weight, classes, smoothing, dY);
      if (weights) weights += 4;
      labels += 4;
      y += bytes;
      dY += bytes;
    }
    store<f64>(rowLoss + (<usize>row << 3), loss);
  }
}

function positionForwardBackward(
  y: usize,
  label: u32,
  weight: f32,
  classes: u32,
  smoothing: f64,
  dY: usize,
): f64 {
  const labelOffset = <usize>label << 2;
  const labelValue = <f64>load<f32>(y + labelOffset);
  const max = maxOf(y, classes);
  // Before dY, which may be y, is written. The mean is not asked for without smoothing:
  // 0 times infinity is NaN.
  const smoothed: f64 = smoothing > 0 ? smoothing * (labelValue - meanOf(y, classes)) : 0;
  const sum = exponentials(y, classes, max, 1, dY);
  scaleAndLower(dY, classes, weight / sum, weight * <f32>(smoothing / <f64>classes));
  store<f32>(dY + labelOffset, load<f32>(dY + labelOffset) - weight * <f32>(1 - smoothing));
  return (Math.log(<f64>sum) + (<f64>max - labelValue) + smoothed) * <f64>weight;
}

/**
 * ranks[P] = how many classes come before the label in the order of falling logits, equal logits in
 * the order of the classes: 0 where the label is the argmax. A logit of NaN comes before every
 * other. `y` is [P, C], `ranks` f32.
 */
export function labelRanks(y: usize, labels: usize, positions: u32, classes: u32, ranks: usize): void {
  const bytes: usize = <usize>classes << 2;
  for (let position: u32 = 0; position < positions; position++) {
    const offset = <usize>position << 2;
    const labelOffset = <usize>load<u32>(labels + offset) << 2;
    const value = load<f32>(y + labelOffset);
    const lower = countBelow(y, y + labelOffset, value) + countUpTo(y + labelOffset + 4, y + bytes, value);
    store<f32>(ranks + offset, <f32>(<i32>classes - 1 - lower));
    y += bytes;
  }
}

/** f32 in [x, end) that are less than `value`. */
function countBelow(x: usize, end: usize, value: f32): i32 {
  let lanes = i32x4.splat(0);
  for (; x + 16 <= end; x += 16) lanes = i32x4.sub(lanes, f32x4.lt(v128.load(x), f32x4.splat(value)));
  let count = sumOfLanes(lanes);
  for (; x < end; x += 4) count += i32(load<f32>(x) < value);
  return count;
}

/** f32 in [x, end) that are at most `value`. */
function countUpTo(x: usize, end: usize, value: f32): i32 {
  let lanes = i32x4.splat(0);
  for (; x + 16 <= end; x += 16) lanes = i32x4.sub(lanes, f32x4.le(v128.load(x), f32x4.splat(value)));
  let count = sumOfLanes(lanes);
  for (; x < end; x += 4) count += i32(load<f32>(x) <= value);
  return count;
}

// @ts-ignore: decorator
@inline
function sumOfLanes(lanes: v128): i32 {
  return (
    i32x4.extract_lane(lanes, 0) +
    i32x4.extract_lane(lanes, 1) +
    i32x4.extract_lane(lanes, 2) +
    i32x4.extract_lane(lanes, 3)
  );
}

/** Summed in f64, in ascending order. */
function meanOf(x: usize, length: u32): f64 {
  let sum: f64 = 0;
  for (let j: u32 = 0; j < length; j++) sum += <f64>load<f32>(x + (<usize>j << 2));
  return sum / <f64>length;
}

/** x = x factor - shift; a shift of 0 changes no bit. */
function scaleAndLower(x: usize, length: u32, factor: f32, shift: f32): void {
  const factors = f32x4.splat(factor);
  const shifts = f32x4.splat(shift);
  let j: u32 = 0;
  for (; j + 4 <= length; j += 4) {
    v128.store(x, f32x4.sub(f32x4.mul(v128.load(x), factors), shifts));
    x += 16;
  }
  for (; j < length; j++) {
    store<f32>(x, load<f32>(x) * factor - shift);
    x += 4;
  }
}
