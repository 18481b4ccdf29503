// The two functions that target transforms need and that a host may not compute: the bits of Math.log and
// Math.exp differ between engines, so the caller passes kernels that do not.
import type { Kernels } from '../kernels/kernels.ts';

/** Natural logarithm and exponential with the same bits everywhere. */
export interface HostMath {
  log(x: number): number;
  exp(x: number): number;
}

/** The kernels' own functions: the same bits on every machine. */
export function hostMath(kernels: Kernels): HostMath {
  return { log: (x) => kernels.logF64(x), exp: (x) => kernels.expF64(x) };
}
