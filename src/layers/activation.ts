// The elementwise functions that layers end with, by their numbers in the kernels.
import type { Workspace } from './layer.ts';

/** In the order of the numbers in assembly/activation.ts; `linear` is the identity. */
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

/** Whether the derivative is a function of the input alone; of all others it is one of the output. */
export function needsActivationInput(activation: Activation): boolean {
  return activation === 'gelu' || activation === 'geluTanh' || activation === 'silu';
}

/**
 * The end of a layer: y = f(z + bias) of the sums z that the layer has computed. It owns their block: y overwrites z
 * where the derivative is a function of y, and has a block of its own where backward needs z.
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
    const { kernels } = this.#workspace;
    const saved = this.sums + 4 * start;
    if (this.outputs === this.sums) kernels.activationBackward(this.#number, dY, saved, length);
    else kernels.activationBackwardFromInput(this.#number, dY, saved, length);
  }
}
