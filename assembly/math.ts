// Vector exp, tanh and sigmoid as fixed polynomials, so that every machine gives the same
// bits. Coefficients: Cephes single-precision expf and tanhf (Moshier). Errors, measured over
// a dense sweep where the result is normal: exp below 1 ulp, tanh below 1.5, e^x - 1 below
// 1.75, sigmoid below 2.5.
//
// Constants of loops lie in memory: V8 from Node.js 24 on would build them anew in every iteration, from
// integers. docs/performance.md has the figures.

export const ONE: usize = memory.data<f32>([1]);
const TWO: usize = memory.data<f32>([2]);
export const HALF: usize = memory.data<f32>([0.5]);
const INFINITE: usize = memory.data<f32>([f32.POSITIVE_INFINITY]);
const SIGN_BIT: usize = memory.data<u32>([0x80000000]);
const LOG2_E: usize = memory.data<f32>([1.44269504]);
const LN2_HIGH: usize = memory.data<f32>([0.693359375]);
const LN2_LOW: usize = memory.data<f32>([-2.12194440e-4]);
/** 1.5 x 2^23: a number added to it becomes an integer in the low bits. */
const TO_INTEGER: usize = memory.data<f32>([12582912]);
/** Bounds of x between which e^x is a normal number. */
const EXP_LEAST: usize = memory.data<f32>([-87.33654]);
const EXP_MOST: usize = memory.data<f32>([88.72283]);
/** Coefficients of polynomials, the highest power first. */
const EXP: usize = memory.data<f32>([
  1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
]);
const TANH: usize = memory.data<f32>([
  -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
]);
/** Above -0.34 e^x - 1 is a polynomial, below 0.625 tanh is. */
const EXP_MINUS_ONE_NEAR: usize = memory.data<f32>([-0.34]);
const TANH_NEAR: usize = memory.data<f32>([0.625]);

/** The 32 bits at `address` in all lanes. */
// @ts-ignore: decorator
@inline
export function constant(address: usize): v128 {
  return v128.load32_splat(address);
}

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
  const n = f32x4.floor(mulAdd(x, constant(LOG2_E), constant(HALF)));
  let r = f32x4.sub(x, f32x4.mul(n, constant(LN2_HIGH)));
  r = f32x4.sub(r, f32x4.mul(n, constant(LN2_LOW)));
  const p = f32x4.add(expMinusOneNearZero(r), constant(ONE));
  // n becomes an integer in the low bits of n + 1.5 x 2^23, and goes straight into the exponent of
  // p. Out of range that gives anything, which is not used.
  const exponent = i32x4.shl(f32x4.add(n, constant(TO_INTEGER)), 23);
  const power = v128.andnot(i32x4.add(p, exponent), f32x4.lt(x, constant(EXP_LEAST)));
  const beyond = f32x4.add(x, constant(INFINITE));
  return v128.bitselect(power, beyond, f32x4.le(x, constant(EXP_MOST)));
}

/** e^r - 1 where |r| <= ln 2 / 2. */
// @ts-ignore: decorator
@inline
function expMinusOneNearZero(r: v128): v128 {
  let p = mulAdd(constant(EXP), r, constant(EXP + 4));
  p = mulAdd(p, r, constant(EXP + 8));
  p = mulAdd(p, r, constant(EXP + 12));
  p = mulAdd(p, r, constant(EXP + 16));
  p = mulAdd(p, r, constant(EXP + 20));
  return mulAdd(p, f32x4.mul(r, r), r);
}

/** e^x - 1 for x <= 0: below -0.34 the difference of the two loses nothing. */
// @ts-ignore: decorator
@inline
export function expMinusOneVector(x: v128): v128 {
  const difference = f32x4.sub(expVector(x), constant(ONE));
  return v128.bitselect(expMinusOneNearZero(x), difference, f32x4.gt(x, constant(EXP_MINUS_ONE_NEAR)));
}

/** 1 / (1 + e^-x). */
// @ts-ignore: decorator
@inline
export function sigmoidVector(x: v128): v128 {
  const one = constant(ONE);
  return f32x4.div(one, f32x4.add(one, expVector(f32x4.neg(x))));
}

/** tanh x: an odd polynomial below 0.625, where 1 - 2 / (e^2x + 1) would cancel, that form above. */
// @ts-ignore: decorator
@inline
export function tanhVector(x: v128): v128 {
  const one = constant(ONE);
  const magnitude = f32x4.abs(x);
  const e = expVector(f32x4.add(magnitude, magnitude));
  const large = f32x4.sub(one, f32x4.div(constant(TWO), f32x4.add(e, one)));
  const z = f32x4.mul(x, x);
  let p = mulAdd(constant(TANH), z, constant(TANH + 4));
  p = mulAdd(p, z, constant(TANH + 8));
  p = mulAdd(p, z, constant(TANH + 12));
  p = mulAdd(p, z, constant(TANH + 16));
  const small = mulAdd(f32x4.mul(p, z), magnitude, magnitude);
  const result = v128.bitselect(small, large, f32x4.lt(magnitude, constant(TANH_NEAR)));
  return v128.bitselect(x, result, constant(SIGN_BIT));
}

/**
 * 1 / sqrt(x), by the root of a vector: V8 takes that of a scalar by an instruction of SSE, which costs 150 ns
 * after 256-bit vectors.
 */
// @ts-ignore: decorator
@inline
export function reciprocalRoot(x: f32): f32 {
  return 1 / f32x4.extract_lane(f32x4.sqrt(f32x4.splat(x)), 0);
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
  return f32x4.mul(y, f32x4.sub(constant(ONE), y));
}

/** 1 - y^2: the slope of the hyperbolic tangent whose value is y. */
// @ts-ignore: decorator
@inline
export function tanhSlope(y: v128): v128 {
  return f32x4.sub(constant(ONE), f32x4.mul(y, y));
}
