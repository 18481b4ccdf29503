// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019): the same moments, another weight decay.
// The defaults are PyTorch's.
import { z } from 'zod';
import { average, COUPLED, DECOUPLED, epsilon, learningRate, weightDecay } from './fields.ts';
import { integerPower } from './powers.ts';
import type { UpdateRule } from './rule.ts';

const moments = {
  learningRate: learningRate(0.001),
  beta1: average(0.9, 'Decay of the mean of gradients'),
  beta2: average(0.999, 'Decay of the mean of squared gradients'),
  epsilon,
};

export const adamSchema = z.strictObject({
  // Optional inside, so that an optimizer without a kind is found to be this one.
  kind: z.literal('adam').optional().default('adam'),
  ...moments,
  ...weightDecay(0, COUPLED),
});

export const adamWSchema = z.strictObject({
  kind: z.literal('adamW'),
  ...moments,
  ...weightDecay(0.01, DECOUPLED),
});

type AdamConfig = z.output<typeof adamSchema> | z.output<typeof adamWSchema>;

/** Adam as in PyTorch. State: first and second moments. */
export function adamRule({ kind, beta1, beta2, epsilon }: AdamConfig): UpdateRule {
  return {
    vectorNames: ['firstMoment', 'secondMoment'],
    apply(kernels, slice) {
      const { learningRate, weightDecay, step } = slice;
      kernels.adamStep(
        slice.length,
        slice.gradientSum,
        slice.divisor,
        slice.scale,
        slice.limit,
        ...(slice.current as [number, number, number]),
        ...(slice.next as [number, number, number]),
        kind === 'adam' ? weightDecay : 0,
        kind === 'adamW' ? 1 - learningRate * weightDecay : 1,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        learningRate / (1 - integerPower(beta1, step)),
        Math.sqrt(1 - integerPower(beta2, step)),
        epsilon,
      );
    },
  };
}
