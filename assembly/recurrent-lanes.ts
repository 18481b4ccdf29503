// Four units at a time, or one: the wide loop of a gate kernel and its tail are one function, so that a unit has the
// same bits wherever it stands. `isWide` is a constant where these are inlined.

// @ts-ignore: decorator
@inline
export function read(address: usize, isWide: bool): v128 {
  return isWide ? v128.load(address) : v128.load32_splat(address);
}

// @ts-ignore: decorator
@inline
export function write(address: usize, value: v128, isWide: bool): void {
  if (isWide) v128.store(address, value);
  else store<f32>(address, f32x4.extract_lane(value, 0));
}

/** y (1 - y): the slope of the sigmoid whose value is y. */
// @ts-ignore: decorator
@inline
export function sigmoidSlope(y: v128): v128 {
  return f32x4.mul(y, f32x4.sub(f32x4.splat(1), y));
}

/** 1 - y^2: the slope of the hyperbolic tangent whose value is y. */
// @ts-ignore: decorator
@inline
export function tanhSlope(y: v128): v128 {
  return f32x4.sub(f32x4.splat(1), f32x4.mul(y, y));
}
