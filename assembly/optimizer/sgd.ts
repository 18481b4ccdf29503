// Gradient descent, plain and with momentum; step.ts has the fields that all optimizers share.
import { loadLanes, storeLanes } from '../lanes';
import { OptimizerStep, addScaled, bytesOf, clippedMean, wideBytesOf } from './step';

// @ts-ignore: decorator
@unmanaged
class SgdStep extends OptimizerStep {
  decay: f32;
  learningRate: f32;
}

/** Steps to p' = p - learningRate g on g = the clipped mean gradient + decay p. */
export function sgdStep(record: usize): void {
  const step = changetype<SgdStep>(record);
  sgd<v128>(step, 0, wideBytesOf(step));
  sgd<f32>(step, wideBytesOf(step), bytesOf(step));
}

function sgd<T>(step: SgdStep, start: usize, end: usize): void {
  if (start == end) return;
  const sum = step.gradientSum;
  const divisor = f32x4.splat(step.divisor);
  const scale = f32x4.splat(step.scale);
  const limit = f32x4.splat(step.limit);
  const decay = f32x4.splat(step.decay);
  const rate = f32x4.splat(step.learningRate);
  const p = step.p;
  const pNext = step.pNext;
  let i = start;
  do {
    const p0 = loadLanes<T>(p + i);
    const g = addScaled(clippedMean<T>(sum + i, divisor, scale, limit), decay, p0);
    storeLanes<T>(pNext + i, f32x4.sub(p0, f32x4.mul(rate, g)));
    i += sizeof<T>();
  } while (i < end);
}

// @ts-ignore: decorator
@unmanaged
class MomentumStep extends SgdStep {
  momentum: f32;
  /** 1 for Nesterov's look ahead, otherwise 0. */
  nesterov: f32;
}

/**
 * Steps with momentum as PyTorch defines it (dampening 0), on g = the clipped mean gradient + decay p:
 *   b' = momentum b + g      p' = p - learningRate d
 * where b is the first vector of state and d = b', or, by Nesterov's look ahead, d = g + momentum b'.
 */
export function momentumStep(record: usize): void {
  const step = changetype<MomentumStep>(record);
  momentum<v128>(step, 0, wideBytesOf(step));
  momentum<f32>(step, wideBytesOf(step), bytesOf(step));
}

function momentum<T>(step: MomentumStep, start: usize, end: usize): void {
  if (start == end) return;
  const sum = step.gradientSum;
  const divisor = f32x4.splat(step.divisor);
  const scale = f32x4.splat(step.scale);
  const limit = f32x4.splat(step.limit);
  const decay = f32x4.splat(step.decay);
  const rate = f32x4.splat(step.learningRate);
  const mu = f32x4.splat(step.momentum);
  const lookAhead = f32x4.ne(f32x4.splat(step.nesterov), f32x4.splat(0));
  const p = step.p;
  const first = step.first;
  const pNext = step.pNext;
  const firstNext = step.firstNext;
  let i = start;
  do {
    const p0 = loadLanes<T>(p + i);
    const g = addScaled(clippedMean<T>(sum + i, divisor, scale, limit), decay, p0);
    const b = f32x4.add(f32x4.mul(mu, loadLanes<T>(first + i)), g);
    const direction = v128.bitselect(addScaled(g, mu, b), b, lookAhead);
    storeLanes<T>(firstNext + i, b);
    storeLanes<T>(pNext + i, f32x4.sub(p0, f32x4.mul(rate, direction)));
    i += sizeof<T>();
  } while (i < end);
}
