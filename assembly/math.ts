// Vector exp, tanh and sigmoid as fixed polynomials, so that every machine gives the same
// bits. Coefficients: Cephes single-precision expf and tanhf (Moshier). Errors, measured over
// a dense sweep where the result is normal: exp below 1 ulp, tanh below 1.5, e^x - 1 below
// 1.75, sigmoid below 2.5.

// @ts-ignore: decorator
@inline
export function mulAdd(a: v128, b: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(a, b), c);
}

/** e^x: 0 below -87.33 (denormal results are flushed), +Infinity above 88.72, NaN for NaN. */
// @ts-ignore: decorator
@inline
export function expVector(x: v128): v128 {
  // x = n ln 2 + r, |r| <= ln 2 / 2; ln 2 in two parts so that n * ln2High is exact.
  const n = f32x4.floor(mulAdd(x, f32x4.splat(1.44269504), f32x4.splat(0.5)));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  const p = f32x4.add(expMinusOneNearZero(r), f32x4.splat(1));
  // n becomes an integer in the low bits of n + 1.5 x 2^23, and goes straight into the exponent of
  // p. Out of range that gives anything, which is not used.
  const exponent = i32x4.shl(f32x4.add(n, f32x4.splat(12582912)), 23);
  const power = v128.andnot(i32x4.add(p, exponent), f32x4.lt(x, f32x4.splat(-87.33654)));
  const beyond = f32x4.add(x, f32x4.splat(f32.POSITIVE_INFINITY));
  return v128.bitselect(power, beyond, f32x4.le(x, f32x4.splat(88.72283)));
}

/** e^r - 1 where |r| <= ln 2 / 2. */
// @ts-ignore: decorator
@inline
function expMinusOneNearZero(r: v128): v128 {
  let p = mulAdd(f32x4.splat(1.9875691500e-4), r, f32x4.splat(1.3981999507e-3));
  p = mulAdd(p, r, f32x4.splat(8.3334519073e-3));
  p = mulAdd(p, r, f32x4.splat(4.1665795894e-2));
  p = mulAdd(p, r, f32x4.splat(1.6666665459e-1));
  p = mulAdd(p, r, f32x4.splat(5.0000001201e-1));
  return mulAdd(p, f32x4.mul(r, r), r);
}

/** e^x - 1 for x <= 0: below -0.34 the difference of the two loses nothing. */
// @ts-ignore: decorator
@inline
export function expMinusOneVector(x: v128): v128 {
  const difference = f32x4.sub(expVector(x), f32x4.splat(1));
  return v128.bitselect(expMinusOneNearZero(x), difference, f32x4.gt(x, f32x4.splat(-0.34)));
}

/** 1 / (1 + e^-x). */
// @ts-ignore: decorator
@inline
export function sigmoidVector(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, expVector(f32x4.neg(x))));
}

/** tanh x: an odd polynomial below 0.625, where 1 - 2 / (e^2x + 1) would cancel, that form above. */
// @ts-ignore: decorator
@inline
export function tanhVector(x: v128): v128 {
  const one = f32x4.splat(1);
  const magnitude = f32x4.abs(x);
  const e = expVector(f32x4.add(magnitude, magnitude));
  const large = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(e, one)));
  const z = f32x4.mul(x, x);
  let p = mulAdd(f32x4.splat(-5.70498872745e-3), z, f32x4.splat(2.06390887954e-2));
  p = mulAdd(p, z, f32x4.splat(-5.37397155531e-2));
  p = mulAdd(p, z, f32x4.splat(1.33314422036e-1));
  p = mulAdd(p, z, f32x4.splat(-3.33332819422e-1));
  const small = mulAdd(f32x4.mul(p, z), magnitude, magnitude);
  const result = v128.bitselect(small, large, f32x4.lt(magnitude, f32x4.splat(0.625)));
  return v128.bitselect(x, result, i32x4.splat(i32.MIN_VALUE));
}

/**
 * Natural logarithm in f64 (musl's algorithm, compiled into this module): for
 * target transforms and losses.
 */
export function logF64(x: f64): f64 {
  return Math.log(x);
}

/** Exponential in f64 (musl's algorithm, compiled into this module): inverts a `log` target transform. */
export function expF64(x: f64): f64 {
  return Math.exp(x);
}

/** Cosine in f64 (musl's algorithm, compiled into this module): for learning-rate schedules. */
export function cosF64(x: f64): f64 {
  return Math.cos(x);
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
