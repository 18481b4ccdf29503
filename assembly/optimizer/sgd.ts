// Gradient descent, plain and with momentum; see adam.ts for what all optimizer kernels have in common.
import { loadLanes, storeLanes } from '../lanes';
import { addScaled, clippedMean } from './formulas';

/** p' = p - learningRate g on g = the clipped mean gradient + decay p. */
export function sgdStep(
  length: u32,
  gradientSum: usize,
  divisor: f32,
  scale: f32,
  limit: f32,
  p: usize,
  pNext: usize,
  decay: f32,
  learningRate: f32,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(scale);
  const clip = f32x4.splat(limit);
  const l2 = f32x4.splat(decay);
  const rate = f32x4.splat(learningRate);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    sgdLanes<v128>(clippedMean<v128>(gradientSum + i, n, s, clip), p + i, pNext + i, l2, rate);
  }
  for (; i < end; i += 4) {
    sgdLanes<f32>(clippedMean<f32>(gradientSum + i, n, s, clip), p + i, pNext + i, l2, rate);
  }
}

// @ts-ignore: decorator
@inline
function sgdLanes<T>(g: v128, p: usize, pNext: usize, decay: v128, rate: v128): void {
  const p0 = loadLanes<T>(p);
  storeLanes<T>(pNext, f32x4.sub(p0, f32x4.mul(rate, addScaled(g, decay, p0))));
}

/**
 * Momentum as PyTorch defines it (dampening 0), on g = the clipped mean gradient + decay p:
 *   b' = momentum b + g      p' = p - learningRate d
 * where d = b', or, by Nesterov's look ahead, d = g + momentum b'.
 */
export function momentumStep(
  length: u32,
  gradientSum: usize,
  divisor: f32,
  scale: f32,
  limit: f32,
  p: usize,
  b: usize,
  pNext: usize,
  bNext: usize,
  decay: f32,
  learningRate: f32,
  momentum: f32,
  isNesterov: bool,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(scale);
  const clip = f32x4.splat(limit);
  const l2 = f32x4.splat(decay);
  const rate = f32x4.splat(learningRate);
  const mu = f32x4.splat(momentum);
  const lookAhead = i32x4.splat(isNesterov ? -1 : 0);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const g = clippedMean<v128>(gradientSum + i, n, s, clip);
    momentumLanes<v128>(g, p + i, b + i, pNext + i, bNext + i, l2, rate, mu, lookAhead);
  }
  for (; i < end; i += 4) {
    const g = clippedMean<f32>(gradientSum + i, n, s, clip);
    momentumLanes<f32>(g, p + i, b + i, pNext + i, bNext + i, l2, rate, mu, lookAhead);
  }
}

// @ts-ignore: decorator
@inline
function momentumLanes<T>(
  g: v128,
  p: usize,
  b: usize,
  pNext: usize,
  bNext: usize,
  decay: v128,
  rate: v128,
  momentum: v128,
  lookAhead: v128,
): void {
  const p0 = loadLanes<T>(p);
  const d = addScaled(g, decay, p0);
  const b1 = f32x4.add(f32x4.mul(momentum, loadLanes<T>(b)), d);
  const direction = v128.bitselect(addScaled(d, momentum, b1), b1, lookAhead);
  storeLanes<T>(bNext, b1);
  storeLanes<T>(pNext, f32x4.sub(p0, f32x4.mul(rate, direction)));
}
