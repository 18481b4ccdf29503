// Activations of the form x g(x), and their derivatives, which need x: gelu in its two forms, and silu.
import { expVector, mulAdd, sigmoidVector } from './math';

/** 1 / sqrt(2 pi): the height of the normal density. */
const DENSITY_AT_ZERO: f32 = 0.3989422804;
/** Beyond this many deviations the normal distribution's tail is 0 in float32. */
const TAIL_END: f32 = 14;

/**
 * e^(-a^2 / 2) for 0 <= a <= 14. The square is taken exactly, in two parts: its rounding
 * error would grow with a^2.
 */
// @ts-ignore: decorator
@inline
function bell(a: v128): v128 {
  const high = v128.and(a, i32x4.splat(0xfffff000));
  const low = f32x4.sub(a, high);
  const square = f32x4.mul(a, a);
  let error = f32x4.sub(f32x4.mul(high, high), square);
  error = f32x4.add(error, f32x4.mul(f32x4.add(high, high), low));
  error = mulAdd(low, low, error);
  const half = f32x4.splat(0.5);
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
  const reciprocal = f32x4.div(f32x4.splat(1), f32x4.add(a, f32x4.splat(4)));
  const s = f32x4.sub(f32x4.splat(1), f32x4.mul(f32x4.splat(8), reciprocal));
  let p = mulAdd(f32x4.splat(-1.25690451e-4), s, f32x4.splat(1.93157466e-4));
  p = mulAdd(p, s, f32x4.splat(1.57546054e-3));
  p = mulAdd(p, s, f32x4.splat(-3.51847499e-3));
  p = mulAdd(p, s, f32x4.splat(-7.52912555e-3));
  p = mulAdd(p, s, f32x4.splat(6.04045056e-2));
  p = mulAdd(p, s, f32x4.splat(-1.86522841e-1));
  p = mulAdd(p, s, f32x4.splat(3.87136877e-1));
  p = mulAdd(p, s, f32x4.splat(-6.07896626e-1));
  p = mulAdd(p, s, f32x4.splat(7.55285144e-1));
  return f32x4.mul(density, f32x4.mul(p, reciprocal));
}

/** The normal distribution function from its tail beyond |x|. */
// @ts-ignore: decorator
@inline
function distribution(x: v128, tail: v128): v128 {
  return v128.bitselect(tail, f32x4.sub(f32x4.splat(1), tail), f32x4.lt(x, f32x4.splat(0)));
}

/** x P(N < x) = x (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel, 2016). */
// @ts-ignore: decorator
@inline
export function gelu(x: v128): v128 {
  const a = f32x4.min(f32x4.abs(x), f32x4.splat(TAIL_END));
  return f32x4.mul(x, distribution(x, normalTail(a, bell(a))));
}

/** P(N < x) + x e^(-x^2 / 2) / sqrt(2 pi). */
// @ts-ignore: decorator
@inline
export function geluSlope(x: v128): v128 {
  const a = f32x4.min(f32x4.abs(x), f32x4.splat(TAIL_END));
  const density = bell(a);
  const change = f32x4.mul(x, f32x4.mul(density, f32x4.splat(DENSITY_AT_ZERO)));
  return f32x4.add(distribution(x, normalTail(a, density)), change);
}

/** 2 sqrt(2 / pi) and that times 0.044715. */
const GATE_LINEAR: f32 = 1.5957691216;
const GATE_CUBIC: f32 = 0.0713548163;

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
  return mulAdd(f32x4.splat(GATE_CUBIC), square, f32x4.splat(GATE_LINEAR));
}

/** s + x s (1 - s) (2u)', s = sigmoid(2u). */
// @ts-ignore: decorator
@inline
export function geluTanhSlope(x: v128): v128 {
  const square = f32x4.mul(x, x);
  const s = sigmoidVector(f32x4.mul(x, geluTanhFactor(square)));
  const inner = mulAdd(f32x4.splat(3 * GATE_CUBIC), square, f32x4.splat(GATE_LINEAR));
  return f32x4.add(s, f32x4.mul(f32x4.mul(x, inner), f32x4.mul(s, f32x4.sub(f32x4.splat(1), s))));
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
  const one = f32x4.splat(1);
  const s = sigmoidVector(x);
  return f32x4.mul(s, mulAdd(x, f32x4.sub(one, s), one));
}
