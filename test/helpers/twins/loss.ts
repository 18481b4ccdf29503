// Losses and their gradients, row by row: nothing is averaged over rows.
// Letters: B rows, O outputs, C classes.
import type { Arithmetic, Values } from './arithmetic.ts';
import { at } from './tree.ts';

export interface RowLosses {
  /** [B] */
  readonly losses: Float64Array;
  /** [B, O] */
  readonly dY: Values;
}

/** Loss of a row: mean over O of (y - t)^2, squares and sum in float64. */
export function meanSquaredError(
  arithmetic: Arithmetic,
  y: ArrayLike<number>,
  targets: ArrayLike<number>,
  columns: number,
): RowLosses {
  const { round } = arithmetic;
  const scale = round(2 / columns);
  const dY = arithmetic.zeros(y.length);
  const losses = new Float64Array(y.length / columns);
  for (let row = 0; row < losses.length; row++) {
    let sum = 0;
    for (let j = row * columns; j < (row + 1) * columns; j++) {
      const difference = round(at(y, j) - at(targets, j));
      sum += difference * difference;
      dY[j] = round(difference * scale);
    }
    losses[row] = sum / columns;
  }
  return { losses, dY };
}

/** Loss of a row: -log softmax(y)[label]. Computed in float64, the gradient rounded at the end. */
export function softmaxCrossEntropy(
  arithmetic: Arithmetic,
  y: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
): RowLosses {
  const dY = arithmetic.zeros(y.length);
  const losses = new Float64Array(y.length / classes);
  for (let row = 0; row < losses.length; row++) {
    const logits = Array.from({ length: classes }, (_, j) => at(y, row * classes + j));
    const max = Math.max(...logits);
    const powers = logits.map((value) => Math.exp(value - max));
    const sum = powers.reduce((total, value) => total + value, 0);
    const label = at(labels, row);
    powers.forEach((value, j) => {
      dY[row * classes + j] = arithmetic.round(value / sum - (j === label ? 1 : 0));
    });
    losses[row] = Math.log(sum) + max - at(logits, label);
  }
  return { losses, dY };
}
