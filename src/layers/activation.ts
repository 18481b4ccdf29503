// The elementwise functions that layers end with, by their numbers in the kernels.

/** In the order of the numbers in assembly/activation.ts; `linear` is the identity. */
export const ACTIVATIONS = ['linear', 'relu', 'leakyRelu', 'tanh', 'sigmoid'] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** The kernels' number of an activation. */
export function activationNumber(activation: Activation): number {
  return ACTIVATIONS.indexOf(activation);
}
