// What the runners of a convolution know of its layer.
import type { Activation } from './activation.ts';
import type { ParameterTensor, Shape } from './layer.ts';
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
