// Initial weights by their names in the config. Limits and deviations: He et al., 2015 (fan-in,
// gain sqrt 2) and Glorot and Bengio, 2010.
import type { Activation } from './activation.ts';
import type { InitialValues } from './layer.ts';

/** `he*` scale by fan-in, `glorot*` by fan-in + fan-out. */
export const INITIALIZERS = ['heUniform', 'heNormal', 'glorotUniform', 'glorotNormal', 'zeros'] as const;
export type Initializer = (typeof INITIALIZERS)[number];

/** Values that feed one output of the layer, and values that one input feeds. */
export interface Fans {
  readonly fanIn: number;
  readonly fanOut: number;
}

/** The initial values that the initializer draws for a weight of these fans. */
export function initialValues(initializer: Initializer, { fanIn, fanOut }: Fans): InitialValues {
  switch (initializer) {
    case 'heUniform':
      return { kind: 'uniform', scale: Math.sqrt(6 / fanIn) };
    case 'heNormal':
      return { kind: 'normal', scale: Math.sqrt(2 / fanIn) };
    case 'glorotUniform':
      return { kind: 'uniform', scale: Math.sqrt(6 / (fanIn + fanOut)) };
    case 'glorotNormal':
      return { kind: 'normal', scale: Math.sqrt(2 / (fanIn + fanOut)) };
    case 'zeros':
      return { kind: 'constant', value: 0 };
    default:
      return initializer satisfies never;
  }
}

/**
 * The initializer for a layer that names none: relu and its smooth kin halve what they let
 * through, which He makes up for.
 */
export function defaultInitializer(activation: Activation): Initializer {
  const isBalanced = activation === 'linear' || activation === 'tanh' || activation === 'sigmoid';
  return isBalanced ? 'glorotUniform' : 'heUniform';
}
