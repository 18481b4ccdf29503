// Losses of logits against probabilities: crossEntropy over classes that exclude each other, binaryCrossEntropy
// over outputs that are each a yes or no. The softmax and the sigmoid are part of the loss.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import { sizeOf } from '../layers/layer.ts';
import type { Loss, LossArguments } from './loss.ts';

export const crossEntropySchema = z.strictObject({
  kind: z.literal('crossEntropy'),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('Share of the right class that is spread evenly over all classes'),
});

export const binaryCrossEntropySchema = z.strictObject({ kind: z.literal('binaryCrossEntropy') });

/** PyTorch's CrossEntropyLoss; of outputs [positions, classes] the sum over positions. */
export function crossEntropyLoss({ labelSmoothing }: z.output<typeof crossEntropySchema>): Loss {
  return {
    run: (
      kernels: Kernels,
      { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }: LossArguments,
    ) => {
      const classes = shape.at(-1) ?? 1;
      const positions = sizeOf(shape) / classes;
      kernels.softmaxCrossEntropyForwardBackward(
        outputs,
        targets,
        sampleWeights,
        rows,
        positions,
        classes,
        labelSmoothing,
        dY,
        rowLosses,
      );
    },
  };
}

/** PyTorch's BCEWithLogitsLoss. */
export const binaryCrossEntropy: Loss = {
  run: (kernels: Kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }: LossArguments) =>
    kernels.binaryCrossEntropyForwardBackward(
      outputs,
      targets,
      sampleWeights,
      rows,
      sizeOf(shape),
      dY,
      rowLosses,
    ),
};
