// What every convolution does with a microbatch, sample by sample: pads the image, convolves it, adds the bias and applies the
// activation; backward, all of that for the gradients, which are summed shard by shard.
import { BiasActivation } from './activation.ts';
import type { Convolution, SampleConvolution } from './convolution.ts';
import { sizeOf } from '../shape.ts';
import type { LayerRunner, Microbatch, Workspace } from './layer.ts';
import { sumShards } from './shard-sums.ts';

/** See the head of this file. */
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
    const { window, spec } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [, biases] = packed as [number, number];
    this.#x = x;
    for (let row = 0; row < microbatch.rows; row++) {
      const y = this.#end.sums + 4 * row * this.#outputLength;
      this.#pad(row);
      this.#sample.forward(y);
      kernels.channelBiasActivation(this.#end.withBias, y, biases, spec.filters, window.positions);
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
