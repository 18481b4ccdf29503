// What is minimised.
import type { Kernels } from '../kernels/kernels.ts';

/** Mean squared error, or softmax cross-entropy over class logits. */
export const LOSSES = ['mse', 'crossEntropy'] as const;
export type Loss = (typeof LOSSES)[number];

/** Addresses of what a loss reads and writes, for `rows` rows of `columns` outputs. */
export interface LossArguments {
  readonly outputs: number;
  /** f32 [rows, columns], or u32 [rows] class indices. */
  readonly targets: number;
  readonly rows: number;
  readonly columns: number;
  /** f32 [rows, columns]: set to the gradient of each row's loss. */
  readonly dY: number;
  /** f64 [rows]: set to each row's loss. */
  readonly rowLosses: number;
}

/** Losses of the rows, and their gradients. */
export function runLoss(
  kernels: Kernels,
  loss: Loss,
  { outputs, targets, rows, columns, dY, rowLosses }: LossArguments,
): void {
  const run = loss === 'mse' ? kernels.mseForwardBackward : kernels.softmaxCrossEntropyForwardBackward;
  run(outputs, targets, rows, columns, dY, rowLosses);
}
