// Lion; step.ts has the fields that all optimizers share.
import { loadLanes, storeLanes } from '../lanes';
import { OptimizerStep, bytesOf, clippedMean, mix, wideBytesOf } from './step';

// @ts-ignore: decorator
@unmanaged
class LionStep extends OptimizerStep {
  /** Factor of the weights: 1 - learningRate weightDecay. */
  keep: f32;
  learningRate: f32;
  beta1: f32;
  oneMinusBeta1: f32;
  beta2: f32;
  oneMinusBeta2: f32;
}

/**
 * Steps by Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2),
 * on g = the clipped mean gradient:
 *   c = beta1 m + (1 - beta1) g      p' = keep p - learningRate sign(c)      m' = beta2 m + (1 - beta2) g
 * where m is the first vector of state, and sign(0) = 0.
 */
export function lionStep(record: usize): void {
  const step = changetype<LionStep>(record);
  lion<v128>(step, 0, wideBytesOf(step));
  lion<f32>(step, wideBytesOf(step), bytesOf(step));
}

function lion<T>(step: LionStep, start: usize, end: usize): void {
  if (start == end) return;
  const sum = step.gradientSum;
  const divisor = f32x4.splat(step.divisor);
  const scale = f32x4.splat(step.scale);
  const limit = f32x4.splat(step.limit);
  const keep = f32x4.splat(step.keep);
  const rate = f32x4.splat(step.learningRate);
  const b1 = f32x4.splat(step.beta1);
  const c1 = f32x4.splat(step.oneMinusBeta1);
  const b2 = f32x4.splat(step.beta2);
  const c2 = f32x4.splat(step.oneMinusBeta2);
  const p = step.p;
  const first = step.first;
  const pNext = step.pNext;
  const firstNext = step.firstNext;
  let i = start;
  do {
    const g = clippedMean<T>(sum + i, divisor, scale, limit);
    const m = loadLanes<T>(first + i);
    const c = mix(b1, m, c1, g);
    const signBit = v128.and(c, i32x4.splat(i32.MIN_VALUE));
    // rate sign(c): the rate with the sign of c, but 0 for 0.
    const move = v128.and(v128.or(rate, signBit), f32x4.ne(c, f32x4.splat(0)));
    storeLanes<T>(firstNext + i, mix(b2, m, c2, g));
    storeLanes<T>(pNext + i, f32x4.sub(f32x4.mul(keep, loadLanes<T>(p + i)), move));
    i += sizeof<T>();
  } while (i < end);
}
