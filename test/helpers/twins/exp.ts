// The kernels' exp (assembly/math.ts), one value at a time, every operation rounded to float32.
import type { Arithmetic } from './arithmetic.ts';

const { fround } = Math;
const COEFFICIENTS = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
];

/** The kernels' bits in float32, the host's exp in float64. */
export function exponential(arithmetic: Arithmetic, x: number): number {
  return arithmetic.name === 'float32' ? singleExponential(x) : Math.exp(x);
}

function singleExponential(x: number): number {
  const low = fround(-87.33654);
  const high = fround(88.72283);
  if (Number.isNaN(x)) return x;
  if (x < low) return 0;
  if (x > high) return Number.POSITIVE_INFINITY;
  const n = Math.floor(mulAdd(x, fround(1.44269504), 0.5));
  let r = fround(x - fround(n * 0.693359375));
  r = fround(r - fround(n * fround(-2.1219444e-4)));
  const p = COEFFICIENTS.map(fround).reduce((sum, coefficient) => mulAdd(sum, r, coefficient));
  const whole = fround(mulAdd(p, fround(r * r), r) + 1);
  const half = n >> 1;
  return fround(fround(whole * 2 ** half) * 2 ** (n - half));
}

function mulAdd(a: number, b: number, c: number): number {
  return fround(fround(a * b) + c);
}
