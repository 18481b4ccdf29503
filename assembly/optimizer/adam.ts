// Adam and AdamW; step.ts has the fields that all optimizers share.
import { loadLanes, storeLanes } from '../lanes';
import { OptimizerStep, addScaled, bytesOf, clippedMean, mix, wideBytesOf } from './step';

// @ts-ignore: decorator
@unmanaged
class AdamStep extends OptimizerStep {
  /** Adam: weightDecay. AdamW: 0. */
  decay: f32;
  /** Adam: 1. AdamW: 1 - learningRate weightDecay. */
  keep: f32;
  beta1: f32;
  oneMinusBeta1: f32;
  beta2: f32;
  oneMinusBeta2: f32;
  /** learningRate / (1 - beta1^t) */
  stepSize: f32;
  /** sqrt(1 - beta2^t) */
  rootCorrection2: f32;
  epsilon: f32;
}

/**
 * Steps by Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019) as PyTorch computes
 * them, on g = the clipped mean gradient + decay p:
 *   m' = beta1 m + (1 - beta1) g      v' = beta2 v + (1 - beta2) g^2
 *   p' = keep p - stepSize m' / (sqrt(v') / rootCorrection2 + epsilon)
 * where m and v are the first and second vector of state.
 */
export function adamStep(record: usize): void {
  const step = changetype<AdamStep>(record);
  adam<v128>(step, 0, wideBytesOf(step));
  adam<f32>(step, wideBytesOf(step), bytesOf(step));
}

function adam<T>(step: AdamStep, start: usize, end: usize): void {
  if (start == end) return;
  const sum = step.gradientSum;
  const divisor = f32x4.splat(step.divisor);
  const scale = f32x4.splat(step.scale);
  const limit = f32x4.splat(step.limit);
  const decay = f32x4.splat(step.decay);
  const keep = f32x4.splat(step.keep);
  const b1 = f32x4.splat(step.beta1);
  const c1 = f32x4.splat(step.oneMinusBeta1);
  const b2 = f32x4.splat(step.beta2);
  const c2 = f32x4.splat(step.oneMinusBeta2);
  const size = f32x4.splat(step.stepSize);
  const root = f32x4.splat(step.rootCorrection2);
  const eps = f32x4.splat(step.epsilon);
  const p = step.p;
  const first = step.first;
  const second = step.second;
  const pNext = step.pNext;
  const firstNext = step.firstNext;
  const secondNext = step.secondNext;
  let i = start;
  do {
    const p0 = loadLanes<T>(p + i);
    const g = addScaled(clippedMean<T>(sum + i, divisor, scale, limit), decay, p0);
    const m = mix(b1, loadLanes<T>(first + i), c1, g);
    const v = mix(b2, loadLanes<T>(second + i), c2, f32x4.mul(g, g));
    const update = f32x4.div(m, f32x4.add(f32x4.div(f32x4.sqrt(v), root), eps));
    storeLanes<T>(firstNext + i, m);
    storeLanes<T>(secondNext + i, v);
    storeLanes<T>(pNext + i, f32x4.sub(f32x4.mul(keep, p0), f32x4.mul(size, update)));
    i += sizeof<T>();
  } while (i < end);
}
