// The two number systems a twin runs in: float32, rounded after every operation, and float64.

export type Values = Float32Array | Float64Array;

/**
 * The rounding and storage of a twin. `round` of a float64 sum, product, quotient or root of float32 is exact
 * float32.
 */
export interface Arithmetic {
  readonly name: string;
  round(value: number): number;
  /** a * b + c, as the kernels' matrix products make it. */
  multiplyAdd(a: number, b: number, c: number): number;
  zeros(length: number): Values;
  from(values: ArrayLike<number>): Values;
}

export const single: Arithmetic = {
  name: 'float32',
  round: Math.fround,
  multiplyAdd: (a, b, c) => Math.fround(c + Math.fround(a * b)),
  zeros: (length) => new Float32Array(length),
  from: (values) => Float32Array.from(values),
};

/** Float32 of the fused kernels. */
export const fused: Arithmetic = { ...single, name: 'fused float32', multiplyAdd: fusedMultiplyAdd };

export const double: Arithmetic = {
  name: 'float64',
  round: (value) => value,
  multiplyAdd: (a, b, c) => c + a * b,
  zeros: (length) => new Float64Array(length),
  from: (values) => Float64Array.from(values),
};

const bits = new DataView(new ArrayBuffer(8));

/**
 * a * b + c of float32 with one rounding. The product is exact in float64; the sum is
 * rounded to odd there, which leaves the second rounding, to float32, the one that counts
 * (Boldo and Melquiond, 2008).
 */
function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b;
  const sum = product + c;
  if (!Number.isFinite(sum)) return Math.fround(sum);
  // The exact error of the sum (Knuth's TwoSum).
  const cPart = sum - product;
  const error = product - (sum - cPart) + (c - cPart);
  if (error === 0) return Math.fround(sum);
  bits.setFloat64(0, sum);
  const word = bits.getBigInt64(0);
  if ((word & 1n) === 0n) bits.setBigInt64(0, error > 0 === sum > 0 ? word + 1n : word - 1n);
  return Math.fround(bits.getFloat64(0));
}
