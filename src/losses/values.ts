// Losses of numbers against numbers: mse, mae and huber, each a mean over the outputs of a sample.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import { sizeOf } from '../layers/layer.ts';
import type { Loss, LossArguments } from './loss.ts';

export const mseSchema = z.strictObject({ kind: z.literal('mse') });

export const maeSchema = z.strictObject({ kind: z.literal('mae') });

export const huberSchema = z.strictObject({
  kind: z.literal('huber'),
  delta: z
    .number()
    .positive()
    .max(1e30)
    .default(1)
    .describe('Error from which on huber grows linearly, in units of the transformed target'),
});

/** PyTorch's MSELoss. */
export const meanSquaredError: Loss = {
  run: (kernels: Kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }: LossArguments) =>
    kernels.mseForwardBackward(outputs, targets, sampleWeights, rows, sizeOf(shape), dY, rowLosses),
};

/** PyTorch's L1Loss. */
export const meanAbsoluteError: Loss = {
  run: (kernels: Kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }: LossArguments) =>
    kernels.maeForwardBackward(outputs, targets, sampleWeights, rows, sizeOf(shape), dY, rowLosses),
};

/** PyTorch's HuberLoss. */
export function huberLoss({ delta }: z.output<typeof huberSchema>): Loss {
  return {
    run: (kernels: Kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }: LossArguments) =>
      kernels.huberForwardBackward(
        outputs,
        targets,
        sampleWeights,
        rows,
        sizeOf(shape),
        delta,
        dY,
        rowLosses,
      ),
  };
}
