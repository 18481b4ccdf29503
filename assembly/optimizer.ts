// The optimizer step over one piece of the flat parameter vector. Reads one copy of the state and writes
// another, so that a step can be abandoned as long as it is not committed.

/**
 * Adam (Kingma and Ba, 2015) as PyTorch computes it, on g = gradientSum / count:
 *   m' = beta1 m + (1 - beta1) g      v' = beta2 v + (1 - beta2) g^2
 *   p' = p - stepSize m' / (sqrt(v') / rootCorrection2 + epsilon)
 * with stepSize = learningRate / (1 - beta1^t) and rootCorrection2 = sqrt(1 - beta2^t).
 */
export function adamStep(
  length: u32,
  gradientSum: usize,
  count: f32,
  p: usize,
  m: usize,
  v: usize,
  pNext: usize,
  mNext: usize,
  vNext: usize,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  stepSize: f32,
  rootCorrection2: f32,
  epsilon: f32,
): void {
  const b1 = f32x4.splat(beta1);
  const b2 = f32x4.splat(beta2);
  const c1 = f32x4.splat(oneMinusBeta1);
  const c2 = f32x4.splat(oneMinusBeta2);
  const n = f32x4.splat(count);
  const size = f32x4.splat(stepSize);
  const root = f32x4.splat(rootCorrection2);
  const eps = f32x4.splat(epsilon);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) {
    const g = f32x4.div(v128.load(gradientSum + i), n);
    const m1 = f32x4.add(f32x4.mul(b1, v128.load(m + i)), f32x4.mul(c1, g));
    const v1 = f32x4.add(f32x4.mul(b2, v128.load(v + i)), f32x4.mul(c2, f32x4.mul(g, g)));
    const denominator = f32x4.add(f32x4.div(f32x4.sqrt(v1), root), eps);
    v128.store(mNext + i, m1);
    v128.store(vNext + i, v1);
    v128.store(pNext + i, f32x4.sub(v128.load(p + i), f32x4.mul(size, f32x4.div(m1, denominator))));
  }
  for (; i < end; i += 4) {
    const g = load<f32>(gradientSum + i) / count;
    const m1 = beta1 * load<f32>(m + i) + oneMinusBeta1 * g;
    const v1 = beta2 * load<f32>(v + i) + oneMinusBeta2 * (g * g);
    store<f32>(mNext + i, m1);
    store<f32>(vNext + i, v1);
    store<f32>(pNext + i, load<f32>(p + i) - stepSize * (m1 / (Mathf.sqrt(v1) / rootCorrection2 + epsilon)));
  }
}
