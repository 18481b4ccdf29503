// RMSprop in its four forms; step.ts has the fields that all optimizers share.
import { loadLanes, storeLanes } from '../lanes';
import { OptimizerStep, addScaled, bytesOf, clippedMean, mix, wideBytesOf } from './step';

// @ts-ignore: decorator
@unmanaged
class RmspropStep extends OptimizerStep {
  decay: f32;
  learningRate: f32;
  alpha: f32;
  oneMinusAlpha: f32;
  epsilon: f32;
  momentum: f32;
}

/**
 * Steps by RMSprop (Hinton, 2012; centered: Graves, 2013) as PyTorch computes it, on g = the clipped mean
 * gradient + decay p:
 *   v' = alpha v + (1 - alpha) g^2      a' = alpha a + (1 - alpha) g
 *   u = g / (sqrt(v') + epsilon), centered: g / (sqrt(max(v' - a'^2, 0)) + epsilon)
 *   p' = p - learningRate u, with momentum: b' = momentum b + u, p' = p - learningRate b'
 * where v, a and b are the vectors of state. Without `a` it is not centered, without `b` it has no
 * momentum. The max is ours: rounding can take a variance below 0, of which PyTorch makes NaN.
 */
export function rmspropStep(record: usize): void {
  const step = changetype<RmspropStep>(record);
  rmsprop<v128>(step, 0, wideBytesOf(step));
  rmsprop<f32>(step, wideBytesOf(step), bytesOf(step));
}

function rmsprop<T>(step: RmspropStep, start: usize, end: usize): void {
  if (start == end) return;
  const sum = step.gradientSum;
  const divisor = f32x4.splat(step.divisor);
  const scale = f32x4.splat(step.scale);
  const limit = f32x4.splat(step.limit);
  const decay = f32x4.splat(step.decay);
  const rate = f32x4.splat(step.learningRate);
  const alpha = f32x4.splat(step.alpha);
  const oneMinusAlpha = f32x4.splat(step.oneMinusAlpha);
  const epsilon = f32x4.splat(step.epsilon);
  const momentum = f32x4.splat(step.momentum);
  const p = step.p;
  const first = step.first;
  const second = step.second;
  const third = step.third;
  const pNext = step.pNext;
  const firstNext = step.firstNext;
  const secondNext = step.secondNext;
  const thirdNext = step.thirdNext;
  let i = start;
  do {
    const p0 = loadLanes<T>(p + i);
    const g = addScaled(clippedMean<T>(sum + i, divisor, scale, limit), decay, p0);
    const v = mix(alpha, loadLanes<T>(first + i), oneMinusAlpha, f32x4.mul(g, g));
    storeLanes<T>(firstNext + i, v);
    let variance = v;
    if (second) {
      const a = mix(alpha, loadLanes<T>(second + i), oneMinusAlpha, g);
      storeLanes<T>(secondNext + i, a);
      variance = f32x4.pmax(f32x4.sub(v, f32x4.mul(a, a)), f32x4.splat(0));
    }
    let direction = f32x4.div(g, f32x4.add(f32x4.sqrt(variance), epsilon));
    if (third) {
      direction = f32x4.add(f32x4.mul(momentum, loadLanes<T>(third + i)), direction);
      storeLanes<T>(thirdNext + i, direction);
    }
    storeLanes<T>(pNext + i, f32x4.sub(p0, f32x4.mul(rate, direction)));
    i += sizeof<T>();
  } while (i < end);
}
