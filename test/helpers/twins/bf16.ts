// bfloat16 by its definition: the nearer of the two neighbours whose lower halves are zero, of two
// equally near the even one, and one NaN.

/** Rounds a value. */
export function roundToBf16(value: number): number {
  if (Number.isNaN(value)) return Number.NaN;
  if (!Number.isFinite(value) || value === 0) return value;
  // Eight bits, of which the first lies at the exponent; those of subnormals end at 2^-133.
  const exponent = Math.max(exponentOf(Math.abs(value)), -126);
  const unit = 2 ** (exponent - 7);
  const scaled = Math.abs(value) / unit;
  const below = Math.floor(scaled);
  const isUp = scaled - below > 0.5 || (scaled - below === 0.5 && below % 2 === 1);
  const nearest = (isUp ? below + 1 : below) * unit;
  return Math.sign(value) * (nearest >= 2 ** 128 ? Infinity : nearest);
}

function exponentOf(value: number): number {
  let exponent = 0;
  for (; 2 ** exponent > value; exponent--);
  for (; 2 ** (exponent + 1) <= value; exponent++);
  return exponent;
}
