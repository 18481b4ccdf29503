// exp and the functions made from it: in float32 the polynomials of assembly/math.ts
// and self-gated.ts, one value at a time and to the bit; in float64 the host's
// functions, or series that converge.
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

function expMinusOneNearZero(r: number): number {
  return f(f(polynomial([f(EXP[0] as number), ...EXP.slice(1)], r) * f(r * r)) + r);
}

/** e^x. */
export function exponential(arithmetic: Arithmetic, x: number): number {
  if (!isSingle(arithmetic)) return Math.exp(x);
  const [low, high] = [f(-87.33654), f(88.72283)];
  if (x < low) return 0;
  if (x > high) return Number.POSITIVE_INFINITY;
  const n = Math.floor(f(f(x * f(1.44269504)) + 0.5));
  const r = f(f(x - f(n * f(0.693359375))) - f(n * f(-2.1219444e-4)));
  const p = f(expMinusOneNearZero(r) + 1);
  const half = n >> 1;
  return f(f(p * 2 ** half) * 2 ** (n - half));
}

/** e^x - 1 for x <= 0. */
export function exponentialMinusOne(arithmetic: Arithmetic, x: number): number {
  if (!isSingle(arithmetic)) return Math.expm1(x);
  return x > f(-0.34) ? expMinusOneNearZero(x) : f(exponential(arithmetic, x) - 1);
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

/** e^(-a^2 / 2). */
export function bell(arithmetic: Arithmetic, a: number): number {
  if (!isSingle(arithmetic)) return Math.exp((-a * a) / 2);
  const high = new Float32Array(Uint32Array.of((bitsOf(a) & 0xfffff000) >>> 0).buffer)[0] as number;
  const low = f(a - high);
  const square = f(a * a);
  const error = f(f(low * low) + f(f(f(high * high) - square) + f(f(high + high) * low)));
  const main = exponential(arithmetic, -f(0.5 * square));
  return f(main - f(main * f(0.5 * error)));
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0] as number;
}

const TAIL = [
  -1.25690451e-4, 1.93157466e-4, 1.57546054e-3, -3.51847499e-3, -7.52912555e-3, 6.04045056e-2, -1.86522841e-1,
  3.87136877e-1, -6.07896626e-1, 7.55285144e-1,
];

/** P(N < -a) of the normal distribution, a >= 0. */
export function normalTail(arithmetic: Arithmetic, a: number): number {
  if (!isSingle(arithmetic)) return a < 3 ? 0.5 - centralShare(a) : density(a) / millsDenominator(a);
  const reciprocal = f(1 / f(a + 4));
  const s = f(1 - f(8 * reciprocal));
  const p = polynomial([f(TAIL[0] as number), ...TAIL.slice(1)], s);
  return f(bell(arithmetic, a) * f(p * reciprocal));
}

function density(a: number): number {
  return Math.exp((-a * a) / 2) / Math.sqrt(2 * Math.PI);
}

/** P(0 < N < a) by the series of Marsaglia (2004): density times a + a^3 / 3 + a^5 / 15 + ... */
function centralShare(a: number): number {
  let sum = 0;
  let term = a;
  for (let k = 3; sum + term !== sum; k += 2) {
    sum += term;
    term *= (a * a) / k;
  }
  return sum * density(a);
}

/** density / P(N < -a) = a + 1 / (a + 2 / (a + 3 / ...)) (Laplace, 1805). */
function millsDenominator(a: number): number {
  let value = a;
  for (let k = 200; k > 0; k--) value = a + k / value;
  return value;
}
