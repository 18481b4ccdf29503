// A function of the layer below, as a layer of its own: elementwise, or softmax over the last axis.
import { z } from 'zod';
import { ACTIVATIONS, activationNumber, needsActivationInput } from './activation.ts';
import type { Activation } from './activation.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerRunner, Microbatch, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';

export const activationSchema = z.strictObject({
  kind: z.literal('activation'),
  function: z
    .enum([...ACTIVATIONS, 'softmax'])
    .exclude(['linear'])
    .describe('Applied to every value; softmax to the values of the last axis together'),
});

export type ActivationSpec = z.output<typeof activationSchema>;

/** See the head of this file. */
export class ActivationLayer implements Layer {
  readonly inputShape: Shape;
  readonly spec: ActivationSpec;
  readonly tensors = [];
  readonly numModules = 1;
  readonly packedLengths = [];

  constructor(spec: ActivationSpec, inputShape: Shape) {
    this.spec = spec;
    this.inputShape = inputShape;
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  describe(): string {
    return `${this.spec.function} ${formatShape(this.inputShape)}`;
  }

  pack(): void {
    // Nothing is learned here.
  }

  createRunner(workspace: Workspace): LayerRunner {
    return this.spec.function === 'softmax'
      ? new SoftmaxRunner(this.inputShape, workspace)
      : new ElementwiseRunner(this.spec.function, sizeOf(this.inputShape), workspace);
  }
}

class ElementwiseRunner implements LayerRunner {
  readonly #workspace: Workspace;
  readonly #number: number;
  readonly #needsInput: boolean;
  readonly #size: number;
  readonly #y: number;
  #x = 0;

  constructor(activation: Activation, size: number, workspace: Workspace) {
    this.#workspace = workspace;
    this.#number = activationNumber(activation);
    this.#needsInput = needsActivationInput(activation);
    this.#size = size;
    this.#y = workspace.activations(workspace.maxRows * size);
  }

  forward(microbatch: Microbatch, x: number): number {
    this.#x = x;
    this.#workspace.kernels.activationForward(this.#number, x, this.#y, microbatch.rows * this.#size);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { kernels } = this.#workspace;
    const length = microbatch.rows * this.#size;
    if (this.#needsInput) kernels.activationBackwardFromInput(this.#number, dY, this.#x, length);
    else kernels.activationBackward(this.#number, dY, this.#y, length);
    return dY;
  }
}

class SoftmaxRunner implements LayerRunner {
  readonly #workspace: Workspace;
  readonly #columns: number;
  readonly #rowsPerSample: number;
  readonly #y: number;

  constructor(shape: Shape, workspace: Workspace) {
    this.#workspace = workspace;
    this.#columns = shape.at(-1) as number;
    this.#rowsPerSample = sizeOf(shape) / this.#columns;
    this.#y = workspace.activations(workspace.maxRows * sizeOf(shape));
  }

  forward(microbatch: Microbatch, x: number): number {
    this.#workspace.kernels.softmaxForward(x, microbatch.rows * this.#rowsPerSample, this.#columns, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    this.#workspace.kernels.softmaxBackward(
      dY,
      this.#y,
      microbatch.rows * this.#rowsPerSample,
      this.#columns,
    );
    return dY;
  }
}
