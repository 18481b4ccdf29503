// Activations of the form x g(x), and their derivatives, which need x: gelu in its two forms, and silu.
import { HALF, ONE, constant, expVector, mulAdd, sigmoidVector } from './math';

/** 1 / sqrt(2 pi): the height of the normal density. */
const DENSITY_AT_ZERO: usize = memory.data<f32>([0.3989422804]);
/** Beyond this many deviations the normal distribution's tail is 0 in float32. */
const TAIL_END: usize = memory.data<f32>([14]);
/** Upper 12 bits of a significand and what is before it: they have an exact square. */
const UPPER_BITS: usize = memory.data<u32>([0xfffff000]);
const FOUR: usize = memory.data<f32>([4]);
const EIGHT: usize = memory.data<f32>([8]);
/** Coefficients of the Mills ratio, the highest power first. */
const MILLS: usize = memory.data<f32>([
  -1.25690451e-4, 1.93157466e-4, 1.57546054e-3, -3.51847499e-3, -7.52912555e-3, 6.04045056e-2, -1.86522841e-1,
  3.87136877e-1, -6.07896626e-1, 7.55285144e-1,
]);

/**
 * e^(-a^2 / 2) for 0 <= a <= 14. The square is taken exactly, in two parts: its rounding
 * error would grow with a^2.
 */
// @ts-ignore: decorator
@inline
function bell(a: v128): v128 {
  const high = v128.and(a, constant(UPPER_BITS));
  const low = f32x4.sub(a, high);
  const square = f32x4.mul(a, a);
  let error = f32x4.sub(f32x4.mul(high, high), square);
  error = f32x4.add(error, f32x4.mul(f32x4.add(high, high), low));
  error = mulAdd(low, low, error);
  const half = constant(HALF);
  const main = expVector(f32x4.neg(f32x4.mul(half, square)));
  return f32x4.sub(main, f32x4.mul(main, f32x4.mul(half, error)));
}

/**
 * Share of the normal distribution below -a for 0 <= a <= 14, given `density` = e^(-a^2 / 2): that
 * times a Mills ratio (Mills, 1926), as a polynomial in s = (a - 4) / (a + 4) over a + 4. No
 * cancellation, unlike 1 - erf. The coefficients minimise the largest relative error (7e-9) over
 * [0, 13.3]: scripts/fit-normal-tail.py.
 */
// @ts-ignore: decorator
@inline
function normalTail(a: v128, density: v128): v128 {
  const reciprocal = f32x4.div(constant(ONE), f32x4.add(a, constant(FOUR)));
  const s = f32x4.sub(constant(ONE), f32x4.mul(constant(EIGHT), reciprocal));
  let p = mulAdd(constant(MILLS), s, constant(MILLS + 4));
  p = mulAdd(p, s, constant(MILLS + 8));
  p = mulAdd(p, s, constant(MILLS + 12));
  p = mulAdd(p, s, constant(MILLS + 16));
  p = mulAdd(p, s, constant(MILLS + 20));
  p = mulAdd(p, s, constant(MILLS + 24));
  p = mulAdd(p, s, constant(MILLS + 28));
  p = mulAdd(p, s, constant(MILLS + 32));
  p = mulAdd(p, s, constant(MILLS + 36));
  return f32x4.mul(density, f32x4.mul(p, reciprocal));
}

/** The normal distribution function from its tail beyond |x|. */
// @ts-ignore: decorator
@inline
function distribution(x: v128, tail: v128): v128 {
  return v128.bitselect(tail, f32x4.sub(constant(ONE), tail), f32x4.lt(x, f32x4.splat(0)));
}

/** x P(N < x) = x (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel, 2016). */
// @ts-ignore: decorator
@inline
export function gelu(x: v128): v128 {
  const a = f32x4.min(f32x4.abs(x), constant(TAIL_END));
  return f32x4.mul(x, distribution(x, normalTail(a, bell(a))));
}

/** P(N < x) + x e^(-x^2 / 2) / sqrt(2 pi). */
// @ts-ignore: decorator
@inline
export function geluSlope(x: v128): v128 {
  const a = f32x4.min(f32x4.abs(x), constant(TAIL_END));
  const density = bell(a);
  const change = f32x4.mul(x, f32x4.mul(density, constant(DENSITY_AT_ZERO)));
  return f32x4.add(distribution(x, normalTail(a, density)), change);
}

/** 2 sqrt(2 / pi) and that times 0.044715. */
const GATE_LINEAR: usize = memory.data<f32>([1.5957691216]);
const GATE_CUBIC: usize = memory.data<f32>([0.0713548163]);
/** Three times that, in the slope. */
const GATE_CUBIC_SLOPE: usize = memory.data<f32>([0.2140644489]);

/** x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2u). */
// @ts-ignore: decorator
@inline
export function geluTanh(x: v128): v128 {
  const square = f32x4.mul(x, x);
  return f32x4.mul(x, sigmoidVector(f32x4.mul(x, geluTanhFactor(square))));
}

// @ts-ignore: decorator
@inline
function geluTanhFactor(square: v128): v128 {
  return mulAdd(constant(GATE_CUBIC), square, constant(GATE_LINEAR));
}

/** s + x s (1 - s) (2u)', s = sigmoid(2u). */
// @ts-ignore: decorator
@inline
export function geluTanhSlope(x: v128): v128 {
  const square = f32x4.mul(x, x);
  const s = sigmoidVector(f32x4.mul(x, geluTanhFactor(square)));
  const inner = mulAdd(constant(GATE_CUBIC_SLOPE), square, constant(GATE_LINEAR));
  return f32x4.add(s, f32x4.mul(f32x4.mul(x, inner), f32x4.mul(s, f32x4.sub(constant(ONE), s))));
}

/** x sigmoid(x) (Elfwing, Uchibe and Doya, 2017). */
// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.mul(x, sigmoidVector(x));
}

/** s (1 + x (1 - s)), s = sigmoid(x). */
// @ts-ignore: decorator
@inline
export function siluSlope(x: v128): v128 {
  const one = constant(ONE);
  const s = sigmoidVector(x);
  return f32x4.mul(s, mulAdd(x, f32x4.sub(one, s), one));
}
