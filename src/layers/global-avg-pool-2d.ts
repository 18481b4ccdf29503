// The mean of each channel of an image: [channels, height, width] -> [channels]. Nothing to learn.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, Microbatch, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';
import { imageShape } from './window.ts';

export const globalAvgPool2dSchema = z.strictObject({ kind: z.literal('globalAvgPool2d') });

/** The mean of each channel of an image. */
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

  createRunner(workspace: Workspace): LayerRunner {
    return new GlobalAvgPool2dRunner(this, workspace);
  }
}

class GlobalAvgPool2dRunner implements LayerRunner {
  readonly #layer: GlobalAvgPool2dLayer;
  readonly #workspace: Workspace;
  readonly #y: number;

  constructor(layer: GlobalAvgPool2dLayer, workspace: Workspace) {
    this.#layer = layer;
    this.#workspace = workspace;
    this.#y = workspace.activations(workspace.maxRows * layer.channels);
    workspace.reserveError(workspace.maxRows * sizeOf(layer.inputShape));
  }

  forward(microbatch: Microbatch, x: number): number {
    const { channels, positions } = this.#layer;
    this.#workspace.kernels.channelMeans(x, microbatch.rows * channels, positions, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { channels, positions } = this.#layer;
    const dX = this.#workspace.otherError(dY);
    this.#workspace.kernels.channelMeansBackward(dY, microbatch.rows * channels, positions, dX);
    return dX;
  }
}
