// Losses of values against values, each with its gradient in one pass. Letters: B rows, O
// outputs. Loss and gradient of a row depend on that row alone, and nothing is averaged over
// rows. `weights` is f32 [B], or 0 where each row weighs 1; a row of weight 0 gives zeros,
// whatever its values are. `dY` may be `y`. Minima and choices are those of vectors, even for one value: V8 makes
// branches of a scalar's, which depend on the data.
import { loadLanes, storeLanes } from './lanes';

const SQUARED = 0;
const ABSOLUTE = 1;
const HUBER = 2;

/**
 * Mean squared error: a row's loss = mean over O of d^2 with d = y - t, dY[B, O] = 2 d /
 * O. `rowLoss` is f64 [B].
 */
export function mseForwardBackward(
  y: usize,
  target: usize,
  weights: usize,
  rows: u32,
  columns: u32,
  dY: usize,
  rowLoss: usize,
): void {
  valuesForwardBackward(SQUARED, y, target, weights, rows, columns, 0, dY, rowLoss);
}

/** Mean absolute error: a row's loss = mean over O of |d|, dY[B, O] = sign(d) / O, 0 where d is 0. */
export function maeForwardBackward(
  y: usize,
  target: usize,
  weights: usize,
  rows: u32,
  columns: u32,
  dY: usize,
  rowLoss: usize,
): void {
  valuesForwardBackward(ABSOLUTE, y, target, weights, rows, columns, 0, dY, rowLoss);
}

/**
 * Huber (1964): d^2 / 2 up to |d| = delta, a line of slope delta beyond; dY[B, O] =
 * clamp(d, -delta, delta) / O.
 */
export function huberForwardBackward(
  y: usize,
  target: usize,
  weights: usize,
  rows: u32,
  columns: u32,
  delta: f32,
  dY: usize,
  rowLoss: usize,
): void {
  valuesForwardBackward(HUBER, y, target, weights, rows, columns, delta, dY, rowLoss);
}

/** `kind` is a constant at every call, so that each copy keeps one branch. */
// @ts-ignore: decorator
@inline
function valuesForwardBackward(
  kind: i32,
  y: usize,
  target: usize,
  weights: usize,
  rows: u32,
  columns: u32,
  delta: f32,
  dY: usize,
  rowLoss: usize,
): void {
  const rowBytes: usize = <usize>columns << 2;
  const numerator: f32 = kind == SQUARED ? 2 : 1;
  for (let row: u32 = 0; row < rows; row++) {
    const weight: f32 = weights ? load<f32>(weights + (<usize>row << 2)) : 1;
    let sum: f64 = 0;
    if (weight == 0) {
      memory.fill(dY, 0, rowBytes);
    } else {
      const scale: f32 = (numerator / <f32>columns) * weight;
      for (let at: usize = 0; at < rowBytes; at += 4) {
        const d = f32x4.sub(loadLanes<f32>(y + at), loadLanes<f32>(target + at));
        sum += lossOf(kind, f32x4.extract_lane(d, 0), delta);
        storeLanes<f32>(dY + at, f32x4.mul(slopeOf(kind, d, delta), f32x4.splat(scale)));
      }
      sum = (sum / <f64>columns) * <f64>weight;
    }
    store<f64>(rowLoss + (<usize>row << 3), sum);
    y += rowBytes;
    target += rowBytes;
    dY += rowBytes;
  }
}

// @ts-ignore: decorator
@inline
function lossOf(kind: i32, d: f32, delta: f32): f64 {
  const size = <f64>f32.abs(d);
  if (kind == SQUARED) return size * size;
  if (kind == ABSOLUTE) return size;
  const within = f64x2.extract_lane(f64x2.pmin(f64x2.splat(size), f64x2.splat(delta)), 0);
  return within * (size - 0.5 * within);
}

/**
 * The slope of mse without its factor 2. NaN stays NaN: the gradient of a diverged
 * model must not look like one.
 */
// @ts-ignore: decorator
@inline
function slopeOf(kind: i32, d: v128, delta: f32): v128 {
  if (kind == SQUARED) return d;
  const zero = f32x4.splat(0);
  if (kind == ABSOLUTE) {
    const upToZero = v128.bitselect(f32x4.splat(-1), f32x4.sub(d, d), f32x4.lt(d, zero));
    return v128.bitselect(f32x4.splat(1), upToZero, f32x4.gt(d, zero));
  }
  return f32x4.pmax(f32x4.pmin(d, f32x4.splat(delta)), f32x4.splat(-delta));
}
