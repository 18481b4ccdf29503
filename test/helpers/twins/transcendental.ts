// exp and the functions made from it: in float32 the polynomials of assembly/math.ts, one value at a time and to the bit;
// in float64 the host's functions.
import type { Arithmetic } from './arithmetic.ts';

const f = Math.fround;

function isSingle({ name }: Arithmetic): boolean {
  return name === 'float32';
}

/** The first coefficient belongs to the highest power; each product and sum is rounded. */
function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((p, coefficient) => f(f(p * x) + f(coefficient)));
}

const EXP = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
];

/** e^x. */
function exponential(arithmetic: Arithmetic, x: number): number {
  if (!isSingle(arithmetic)) return Math.exp(x);
  const [low, high] = [f(-87.33654), f(88.72283)];
  if (x < low) return 0;
  if (x > high) return Number.POSITIVE_INFINITY;
  const n = Math.floor(f(f(x * f(1.44269504)) + 0.5));
  const r = f(f(x - f(n * f(0.693359375))) - f(n * f(-2.1219444e-4)));
  const tail = f(f(polynomial([f(EXP[0] as number), ...EXP.slice(1)], r) * f(r * r)) + r);
  const p = f(tail + 1);
  const half = n >> 1;
  return f(f(p * 2 ** half) * 2 ** (n - half));
}

export function sigmoid(arithmetic: Arithmetic, x: number): number {
  const { round } = arithmetic;
  return round(1 / round(1 + exponential(arithmetic, -x)));
}

export function hyperbolicTangent(arithmetic: Arithmetic, x: number): number {
  if (!isSingle(arithmetic)) return Math.tanh(x);
  const magnitude = Math.abs(x);
  if (!(magnitude < 0.625)) {
    const large = f(1 - f(2 / f(exponential(arithmetic, f(magnitude + magnitude)) + 1)));
    return x < 0 ? -large : large;
  }
  const z = f(x * x);
  const p = polynomial(
    [f(-5.70498872745e-3), 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1],
    z,
  );
  const small = f(f(f(p * z) * magnitude) + magnitude);
  return Object.is(x, -0) || x < 0 ? -small : small;
}
