// A depthwise convolution, sample by sample, with kernels that look at one channel at a time.
import { BiasActivation } from './activation.ts';
import type { Convolution } from './convolution.ts';
import { sizeOf } from './layer.ts';
import type { LayerRunner, Pass, Site } from './layer.ts';
import { stackedSums, sumLeaves } from './leaf-sums.ts';

/** See the head of this file. */
export class DepthwiseRunner implements LayerRunner {
  readonly #layer: Convolution;
  readonly #site: Site;
  readonly #end: BiasActivation;
  readonly #inputLength: number;
  readonly #outputLength: number;
  /** A padded sample, one padded plane, and partial sums of leaves. */
  readonly #scratch: { readonly padded: number; readonly plane: number; readonly sums: number };
  #x = 0;
  #dY = 0;
  #dX = 0;

  constructor(layer: Convolution, site: Site) {
    const { window, weight, bias, needsInputGradient } = layer;
    this.#layer = layer;
    this.#site = site;
    this.#inputLength = sizeOf(layer.inputShape);
    this.#outputLength = sizeOf(layer.outputShape);
    this.#end = new BiasActivation(site, layer.spec.activation, site.maxRows * this.#outputLength);
    const [, height = 0, width = 0] = layer.inputShape;
    const [padded = 0, plane = 0, sums = 0] = site.scratch(
      window.channels * window.paddedLength,
      Math.max(window.paddedLength, (height + 2) * (width + 2)),
      stackedSums(site.maxLeaves) * (weight.length + (bias?.length ?? 0)),
    );
    this.#scratch = { padded, plane, sums };
    if (needsInputGradient) site.reserveError(site.maxRows * this.#inputLength);
  }

  forward(pass: Pass, x: number): number {
    const { window, spec, group } = this.#layer;
    const { kernels, packed } = this.#site;
    const { padded } = this.#scratch;
    const [geometry, biases, weights] = packed as [number, number, number];
    this.#x = x;
    for (let sample = 0; sample < pass.rows; sample++) {
      const y = this.#end.sums + 4 * sample * this.#outputLength;
      kernels.padImage(x + 4 * sample * this.#inputLength, geometry, window.channels, padded);
      kernels.depthwiseForward(padded, geometry, weights, window.channels, group.filters, y);
      kernels.channelBiasActivation(this.#end.withBias, y, biases, spec.filters, window.positions);
    }
    this.#end.finish(pass.rows * this.#outputLength);
    return this.#end.outputs;
  }

  backward(pass: Pass, dY: number): number {
    const { weight, bias, needsInputGradient } = this.#layer;
    this.#dY = dY;
    this.#dX = needsInputGradient ? this.#site.otherError(dY) : 0;
    const sums = {
      destination: pass.gradient + 4 * weight.offset,
      slots: this.#scratch.sums,
      length: weight.length + (bias?.length ?? 0),
    };
    sumLeaves(this.#site.kernels, pass, sums, this.#sumLeaf);
    return this.#dX;
  }

  /** Sets dW and db at `to` to the sums over samples [start, end), and their dX. */
  readonly #sumLeaf = (start: number, end: number, to: number): void => {
    const { window, spec, group, weight, bias, needsInputGradient } = this.#layer;
    const { kernels, packed } = this.#site;
    const { padded, plane } = this.#scratch;
    const [geometry, , weights] = packed as [number, number, number];
    const { channels, positions } = window;
    const { filters } = group;
    for (let sample = start; sample < end; sample++) {
      const isLater = sample > start;
      const dY = this.#dY + 4 * sample * this.#outputLength;
      const x = this.#x + 4 * sample * this.#inputLength;
      this.#end.backward(dY, this.#outputLength, sample * this.#outputLength);
      if (bias) kernels.channelSums(dY, spec.filters, positions, to + 4 * weight.length, isLater);
      kernels.padImage(x, geometry, channels, padded);
      kernels.depthwiseWeightGradient(padded, geometry, dY, channels, filters, to, isLater);
      if (!needsInputGradient) continue;
      const dX = this.#dX + 4 * sample * this.#inputLength;
      kernels.depthwiseInputGradient(dY, geometry, weights, channels, filters, plane, dX);
    }
  };
}
