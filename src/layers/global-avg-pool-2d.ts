// The mean of each channel of an image: [channels, height, width] -> [channels]. Nothing to learn.
import { z } from 'zod';
import { formatShape, sizeOf } from './layer.ts';
import type { Layer, LayerBuilder, LayerRunner, Pass, Shape, Site } from './layer.ts';
import { imageShape } from './window.ts';

export const globalAvgPool2dSchema = z.strictObject({ kind: z.literal('globalAvgPool2d') });

/** See the head of this file. */
export class GlobalAvgPool2dLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly tensors = [];
  /** AdaptiveAvgPool2d(1) and Flatten. */
  readonly numModules = 2;
  readonly packedLengths = [];
  readonly channels: number;
  readonly positions: number;

  constructor(inputShape: Shape, builder: LayerBuilder) {
    const [channels, height, width] = imageShape(inputShape, builder);
    this.inputShape = inputShape;
    this.outputShape = [channels];
    this.channels = channels;
    this.positions = height * width;
  }

  describe(): string {
    return `globalAvgPool2d ${formatShape(this.inputShape)} -> ${this.channels}`;
  }

  pack(): void {
    // No weights.
  }

  createRunner(site: Site): LayerRunner {
    return new GlobalAvgPool2dRunner(this, site);
  }
}

class GlobalAvgPool2dRunner implements LayerRunner {
  readonly #layer: GlobalAvgPool2dLayer;
  readonly #site: Site;
  readonly #y: number;

  constructor(layer: GlobalAvgPool2dLayer, site: Site) {
    this.#layer = layer;
    this.#site = site;
    this.#y = site.activations(site.maxRows * layer.channels);
    site.reserveError(site.maxRows * sizeOf(layer.inputShape));
  }

  forward(pass: Pass, x: number): number {
    const { channels, positions } = this.#layer;
    this.#site.kernels.channelMeans(x, pass.rows * channels, positions, this.#y);
    return this.#y;
  }

  backward(pass: Pass, dY: number): number {
    const { channels, positions } = this.#layer;
    const dX = this.#site.otherError(dY);
    this.#site.kernels.channelMeansBackward(dY, pass.rows * channels, positions, dX);
    return dX;
  }
}
