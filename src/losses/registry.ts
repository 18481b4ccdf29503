// The registry of losses: every kind by its name in a config.
import { z } from 'zod';
import {
  binaryCrossEntropy,
  binaryCrossEntropySchema,
  crossEntropyLoss,
  crossEntropySchema,
  huberLoss,
  huberSchema,
  maeSchema,
  meanAbsoluteError,
  meanSquaredError,
  mseSchema,
} from './loss.ts';
import type { Loss } from './loss.ts';

/** The kinds of losses; a kind alone stands for its options' defaults. */
export const LOSS_KINDS = ['mse', 'mae', 'huber', 'binaryCrossEntropy', 'crossEntropy'] as const;
export type LossKind = (typeof LOSS_KINDS)[number];

/** A loss with its options. */
export const lossSchema = z.discriminatedUnion('kind', [
  mseSchema,
  maeSchema,
  huberSchema,
  binaryCrossEntropySchema,
  crossEntropySchema,
]);

/** A config's `loss`: a kind, or a mapping with the kind and its options; parsed to the latter. */
export const lossInputSchema = z.union([z.enum(LOSS_KINDS), lossSchema]).transform(resolveLoss);

/** A checked loss with all its options. */
export type LossSpec = z.output<typeof lossSchema>;
/** A loss as users write it. */
export type LossInput = LossKind | z.input<typeof lossSchema>;

/** The form with all options. */
export function resolveLoss(input: LossInput): LossSpec {
  return lossSchema.parse(typeof input === 'string' ? { kind: input } : input);
}

/** The log loss that a smoothed loss is a variant of; undefined for every other loss. */
export function unsmoothedLoss(input: LossInput): Loss | undefined {
  const spec = resolveLoss(input);
  if (spec.kind !== 'crossEntropy' || spec.labelSmoothing === 0) return undefined;
  return crossEntropyLoss({ ...spec, labelSmoothing: 0 });
}

/** Makes a loss. */
export function createLoss(input: LossInput): Loss {
  const spec = resolveLoss(input);
  switch (spec.kind) {
    case 'mse':
      return meanSquaredError;
    case 'mae':
      return meanAbsoluteError;
    case 'huber':
      return huberLoss(spec);
    case 'binaryCrossEntropy':
      return binaryCrossEntropy;
    case 'crossEntropy':
      return crossEntropyLoss(spec);
    default:
      return spec satisfies never;
  }
}
