// One step of an optimizer over a slice of the flat parameter vector, from one copy of the state to
// another, so that a step can be abandoned as long as it is not committed. Its kernels take the
// record of a step by address. Their loops test at the end: V8 keeps the splats of coefficients out
// of no others (sgdStep: 0.25 ns a parameter against 0.32).
import { loadLanes } from '../lanes';

/**
 * The record of a step, without padding: fields of 4 bytes, in this order. Each kernel's own
 * coefficients follow, f32. `writeStep` in src/optimizer/registry.ts writes it. A vector that the
 * kernel does not keep has the address 0.
 */
// @ts-ignore: decorator
@unmanaged
export class OptimizerStep {
  /** f32 of the slice, and so of each vector. */
  length: u32;
  /** The gradient is clamp(gradientSum / divisor * scale, -limit, limit). */
  gradientSum: usize;
  divisor: f32;
  scale: f32;
  limit: f32;
  /** The committed copy: parameters, then up to three vectors of state. */
  p: usize;
  first: usize;
  second: usize;
  third: usize;
  /** The copy to write, in the same order. */
  pNext: usize;
  firstNext: usize;
  secondNext: usize;
  thirdNext: usize;
}

/** Bytes of each vector. */
// @ts-ignore: decorator
@inline
export function bytesOf(step: OptimizerStep): usize {
  return <usize>step.length << 2;
}

/** Bytes of each vector that four values at a time cover. */
// @ts-ignore: decorator
@inline
export function wideBytesOf(step: OptimizerStep): usize {
  return bytesOf(step) & ~15;
}

/** The mean gradient, clipped. A scale of 1 and an infinite limit change no bit. */
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
