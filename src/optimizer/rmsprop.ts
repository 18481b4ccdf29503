// RMSprop (Hinton, 2012), as in PyTorch, with its defaults.
import { z } from 'zod';
import { average, COUPLED, epsilon, learningRate, weightDecay } from './fields.ts';
import type { UpdateRule } from './rule.ts';

export const rmspropSchema = z.strictObject({
  kind: z.literal('rmsprop'),
  learningRate: learningRate(0.01),
  alpha: average(0.99, 'Decay of the mean of squared gradients'),
  epsilon,
  momentum: average(0, 'Share of the last move that the next one keeps'),
  centered: z.boolean().default(false).describe('Divides by the deviation of gradients, not their size'),
  ...weightDecay(0, COUPLED),
});

/** State: mean squares; then, as far as they are asked for, means (centered) and the last move (momentum). */
export function rmspropRule({
  alpha,
  epsilon,
  momentum,
  centered,
}: z.output<typeof rmspropSchema>): UpdateRule {
  /** Addresses of parameters, mean squares, means, last move; 0 for what is not kept. */
  const vectors = ([p, v, ...rest]: readonly number[]): [number, number, number, number] => {
    const mean = centered ? rest.shift() : 0;
    return [p as number, v as number, mean as number, rest[0] ?? 0];
  };
  return {
    vectorNames: ['meanSquare', ...(centered ? ['mean'] : []), ...(momentum > 0 ? ['momentum'] : [])],
    apply(kernels, slice) {
      kernels.rmspropStep(
        slice.length,
        slice.gradientSum,
        slice.divisor,
        slice.scale,
        slice.limit,
        ...vectors(slice.current),
        ...vectors(slice.next),
        slice.weightDecay,
        slice.learningRate,
        alpha,
        1 - alpha,
        epsilon,
        momentum,
      );
    },
  };
}
