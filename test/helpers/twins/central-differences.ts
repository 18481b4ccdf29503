// Gradients by central differences, in float64.

/** d f / d x[i]; `f` reads `x` as it stands. */
export function centralDifference(x: Float64Array, i: number, f: () => number, h = 1e-5): number {
  const value = x[i] as number;
  x[i] = value + h;
  const above = f();
  x[i] = value - h;
  const below = f();
  x[i] = value;
  return (above - below) / (2 * h);
}

/** The central differences for every i. */
export function centralDifferences(x: Float64Array, f: () => number, h?: number): Float64Array {
  return x.map((_, i) => centralDifference(x, i, f, h));
}

/** The largest difference, relative to the largest expected value. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const largest = Math.max(...Array.from(expected, Math.abs));
  return Math.max(...Array.from(expected, (value, i) => Math.abs(value - (actual[i] as number)))) / largest;
}

/** sum of x y: a loss whose gradient in x is y. */
export function inner(x: ArrayLike<number>, y: ArrayLike<number>): number {
  return Array.from(x, (value, i) => value * (y[i] as number)).reduce((a, b) => a + b, 0);
}
