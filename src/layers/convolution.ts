// What a convolution's runner, and the two ways to convolve a sample, know of the layer and of each other.
import type { Activation } from './activation.ts';
import type { ParameterTensor, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';
import { stackedSums } from './shard-sums.ts';
import type { Window } from './window.ts';

/** A convolution with all sizes known. */
export interface Convolution {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly spec: { readonly filters: number; readonly groups: number; readonly activation: Activation };
  readonly window: Window;
  /** Channels and filters of one group, and the depth of its products: channels times taps. */
  readonly group: { readonly channels: number; readonly filters: number; readonly depth: number };
  /** [filters, channels of a group, height, width]; the bias follows it in the flat vector. */
  readonly weight: ParameterTensor;
  readonly bias: ParameterTensor | undefined;
}

/** One way to convolve a sample, which lies at `padded`. Addresses are of f32. */
export interface SampleConvolution {
  /** Scratch [channels, paddedLength] that the runner pads a sample into. */
  readonly padded: number;
  /** Scratch of `sumsLength`. */
  readonly sums: number;
  /** Sets y[filters, positions], without the bias. */
  forward(y: number): void;
  /** Adds the sample's dW to that of its shard at `to`, or sets it for the first. */
  addWeightGradient(dY: number, to: number, isFirst: boolean): void;
  /** Completes dW at `to` behind the last sample of a shard. */
  finishWeightGradient(to: number): void;
  /** Sets dX[channels, height, width]. */
  inputGradient(dY: number, dX: number): void;
}

/** f32 of scratch for the sums of weight and bias gradients that wait for other shards. */
export function sumsLength({ weight, bias }: Convolution, { maxShards }: Workspace): number {
  return stackedSums(maxShards) * (weight.length + (bias?.length ?? 0));
}
