// Maximum and average pooling over windows of an image, as PyTorch's MaxPool2d and
// AvgPool2d with their defaults: the border is never a maximum and counts as zeros in an
// average. Nothing to learn.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, PackOptions, Microbatch, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';
import { GEOMETRY_LENGTH, pairSchema, resolveWindow, writeGeometry } from './window.ts';
import type { Window } from './window.ts';

const windowFields = {
  size: pairSchema(1).describe('Height and width of a window: n or [height, width]'),
  stride: pairSchema(1).optional().describe('Distance between windows; default: their size'),
  padding: pairSchema(0).default(0).describe('Border around the image, at most half a window'),
};

export const maxPool2dSchema = z.strictObject({ kind: z.literal('maxPool2d'), ...windowFields });
export const avgPool2dSchema = z.strictObject({ kind: z.literal('avgPool2d'), ...windowFields });

export type Pool2dSpec = z.output<typeof maxPool2dSchema> | z.output<typeof avgPool2dSchema>;

/** Maximum or average pooling over windows of an image. */
export class Pool2dLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly tensors = [];
  readonly numModules = 1;
  readonly packedLengths = [GEOMETRY_LENGTH];
  readonly spec: Pool2dSpec;
  readonly window: Window;

  constructor(spec: Pool2dSpec, inputShape: Shape, builder: LayerBuilder) {
    const { size, stride = size, padding } = spec;
    const window = resolveWindow({ size, stride, padding, dilation: 1 }, inputShape, builder);
    const [padTop = 0, padLeft = 0] = window.geometry.slice(6);
    if (2 * padTop > window.size[0] || 2 * padLeft > window.size[1]) {
      throw builder.refuse(
        `a border of ${padTop}x${padLeft} is more than half a window of ${formatShape(window.size)}`,
      );
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.outputShape = [window.channels, window.outHeight, window.outWidth];
    this.window = window;
  }

  describe(): string {
    const shapes = `${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
    return `${this.spec.kind} ${formatShape(this.window.size)} ${shapes}`;
  }

  pack({ memory, packed, part }: PackOptions): void {
    const [geometry] = packed as [number];
    if (part === 0) writeGeometry(memory, geometry, this.window);
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new Pool2dRunner(this, workspace);
  }
}

class Pool2dRunner implements LayerRunner {
  readonly #layer: Pool2dLayer;
  readonly #workspace: Workspace;
  readonly #y: number;
  readonly #scratch: number;
  #x = 0;

  constructor(layer: Pool2dLayer, workspace: Workspace) {
    this.#layer = layer;
    this.#workspace = workspace;
    this.#y = workspace.activations(workspace.maxRows * sizeOf(layer.outputShape));
    [this.#scratch = 0] = workspace.scratch(poolScratchLength(layer.window));
    workspace.reserveError(workspace.maxRows * sizeOf(layer.inputShape));
  }

  forward(microbatch: Microbatch, x: number): number {
    const { spec, window } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry] = packed as [number];
    const planes = microbatch.rows * window.channels;
    this.#x = x;
    if (spec.kind === 'maxPool2d') kernels.maxPoolForward(x, geometry, planes, this.#scratch, this.#y);
    else kernels.averagePoolForward(x, geometry, planes, this.#scratch, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { spec, window } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry] = packed as [number];
    const dX = this.#workspace.otherError(dY);
    const planes = microbatch.rows * window.channels;
    if (spec.kind === 'maxPool2d') kernels.maxPoolBackward(dY, this.#x, geometry, planes, this.#scratch, dX);
    else kernels.averagePoolBackward(dY, geometry, planes, this.#scratch, dX);
    return dX;
  }
}

/** f32 of the kernels' scratch, as assembly/pooling-window.ts lays it out. */
export function poolScratchLength({ paddedLength, geometry, positions }: Window): number {
  const [, , , , , strideX = 0] = geometry;
  return paddedLength + 4 * strideX + positions + 4;
}
