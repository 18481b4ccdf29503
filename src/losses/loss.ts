// What a loss is to the engine: sums of weighted losses of samples, and their gradients. Nothing is averaged here;
// who has all sums divides once by the weights' total.
import type { Kernels } from '../kernels/kernels.ts';
import type { Shape } from '../layers/layer.ts';

/** Addresses of what a loss reads and writes, and the sizes of a microbatch. */
export interface LossArguments {
  /** f32 [rows, shape] */
  readonly outputs: number;
  /** f32 [rows, shape], or u32 class indices: [rows], or [rows, positions] for outputs [positions, classes]. */
  readonly targets: number;
  /** Address of an f32 for each row, or each label where there are labels; 0 where all weigh 1. A weight of 0 leaves a row out. */
  readonly sampleWeights: number;
  readonly rows: number;
  /** Of one sample's outputs. */
  readonly shape: Shape;
  /** f32 [rows, shape]: set to the gradient of each row's loss. May be `outputs`. */
  readonly dY: number;
  /** f64 [rows]: set to each row's loss, the sum over its positions. */
  readonly rowLosses: number;
}

/** See the head of this file. */
export interface Loss {
  run(kernels: Kernels, job: LossArguments): void;
}
