// Adam and AdamW. As all optimizer kernels: over a slice of the flat parameter vector, from one copy of the
// state to another, so that a step can be abandoned as long as it is not committed.
import { loadLanes, storeLanes } from '../lanes';
import { addScaled, clippedMean, mix } from './formulas';

/**
 * Adam (Kingma and Ba, 2015) as PyTorch computes it, on g = the clipped mean gradient + decay p:
 *   m' = beta1 m + (1 - beta1) g      v' = beta2 v + (1 - beta2) g^2
 *   p' = keep p - stepSize m' / (sqrt(v') / rootCorrection2 + epsilon)
 * with stepSize = learningRate / (1 - beta1^t) and rootCorrection2 = sqrt(1 - beta2^t). AdamW (Loshchilov and
 * Hutter, 2019) has keep = 1 - learningRate weightDecay and decay = 0; Adam keep = 1 and decay = weightDecay.
 */
export function adamStep(
  length: u32,
  gradientSum: usize,
  divisor: f32,
  scale: f32,
  limit: f32,
  p: usize,
  m: usize,
  v: usize,
  pNext: usize,
  mNext: usize,
  vNext: usize,
  decay: f32,
  keep: f32,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  stepSize: f32,
  rootCorrection2: f32,
  epsilon: f32,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(scale);
  const clip = f32x4.splat(limit);
  const l2 = f32x4.splat(decay);
  const kept = f32x4.splat(keep);
  const b1 = f32x4.splat(beta1);
  const c1 = f32x4.splat(oneMinusBeta1);
  const b2 = f32x4.splat(beta2);
  const c2 = f32x4.splat(oneMinusBeta2);
  const size = f32x4.splat(stepSize);
  const root = f32x4.splat(rootCorrection2);
  const eps = f32x4.splat(epsilon);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const g = clippedMean<v128>(gradientSum + i, n, s, clip);
    const update = adamUpdate<v128>(g, p + i, m + i, v + i, mNext + i, vNext + i, l2, b1, c1, b2, c2, root, eps);
    v128.store(pNext + i, f32x4.sub(f32x4.mul(kept, v128.load(p + i)), f32x4.mul(size, update)));
  }
  for (; i < end; i += 4) {
    const g = clippedMean<f32>(gradientSum + i, n, s, clip);
    const update = adamUpdate<f32>(g, p + i, m + i, v + i, mNext + i, vNext + i, l2, b1, c1, b2, c2, root, eps);
    storeLanes<f32>(pNext + i, f32x4.sub(f32x4.mul(kept, loadLanes<f32>(p + i)), f32x4.mul(size, update)));
  }
}

/** m' / (sqrt(v') / rootCorrection2 + epsilon), from moments that it updates. */
// @ts-ignore: decorator
@inline
function adamUpdate<T>(
  g: v128,
  p: usize,
  m: usize,
  v: usize,
  mNext: usize,
  vNext: usize,
  decay: v128,
  b1: v128,
  c1: v128,
  b2: v128,
  c2: v128,
  root: v128,
  eps: v128,
): v128 {
  const d = addScaled(g, decay, loadLanes<T>(p));
  const m1 = mix(b1, loadLanes<T>(m), c1, d);
  const v1 = mix(b2, loadLanes<T>(v), c2, f32x4.mul(d, d));
  storeLanes<T>(mNext, m1);
  storeLanes<T>(vNext, v1);
  return f32x4.div(m1, f32x4.add(f32x4.div(f32x4.sqrt(v1), root), eps));
}
