// Powers with the same bits everywhere: what hosts offer (`**`, Math.pow) may differ in the last one.
import type { HostMath } from '../kernels/host-math.ts';

/** base^exponent, a whole number from 0, by repeated squaring: multiplications only. */
export function integerPower(base: number, exponent: number): number {
  let result = 1;
  let square = base;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= square;
    square *= square;
  }
  return result;
}

/** base^exponent for a base and an exponent of at least 0. */
export function power(base: number, exponent: number, math: HostMath): number {
  if (Number.isInteger(exponent)) return integerPower(base, exponent);
  return base === 0 ? 0 : math.exp(exponent * math.log(base));
}
