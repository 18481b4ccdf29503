// Dropout: in training each value is dropped with probability `rate`, and what is kept is scaled up
// so that its mean stays; at evaluation the layer does nothing. Which values go depends on (seed,
// layer, step, sample, element) alone.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, Microbatch, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';

export const dropoutSchema = z.strictObject({
  kind: z.literal('dropout'),
  rate: z.number().min(0).max(0.99).describe('Share of values that a training step drops'),
});

export type DropoutSpec = z.output<typeof dropoutSchema>;

/** Dropout, active in training only. */
export class DropoutLayer implements Layer {
  readonly inputShape: Shape;
  readonly spec: DropoutSpec;
  /** Keys the layer's draws. */
  readonly index: number;
  readonly tensors = [];
  readonly numModules = 1;
  readonly packedLengths = [];

  constructor(spec: DropoutSpec, inputShape: Shape, { index }: LayerBuilder) {
    this.spec = spec;
    this.inputShape = inputShape;
    this.index = index;
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  describe(): string {
    return `dropout ${formatShape(this.inputShape)} ${this.spec.rate}`;
  }

  pack(): void {
    // Nothing is learned here.
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new DropoutRunner(this, workspace);
  }
}

/** f32 of the kernel's scratch: the mask of 16 elements. */
const MASK_LENGTH = 16;

class DropoutRunner implements LayerRunner {
  readonly #workspace: Workspace;
  readonly #index: number;
  readonly #width: number;
  /** Bound of 32 random bits: values below it are dropped. */
  readonly #threshold: number;
  readonly #scale: number;
  readonly #y: number;
  readonly #mask: number;

  constructor({ index, inputShape, spec }: DropoutLayer, workspace: Workspace) {
    this.#workspace = workspace;
    this.#index = index;
    this.#width = sizeOf(inputShape);
    this.#threshold = Math.round(spec.rate * 2 ** 32);
    this.#scale = 1 / (1 - spec.rate);
    this.#y = workspace.activations(workspace.maxRows * this.#width);
    this.#mask = workspace.scratch(MASK_LENGTH)[0] as number;
  }

  forward(microbatch: Microbatch, x: number): number {
    if (!microbatch.isTraining) return x;
    this.#drop(microbatch, x, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    this.#drop(microbatch, dY, dY);
    return dY;
  }

  #drop({ rows, sampleIndices, seed, step }: Microbatch, from: number, to: number): void {
    this.#workspace.kernels.dropout(
      from,
      rows,
      this.#width,
      this.#threshold,
      this.#scale,
      seed,
      this.#index,
      step,
      sampleIndices,
      this.#mask,
      to,
    );
  }
}
