// Activations and their slopes, one value at a time. tanh and sigmoid are the host's: not the kernels' bits.
import type { Activation } from '../../../src/layers/activation.ts';
import type { Arithmetic } from './arithmetic.ts';

/** The kernels hold the leak as float32, so the twin does in float64 too. */
const LEAK = Math.fround(0.01);

export function activate({ round }: Arithmetic, kind: Activation, x: number): number {
  switch (kind) {
    case 'linear':
      return x;
    case 'relu':
      return Number.isNaN(x) ? x : x > 0 ? x : 0;
    case 'leakyRelu':
      return x < 0 ? round(x * LEAK) : x;
    case 'tanh':
      return round(Math.tanh(x));
    case 'sigmoid':
      return round(1 / (1 + Math.exp(-x)));
    default:
      return kind satisfies never;
  }
}

/** f'(x) from y = f(x). */
export function slope({ round }: Arithmetic, kind: Activation, y: number): number {
  switch (kind) {
    case 'linear':
      return 1;
    case 'relu':
      return y > 0 ? 1 : 0;
    case 'leakyRelu':
      return y > 0 ? 1 : LEAK;
    case 'tanh':
      return round(1 - round(y * y));
    case 'sigmoid':
      return round(y * round(1 - y));
    default:
      return kind satisfies never;
  }
}
