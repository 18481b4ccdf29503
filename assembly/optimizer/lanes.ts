// What all optimizer kernels share: access by four values or by one, so that a formula is written once for the
// wide loop and the tail and both have the same bits; and the gradient that a formula starts from.

/** The four values at `address` where T is v128; one value and three zeros where it is f32. */
// @ts-ignore: decorator
@inline
export function loadLanes<T>(address: usize): v128 {
  return sizeof<T>() == 16 ? v128.load(address) : v128.load32_zero(address);
}

/** Writes back what `loadLanes` read. */
// @ts-ignore: decorator
@inline
export function storeLanes<T>(address: usize, values: v128): void {
  if (sizeof<T>() == 16) v128.store(address, values);
  else v128.store32_lane(address, values, 0);
}

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
