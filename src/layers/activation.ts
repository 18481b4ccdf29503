// The elementwise functions that layers end with, by their numbers in the kernels.
import type { Site } from './layer.ts';

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
  readonly #site: Site;
  readonly #number: number;

  constructor(site: Site, activation: Activation, length: number) {
    this.#site = site;
    this.#number = activationNumber(activation);
    this.sums = site.activations(length);
    this.outputs = needsActivationInput(activation) ? site.activations(length) : this.sums;
  }

  /** y[rows, columns] = f(z + bias[columns]). */
  forward(bias: number, rows: number, columns: number): void {
    const { kernels } = this.#site;
    const isInPlace = this.outputs === this.sums;
    kernels.biasActivationForward(isInPlace ? this.#number : 0, this.sums, bias, rows, columns);
    if (!isInPlace) this.activate(rows * columns);
  }

  /** y[length] = f(z), for a layer that has added its bias already. */
  activate(length: number): void {
    this.#site.kernels.activationForward(this.#number, this.sums, this.outputs, length);
  }

  /** dY[length] *= f'(z), in place. */
  backward(dY: number, length: number): void {
    const { kernels } = this.#site;
    if (this.outputs === this.sums) kernels.activationBackward(this.#number, dY, this.outputs, length);
    else kernels.activationBackwardFromInput(this.#number, dY, this.sums, length);
  }
}
