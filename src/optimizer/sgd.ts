// Gradient descent on batches, plain, with momentum, or with Nesterov's. As in PyTorch, with a dampening of 0.
import { z } from 'zod';
import { average, COUPLED, learningRate, weightDecay } from './fields.ts';
import type { UpdateRule } from './rule.ts';

export const sgdSchema = z.strictObject({
  kind: z.literal('sgd'),
  learningRate: learningRate(0.01),
  momentum: average(0, 'Share of the last move that the next one keeps'),
  nesterov: z.boolean().default(false).describe('Looks ahead along the momentum, which must be above 0'),
  ...weightDecay(0, COUPLED),
});

/** State: the last move, if there is momentum. */
export function sgdRule({ momentum, nesterov }: z.output<typeof sgdSchema>): UpdateRule {
  if (momentum === 0) {
    return {
      vectorNames: [],
      apply(
        kernels,
        { length, gradientSum, divisor, scale, limit, current, next, weightDecay, learningRate },
      ) {
        const [p, pNext] = [current[0] as number, next[0] as number];
        kernels.sgdStep(length, gradientSum, divisor, scale, limit, p, pNext, weightDecay, learningRate);
      },
    };
  }
  return {
    vectorNames: ['momentum'],
    apply(kernels, slice) {
      kernels.momentumStep(
        slice.length,
        slice.gradientSum,
        slice.divisor,
        slice.scale,
        slice.limit,
        ...(slice.current as [number, number]),
        ...(slice.next as [number, number]),
        slice.weightDecay,
        slice.learningRate,
        momentum,
        nesterov,
      );
    },
  };
}
