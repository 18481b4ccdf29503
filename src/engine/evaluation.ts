// What comes back of an evaluated sample: its outputs, or for a sequence of labels one rank a position. The outputs of
// a sequence are as many as its positions times its classes, and metrics need no more than the ranks.
import type { RowLayout } from '../data/dataset.ts';
import type { Model } from '../model/model.ts';

/** Whether samples have a label for each of several positions. */
export function isSequence({ targetKind, targetWidth }: RowLayout): boolean {
  return targetKind === 'labels' && targetWidth > 1;
}

/** f32 that come back for each evaluated sample. */
export function evaluationWidth({ outputWidth }: Pick<Model, 'outputWidth'>, layout: RowLayout): number {
  return isSequence(layout) ? layout.targetWidth : outputWidth;
}
