// Statistics of the benchmarks.

/**
 * The middle value; for an even number of values the upper one of the middle two.
 * @throws RangeError without values.
 */
export function median(values: readonly number[]): number {
  const middle = [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  if (middle === undefined) throw new RangeError('nothing has no median');
  return middle;
}
