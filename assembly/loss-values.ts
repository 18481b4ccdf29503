// Losses of values against values, each with its gradient in one pass. Letters: B rows, O
// outputs. Loss and gradient of a row depend on that row alone, and nothing is averaged over
// rows. `weights` is f32 [B], or 0 where each row weighs 1; a row of weight 0 gives zeros,
// whatever its values are. `dY` may be `y`.

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
        const d = load<f32>(y + at) - load<f32>(target + at);
        sum += lossOf(kind, d, delta);
        store<f32>(dY + at, slopeOf(kind, d, delta) * scale);
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
  const within = f64.min(size, <f64>delta);
  return within * (size - 0.5 * within);
}

/**
 * The slope of mse without its factor 2. NaN stays NaN: the gradient of a diverged
 * model must not look like one.
 */
// @ts-ignore: decorator
@inline
function slopeOf(kind: i32, d: f32, delta: f32): f32 {
  if (kind == SQUARED) return d;
  if (kind == ABSOLUTE) return select<f32>(1, select<f32>(-1, d - d, d < 0), d > 0);
  return f32.max(f32.min(d, delta), -delta);
}
