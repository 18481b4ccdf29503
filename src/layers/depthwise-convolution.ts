// A depthwise convolution of a sample, with kernels that look at one channel at a time.
import type { Convolution, SampleConvolution } from './convolution.ts';
import { sumsLength } from './convolution.ts';
import type { Workspace } from './layer.ts';

/** See the head of this file. */
export class DepthwiseConvolution implements SampleConvolution {
  readonly padded: number;
  readonly sums: number;
  readonly #layer: Convolution;
  readonly #workspace: Workspace;
  /** One padded plane. */
  readonly #plane: number;

  constructor(layer: Convolution, workspace: Workspace) {
    const { window, inputShape } = layer;
    const [, height = 0, width = 0] = inputShape;
    this.#layer = layer;
    this.#workspace = workspace;
    [this.padded = 0, this.#plane = 0, this.sums = 0] = workspace.scratch(
      window.channels * window.paddedLength,
      Math.max(window.paddedLength, (height + 2) * (width + 2)),
      sumsLength(layer, workspace),
    );
  }

  forward(y: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry, , weights] = packed as [number, number, number];
    kernels.depthwiseForward(this.padded, geometry, weights, window.channels, group.filters, y);
  }

  addWeightGradient(dY: number, to: number, isFirst: boolean): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry] = packed as [number];
    kernels.depthwiseWeightGradient(this.padded, geometry, dY, window.channels, group.filters, to, !isFirst);
  }

  finishWeightGradient(): void {
    // It is where it belongs.
  }

  inputGradient(dY: number, dX: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry, , weights] = packed as [number, number, number];
    kernels.depthwiseInputGradient(dY, geometry, weights, window.channels, group.filters, this.#plane, dX);
  }
}
