// Lion; see adam.ts for what all optimizer kernels have in common.
import { loadLanes, storeLanes } from '../lanes';
import { clippedMean, mix } from './formulas';

/**
 * Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2), on g = the clipped
 * mean gradient:
 *   c = beta1 m + (1 - beta1) g      p' = keep p - learningRate sign(c)      m' = beta2 m + (1 - beta2) g
 * with keep = 1 - learningRate weightDecay, and sign(0) = 0.
 */
export function lionStep(
  length: u32,
  gradientSum: usize,
  divisor: f32,
  scale: f32,
  limit: f32,
  p: usize,
  m: usize,
  pNext: usize,
  mNext: usize,
  keep: f32,
  learningRate: f32,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(scale);
  const clip = f32x4.splat(limit);
  const kept = f32x4.splat(keep);
  const rate = f32x4.splat(learningRate);
  const b1 = f32x4.splat(beta1);
  const c1 = f32x4.splat(oneMinusBeta1);
  const b2 = f32x4.splat(beta2);
  const c2 = f32x4.splat(oneMinusBeta2);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const g = clippedMean<v128>(gradientSum + i, n, s, clip);
    lionLanes<v128>(g, p + i, m + i, pNext + i, mNext + i, kept, rate, b1, c1, b2, c2);
  }
  for (; i < end; i += 4) {
    const g = clippedMean<f32>(gradientSum + i, n, s, clip);
    lionLanes<f32>(g, p + i, m + i, pNext + i, mNext + i, kept, rate, b1, c1, b2, c2);
  }
}

// @ts-ignore: decorator
@inline
function lionLanes<T>(
  g: v128,
  p: usize,
  m: usize,
  pNext: usize,
  mNext: usize,
  keep: v128,
  rate: v128,
  b1: v128,
  c1: v128,
  b2: v128,
  c2: v128,
): void {
  const m0 = loadLanes<T>(m);
  const c = mix(b1, m0, c1, g);
  const signBit = v128.and(c, i32x4.splat(i32.MIN_VALUE));
  // rate sign(c): the rate with the sign of c, but 0 for 0.
  const move = v128.and(v128.or(rate, signBit), f32x4.ne(c, f32x4.splat(0)));
  storeLanes<T>(mNext, mix(b2, m0, c2, g));
  storeLanes<T>(pNext, f32x4.sub(f32x4.mul(keep, loadLanes<T>(p)), move));
}
