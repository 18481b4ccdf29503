// The results of an evaluated sample: its outputs, or for a sequence of labels one rank a position and, where the loss is
// smoothed, the sum of its log losses after them. The outputs of a sequence are as many as its positions times its
// classes, and metrics need no more than that.
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import { unsmoothedLoss, type LossInput } from '../losses/registry.ts';
import type { Model } from '../model/model.ts';

/** True where samples have a label for each of several positions. */
export function isSequence({ targetKind, targetWidth }: RowLayout): boolean {
  return targetKind === 'labels' && targetWidth > 1;
}

/** f32 that come back for each evaluated sample. */
export function evaluationWidth(
  { outputWidth }: Pick<Model, 'outputWidth'>,
  layout: RowLayout,
  loss: LossInput,
): number {
  if (!isSequence(layout)) return outputWidth;
  return layout.targetWidth + (unsmoothedLoss(loss) ? 1 : 0);
}
