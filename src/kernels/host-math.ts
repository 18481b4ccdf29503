// The functions that transforms, schedules and optimizers need and that a host may not
// compute: the bits of `**`, Math.log and its kin differ between engines, so the caller
// passes kernels that do not.
import type { Kernels } from './kernels.ts';

/** Natural logarithm, exponential and cosine, in f64, with the same bits everywhere. */
export interface HostMath {
  /** Natural logarithm. */
  log(x: number): number;
  /** e to the x. */
  exp(x: number): number;
  /** Cosine of x in radians. */
  cos(x: number): number;
}

/** The kernels' own functions: the same bits on every machine. */
export function hostMath(kernels: Kernels): HostMath {
  return {
    log: (x) => kernels.logF64(x),
    exp: (x) => kernels.expF64(x),
    cos: (x) => kernels.cosF64(x),
  };
}

/** Raises to a whole exponent from 0 by repeated squaring: multiplications only. */
export function integerPower(base: number, exponent: number): number {
  let result = 1;
  let square = base;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= square;
    square *= square;
  }
  return result;
}

/** Raises a base of at least 0 to an exponent of at least 0. */
export function power(base: number, exponent: number, math: HostMath): number {
  if (Number.isInteger(exponent)) return integerPower(base, exponent);
  return base === 0 ? 0 : math.exp(exponent * math.log(base));
}
