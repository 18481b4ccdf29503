// RMSprop in its four forms; see adam.ts for what all optimizer kernels have in common.
import { loadLanes, storeLanes } from '../lanes';
import { addScaled, clippedMean, mix } from './formulas';

/**
 * RMSprop (Hinton, 2012; centered: Graves, 2013) as PyTorch computes it, on g = the clipped mean
 * gradient + decay p:
 *   v' = alpha v + (1 - alpha) g^2      a' = alpha a + (1 - alpha) g
 *   u = g / (sqrt(v') + epsilon), centered: g / (sqrt(max(v' - a'^2, 0)) + epsilon)
 *   p' = p - learningRate u, with momentum: b' = momentum b + u, p' = p - learningRate b'
 * An address `a` of 0 means not centered, `b` of 0 no momentum. The max is ours: rounding can take a variance
 * below 0, of which PyTorch makes NaN.
 */
export function rmspropStep(
  length: u32,
  gradientSum: usize,
  divisor: f32,
  scale: f32,
  limit: f32,
  p: usize,
  v: usize,
  a: usize,
  b: usize,
  pNext: usize,
  vNext: usize,
  aNext: usize,
  bNext: usize,
  decay: f32,
  learningRate: f32,
  alpha: f32,
  oneMinusAlpha: f32,
  epsilon: f32,
  momentum: f32,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(scale);
  const clip = f32x4.splat(limit);
  const l2 = f32x4.splat(decay);
  const rate = f32x4.splat(learningRate);
  const x = f32x4.splat(alpha);
  const y = f32x4.splat(oneMinusAlpha);
  const eps = f32x4.splat(epsilon);
  const mu = f32x4.splat(momentum);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const g = clippedMean<v128>(gradientSum + i, n, s, clip);
    const u = normalized<v128>(g, p + i, v + i, a ? a + i : 0, vNext + i, aNext + i, l2, x, y, eps);
    moveLanes<v128>(u, p + i, b ? b + i : 0, pNext + i, bNext + i, rate, mu);
  }
  for (; i < end; i += 4) {
    const g = clippedMean<f32>(gradientSum + i, n, s, clip);
    const u = normalized<f32>(g, p + i, v + i, a ? a + i : 0, vNext + i, aNext + i, l2, x, y, eps);
    moveLanes<f32>(u, p + i, b ? b + i : 0, pNext + i, bNext + i, rate, mu);
  }
}

/** u, from moments that it updates. */
// @ts-ignore: decorator
@inline
function normalized<T>(
  g: v128,
  p: usize,
  v: usize,
  a: usize,
  vNext: usize,
  aNext: usize,
  decay: v128,
  alpha: v128,
  oneMinusAlpha: v128,
  eps: v128,
): v128 {
  const d = addScaled(g, decay, loadLanes<T>(p));
  const v1 = mix(alpha, loadLanes<T>(v), oneMinusAlpha, f32x4.mul(d, d));
  storeLanes<T>(vNext, v1);
  let variance = v1;
  if (a) {
    const a1 = mix(alpha, loadLanes<T>(a), oneMinusAlpha, d);
    storeLanes<T>(aNext, a1);
    variance = f32x4.pmax(f32x4.sub(v1, f32x4.mul(a1, a1)), f32x4.splat(0));
  }
  return f32x4.div(d, f32x4.add(f32x4.sqrt(variance), eps));
}

// @ts-ignore: decorator
@inline
function moveLanes<T>(
  u: v128,
  p: usize,
  b: usize,
  pNext: usize,
  bNext: usize,
  rate: v128,
  momentum: v128,
): void {
  let direction = u;
  if (b) {
    direction = f32x4.add(f32x4.mul(momentum, loadLanes<T>(b)), u);
    storeLanes<T>(bNext, direction);
  }
  storeLanes<T>(pNext, f32x4.sub(loadLanes<T>(p), f32x4.mul(rate, direction)));
}
