// A function of the layer below, as a layer of its own: elementwise, or softmax over the last axis.
import { z } from 'zod';
import { ACTIVATIONS, activationNumber, needsActivationInput } from './activation.ts';
import type { Activation } from './activation.ts';
import { formatShape, sizeOf } from './layer.ts';
import type { Layer, LayerRunner, Pass, Shape, Site } from './layer.ts';

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

  createRunner(site: Site): LayerRunner {
    return this.spec.function === 'softmax'
      ? new SoftmaxRunner(this.inputShape, site)
      : new ElementwiseRunner(this.spec.function, sizeOf(this.inputShape), site);
  }
}

class ElementwiseRunner implements LayerRunner {
  readonly #site: Site;
  readonly #number: number;
  readonly #needsInput: boolean;
  readonly #size: number;
  readonly #y: number;
  #x = 0;

  constructor(activation: Activation, size: number, site: Site) {
    this.#site = site;
    this.#number = activationNumber(activation);
    this.#needsInput = needsActivationInput(activation);
    this.#size = size;
    this.#y = site.activations(site.maxRows * size);
  }

  forward(pass: Pass, x: number): number {
    this.#x = x;
    this.#site.kernels.activationForward(this.#number, x, this.#y, pass.rows * this.#size);
    return this.#y;
  }

  backward(pass: Pass, dY: number): number {
    const { kernels } = this.#site;
    const length = pass.rows * this.#size;
    if (this.#needsInput) kernels.activationBackwardFromInput(this.#number, dY, this.#x, length);
    else kernels.activationBackward(this.#number, dY, this.#y, length);
    return dY;
  }
}

class SoftmaxRunner implements LayerRunner {
  readonly #site: Site;
  readonly #columns: number;
  readonly #rowsPerSample: number;
  readonly #y: number;

  constructor(shape: Shape, site: Site) {
    this.#site = site;
    this.#columns = shape.at(-1) as number;
    this.#rowsPerSample = sizeOf(shape) / this.#columns;
    this.#y = site.activations(site.maxRows * sizeOf(shape));
  }

  forward(pass: Pass, x: number): number {
    this.#site.kernels.softmaxForward(x, pass.rows * this.#rowsPerSample, this.#columns, this.#y);
    return this.#y;
  }

  backward(pass: Pass, dY: number): number {
    this.#site.kernels.softmaxBackward(dY, this.#y, pass.rows * this.#rowsPerSample, this.#columns);
    return dY;
  }
}
