// The elementwise functions that layers end with, by their numbers in the kernels; and an
// activation as a layer of its own.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type { Shape } from '../shape.ts';
import type { Layer, LayerRunner, Microbatch, Workspace } from './layer.ts';

/** Activations in the order of their numbers in assembly/activation.ts; `linear` is the identity. */
export const ACTIVATIONS = [
  'linear',
  'relu',
  'leakyRelu',
  'tanh',
  'sigmoid',
  'elu',
  'gelu',
  'geluTanh',
  'silu',
] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** The kernels' number of an activation. */
export function activationNumber(activation: Activation): number {
  return ACTIVATIONS.indexOf(activation);
}

/** True where the derivative is a function of the input alone; for all others it is one of the output. */
export function needsActivationInput(activation: Activation): boolean {
  return activation === 'gelu' || activation === 'geluTanh' || activation === 'silu';
}

/**
 * The end of a layer: y = f(z + bias) of the sums z that the layer has computed. It owns
 * their block: y overwrites z where the derivative is a function of y, and has a block of its
 * own where backward needs z.
 */
export class BiasActivation {
  /** Address that the layer writes its sums to, f32 [length]. */
  readonly sums: number;
  /** Address of y after `forward`. */
  readonly outputs: number;
  /** The kernels' number of what is applied together with the bias: f, or nothing where z is kept. */
  readonly withBias: number;
  readonly #workspace: Workspace;
  readonly #number: number;

  constructor(workspace: Workspace, activation: Activation, length: number) {
    const keepsInput = needsActivationInput(activation);
    this.#workspace = workspace;
    this.#number = activationNumber(activation);
    this.withBias = keepsInput ? activationNumber('linear') : this.#number;
    this.sums = workspace.activations(length);
    this.outputs = keepsInput ? workspace.activations(length) : this.sums;
  }

  /** y[rows, columns] = f(z + bias[columns]). */
  forward(bias: number, rows: number, columns: number): void {
    this.#workspace.kernels.biasActivationForward(this.withBias, this.sums, bias, rows, columns);
    this.finish(rows * columns);
  }

  /** y[length] = f(z), for a layer that has added the bias itself and applied `withBias`. */
  finish(length: number): void {
    if (this.outputs === this.sums) return;
    this.#workspace.kernels.activationForward(this.#number, this.sums, this.outputs, length);
  }

  /** dY[length] *= f'(z), in place; `dY` belongs to the values from `start` on. */
  backward(dY: number, length: number, start = 0): void {
    this.#workspace.kernels.activationBackward(this.#number, dY, this.sums + 4 * start, length);
  }
}

export const activationSchema = z.strictObject({
  kind: z.literal('activation'),
  function: z
    .enum([...ACTIVATIONS, 'softmax'])
    .exclude(['linear'])
    .describe('Applied to every value; softmax to the values of the last axis together'),
});

export type ActivationSpec = z.output<typeof activationSchema>;

/** An activation as a layer of its own: elementwise, or softmax over the last axis. */
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
    const saved = this.#needsInput ? this.#x : this.#y;
    this.#workspace.kernels.activationBackward(this.#number, dY, saved, microbatch.rows * this.#size);
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
