// Activations and their slopes, one value at a time.
import type { Activation } from '../../../src/layers/activation.ts';
import type { Arithmetic } from './arithmetic.ts';
import { bell, exponentialMinusOne, hyperbolicTangent, normalTail, sigmoid } from './transcendental.ts';

/** The kernels hold these as float32, so the twin does in float64 too. */
const LEAK = Math.fround(0.01);
const GATE_LINEAR = Math.fround(1.5957691216);
const GATE_CUBIC = Math.fround(0.0713548163);
const GATE_SLOPE = Math.fround(3 * GATE_CUBIC);

/** Beyond this the kernels treat the normal distribution's tail as 0. */
const TAIL_END = 14;

export function activate(arithmetic: Arithmetic, kind: Activation, x: number): number {
  const { round } = arithmetic;
  switch (kind) {
    case 'linear':
      return x;
    case 'relu':
      return Number.isNaN(x) ? x : x > 0 ? x : 0;
    case 'leakyRelu':
      return x < 0 ? round(x * LEAK) : x;
    case 'tanh':
      return hyperbolicTangent(arithmetic, x);
    case 'sigmoid':
      return sigmoid(arithmetic, x);
    case 'elu':
      return x > 0 ? x : exponentialMinusOne(arithmetic, x);
    case 'gelu':
      return round(x * normalDistribution(arithmetic, x));
    case 'geluTanh':
      return round(x * geluTanhGate(arithmetic, x));
    case 'silu':
      return round(x * sigmoid(arithmetic, x));
    default:
      return kind satisfies never;
  }
}

/** P(N < x). */
function normalDistribution(arithmetic: Arithmetic, x: number): number {
  const tail = normalTail(arithmetic, Math.min(Math.abs(x), TAIL_END));
  return x < 0 ? tail : arithmetic.round(1 - tail);
}

function geluTanhGate(arithmetic: Arithmetic, x: number): number {
  const { round } = arithmetic;
  const factor = round(round(GATE_CUBIC * round(x * x)) + GATE_LINEAR);
  return sigmoid(arithmetic, round(x * factor));
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
    case 'elu':
      return y > 0 ? 1 : round(y + 1);
    default:
      throw new Error(`the slope of ${kind} is no function of its output`);
  }
}

/** f'(x) from x. */
export function slopeFromInput(arithmetic: Arithmetic, kind: Activation, x: number): number {
  const { round } = arithmetic;
  switch (kind) {
    case 'gelu': {
      const density = round(
        bell(arithmetic, Math.min(Math.abs(x), TAIL_END)) * round(1 / Math.sqrt(2 * Math.PI)),
      );
      return round(normalDistribution(arithmetic, x) + round(x * density));
    }
    case 'geluTanh': {
      const s = geluTanhGate(arithmetic, x);
      const inner = round(round(GATE_SLOPE * round(x * x)) + GATE_LINEAR);
      return round(s + round(round(x * inner) * round(s * round(1 - s))));
    }
    case 'silu': {
      const s = sigmoid(arithmetic, x);
      return round(s * round(round(x * round(1 - s)) + 1));
    }
    default:
      return slope(arithmetic, kind, activate(arithmetic, kind, x));
  }
}
