// One thread's run of a convolution over a microbatch, sample by sample: it pads the image,
// convolves it, adds the bias and applies the activation; backward the same for the gradients,
// which are summed shard by shard.
import { sizeOf } from '../../shape.ts';
import type { Shape } from '../../shape.ts';
import { BiasActivation } from '../activation.ts';
import type { Activation } from '../activation.ts';
import type { LayerRunner, Microbatch, ParameterTensor, Workspace } from '../layer.ts';
import { sumShards } from '../shard-sums.ts';
import type { Window } from '../window.ts';

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
  /** Sets y[filters, positions] with the bias and the activation of this number. */
  forward(y: number, activation: number): void;
  /** Adds the sample's dW to that of its shard at `to`, or sets it for the first. */
  addWeightGradient(dY: number, to: number, isFirst: boolean): void;
  /** Completes dW at `to` after the last sample of a shard. */
  finishWeightGradient(to: number): void;
  /** Sets dX[channels, height, width]. */
  inputGradient(dY: number, dX: number): void;
}

/** The buffers of one thread for a convolution. */
export class ConvolutionRunner implements LayerRunner {
  readonly #layer: Convolution;
  readonly #workspace: Workspace;
  readonly #sample: SampleConvolution;
  readonly #end: BiasActivation;
  readonly #inputLength: number;
  readonly #outputLength: number;
  #x = 0;
  #dY = 0;
  #dX = 0;

  constructor(layer: Convolution, workspace: Workspace, sample: SampleConvolution) {
    this.#layer = layer;
    this.#workspace = workspace;
    this.#sample = sample;
    this.#inputLength = sizeOf(layer.inputShape);
    this.#outputLength = sizeOf(layer.outputShape);
    this.#end = new BiasActivation(workspace, layer.spec.activation, workspace.maxRows * this.#outputLength);
    if (layer.needsInputGradient) workspace.reserveError(workspace.maxRows * this.#inputLength);
  }

  forward(microbatch: Microbatch, x: number): number {
    this.#x = x;
    for (let row = 0; row < microbatch.rows; row++) {
      this.#pad(row);
      this.#sample.forward(this.#end.sums + 4 * row * this.#outputLength, this.#end.withBias);
    }
    this.#end.finish(microbatch.rows * this.#outputLength);
    return this.#end.outputs;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { weight, bias, needsInputGradient } = this.#layer;
    this.#dY = dY;
    this.#dX = needsInputGradient ? this.#workspace.otherError(dY) : 0;
    const sums = {
      destination: microbatch.gradient + 4 * weight.offset,
      slots: this.#sample.sums,
      length: weight.length + (bias?.length ?? 0),
    };
    sumShards(this.#workspace.kernels, microbatch, sums, this.#sumShard);
    return this.#dX;
  }

  /** Sets dW and db at `to` to the sums over samples [start, end), and their dX. */
  readonly #sumShard = (start: number, end: number, to: number): void => {
    const { window, spec, weight, bias, needsInputGradient } = this.#layer;
    const { kernels } = this.#workspace;
    for (let row = start; row < end; row++) {
      const isFirst = row === start;
      const dY = this.#dY + 4 * row * this.#outputLength;
      this.#end.backward(dY, this.#outputLength, row * this.#outputLength);
      if (bias) kernels.channelSums(dY, spec.filters, window.positions, to + 4 * weight.length, !isFirst);
      this.#pad(row);
      this.#sample.addWeightGradient(dY, to, isFirst);
      if (needsInputGradient) this.#sample.inputGradient(dY, this.#dX + 4 * row * this.#inputLength);
    }
    this.#sample.finishWeightGradient(to);
  };

  #pad(row: number): void {
    const { kernels, packed } = this.#workspace;
    const [geometry] = packed as [number];
    const x = this.#x + 4 * row * this.#inputLength;
    kernels.padImage(x, geometry, this.#layer.window.channels, this.#sample.padded);
  }
}
