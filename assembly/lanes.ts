// Access by four values or by one, so that a formula is written once for the wide loop and the
// tail, and both have the same bits.

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

/** Writes two neighbouring vectors after both were computed, so that V8 may pair all that led to them. */
// @ts-ignore: decorator
@inline
export function storePair(address: usize, low: v128, high: v128): void {
  v128.store(address, low);
  v128.store(address, high, 16);
}
