// The two number systems a twin runs in: float32, rounded after every operation, and float64.

export type Values = Float32Array | Float64Array;

/** How a twin rounds and stores. `round` of a float64 sum, product, quotient or root of float32 is exact float32. */
export interface Arithmetic {
  readonly name: string;
  round(value: number): number;
  zeros(length: number): Values;
  from(values: ArrayLike<number>): Values;
}

export const single: Arithmetic = {
  name: 'float32',
  round: Math.fround,
  zeros: (length) => new Float32Array(length),
  from: (values) => Float32Array.from(values),
};

export const double: Arithmetic = {
  name: 'float64',
  round: (value) => value,
  zeros: (length) => new Float64Array(length),
  from: (values) => Float64Array.from(values),
};
