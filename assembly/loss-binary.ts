// Binary cross-entropy over logits, in the form that neither overflows nor cancels. Letters: B
// rows, O outputs. Rows and weights as in loss-values.ts.
import { expVector } from './math';

/**
 * A row's loss = mean over O of max(y, 0) - y t + log(1 + e^-|y|), which is -t log p - (1 - t)
 * log(1 - p) with p = sigmoid(y); dY[B, O] = (p - t) / O. `target` is f32 in [0, 1]; `weights` f32
 * [B] or 0; `dY` may be `y`.
 */
export function binaryCrossEntropyForwardBackward(
  y: usize,
  target: usize,
  weights: usize,
  rows: u32,
  columns: u32,
  dY: usize,
  rowLoss: usize,
): void {
  const rowBytes: usize = <usize>columns << 2;
  for (let row: u32 = 0; row < rows; row++) {
    const weight: f32 = weights ? load<f32>(weights + (<usize>row << 2)) : 1;
    let loss: f64 = 0;
    if (weight == 0) memory.fill(dY, 0, rowBytes);
    else loss = (rowForwardBackward(y, target, columns, weight / <f32>columns, dY) / <f64>columns) * <f64>weight;
    store<f64>(rowLoss + (<usize>row << 3), loss);
    y += rowBytes;
    target += rowBytes;
    dY += rowBytes;
  }
}

/** Returns the sum of losses of a row, in ascending order; dY = (p - t) scale. */
function rowForwardBackward(y: usize, target: usize, columns: u32, scale: f32, dY: usize): f64 {
  let sum: f64 = 0;
  let j: u32 = 0;
  for (; j + 4 <= columns; j += 4) {
    const x = v128.load(y);
    const t = v128.load(target);
    const e = expVector(f32x4.neg(f32x4.abs(x)));
    v128.store(dY, f32x4.mul(f32x4.sub(probability(x, e), t), f32x4.splat(scale)));
    sum += lossOf(f32x4.extract_lane(x, 0), f32x4.extract_lane(t, 0), f32x4.extract_lane(e, 0));
    sum += lossOf(f32x4.extract_lane(x, 1), f32x4.extract_lane(t, 1), f32x4.extract_lane(e, 1));
    sum += lossOf(f32x4.extract_lane(x, 2), f32x4.extract_lane(t, 2), f32x4.extract_lane(e, 2));
    sum += lossOf(f32x4.extract_lane(x, 3), f32x4.extract_lane(t, 3), f32x4.extract_lane(e, 3));
    y += 16;
    target += 16;
    dY += 16;
  }
  for (; j < columns; j++) {
    const x = load<f32>(y);
    const t = load<f32>(target);
    const lanes = f32x4.splat(x);
    const e = expVector(f32x4.neg(f32x4.abs(lanes)));
    store<f32>(dY, (f32x4.extract_lane(probability(lanes, e), 0) - t) * scale);
    sum += lossOf(x, t, f32x4.extract_lane(e, 0));
    y += 4;
    target += 4;
    dY += 4;
  }
  return sum;
}

/** sigmoid(x) from e = e^-|x|: 1 / (1 + e) from 0 up, e / (1 + e) below. */
// @ts-ignore: decorator
@inline
function probability(x: v128, e: v128): v128 {
  const one = f32x4.splat(1);
  const numerator = v128.bitselect(e, one, f32x4.lt(x, f32x4.splat(0)));
  return f32x4.div(numerator, f32x4.add(one, e));
}

// @ts-ignore: decorator
@inline
function lossOf(x: f32, t: f32, e: f32): f64 {
  return <f64>f32.max(x, 0) - <f64>x * <f64>t + Math.log(1 + <f64>e);
}
