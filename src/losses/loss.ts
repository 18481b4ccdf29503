// The interface of losses to the engine: sums of weighted losses of samples, and their gradients. Nothing is averaged here;
// whoever has all sums divides once by the weights' total.
import type { Kernels } from '../kernels/kernels.ts';
import type { Shape } from '../shape.ts';

/** Addresses that a loss reads and writes, and the sizes of a microbatch. */
export interface LossOperands {
  /** Address of f32 [rows, shape]. */
  readonly outputs: number;
  /** Address of f32 [rows, shape], or u32 class indices: [rows], or [rows, positions] for outputs [positions, classes]. */
  readonly targets: number;
  /** Address of an f32 of each row, or of each label where there are labels; 0 where all weigh 1. A weight of 0 leaves out. */
  readonly sampleWeights: number;
  readonly rows: number;
  /** Shape of one sample's outputs. */
  readonly shape: Shape;
  /** Address of f32 [rows, shape]: set to the gradient of each row's loss. May be `outputs`. */
  readonly dY: number;
  /** Address of f64 [rows]: set to each row's loss, the sum over its positions. */
  readonly rowLosses: number;
}

/** A loss: sums of weighted losses of samples, and their gradients. */
export interface Loss {
  run(kernels: Kernels, operands: LossOperands): void;
}
