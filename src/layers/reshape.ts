// Another shape for the same values: flatten to one row, or any shape of the same size. Nothing is
// copied, since samples lie one after the other with their last dimension innermost in every shape.
import { z } from 'zod';
import { MAX_SAMPLE_DIMENSIONS } from '../limits.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, Microbatch } from './layer.ts';
import type { Shape } from '../shape.ts';

export const flattenSchema = z.strictObject({ kind: z.literal('flatten') });

export const reshapeSchema = z.strictObject({
  kind: z.literal('reshape'),
  shape: z
    .array(z.int().min(1).max(1_048_576))
    .min(1)
    .max(MAX_SAMPLE_DIMENSIONS)
    .describe('Of one sample: [features], [positions, features] or [channels, height, width]'),
});

/** The same values in another shape. */
export class ReshapeLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly tensors = [];
  readonly numModules = 1;
  readonly packedLengths = [];

  private constructor(inputShape: Shape, outputShape: Shape) {
    this.inputShape = inputShape;
    this.outputShape = outputShape;
  }

  static flatten(inputShape: Shape): ReshapeLayer {
    return new ReshapeLayer(inputShape, [sizeOf(inputShape)]);
  }

  /** @throws LockstepError where the sizes differ. */
  static to(shape: Shape, inputShape: Shape, builder: LayerBuilder): ReshapeLayer {
    if (sizeOf(shape) === sizeOf(inputShape)) return new ReshapeLayer(inputShape, shape);
    throw builder.refuse(
      `${sizeOf(inputShape)} values do not fill ${formatShape(shape)}, which takes ${sizeOf(shape)}`,
    );
  }

  describe(): string {
    return `reshape ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
  }

  pack(): void {
    // No weights.
  }

  createRunner(): LayerRunner {
    return new AliasRunner();
  }
}

/** Hands values and errors through. */
class AliasRunner implements LayerRunner {
  forward(_microbatch: Microbatch, x: number): number {
    return x;
  }

  backward(_microbatch: Microbatch, dY: number): number {
    return dY;
  }
}
