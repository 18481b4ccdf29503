// Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023): steps of one size, by the sign of a mean.
// The defaults are the paper's.
import { z } from 'zod';
import { average, DECOUPLED, learningRate, weightDecay } from './fields.ts';
import type { UpdateRule } from './rule.ts';

export const lionSchema = z.strictObject({
  kind: z.literal('lion'),
  learningRate: learningRate(0.0001),
  beta1: average(0.9, 'Weight of the mean of gradients against the newest one, for the direction'),
  beta2: average(0.99, 'Decay of the mean of gradients'),
  ...weightDecay(0, DECOUPLED),
});

/** State: the mean of gradients. */
export function lionRule({ beta1, beta2 }: z.output<typeof lionSchema>): UpdateRule {
  return {
    vectorNames: ['momentum'],
    apply(kernels, slice) {
      kernels.lionStep(
        slice.length,
        slice.gradientSum,
        slice.divisor,
        slice.scale,
        slice.limit,
        ...(slice.current as [number, number]),
        ...(slice.next as [number, number]),
        1 - slice.learningRate * slice.weightDecay,
        slice.learningRate,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
      );
    },
  };
}
