// The arithmetic that the optimizer kernels share: the gradient that a formula starts from, and sums of two products.
import { loadLanes } from '../lanes';

/**
 * The mean gradient clipped: clamp(sum / divisor * scale, -limit, limit). A scale of 1 and an infinite limit
 * change no bit.
 */
// @ts-ignore: decorator
@inline
export function clippedMean<T>(sum: usize, divisor: v128, scale: v128, limit: v128): v128 {
  const mean = f32x4.mul(f32x4.div(loadLanes<T>(sum), divisor), scale);
  return f32x4.pmax(f32x4.pmin(mean, limit), f32x4.neg(limit));
}

/** a x + b y, rounded after each operation. */
// @ts-ignore: decorator
@inline
export function mix(a: v128, x: v128, b: v128, y: v128): v128 {
  return f32x4.add(f32x4.mul(a, x), f32x4.mul(b, y));
}

/** x + a y, rounded after each operation. */
// @ts-ignore: decorator
@inline
export function addScaled(x: v128, a: v128, y: v128): v128 {
  return f32x4.add(x, f32x4.mul(a, y));
}
