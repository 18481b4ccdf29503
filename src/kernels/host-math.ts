// The functions that transforms and schedules need and that a host may not compute: the bits of Math.log and
// its kin differ between engines, so the caller passes kernels that do not.
import type { Kernels } from './kernels.ts';

/** Natural logarithm, exponential and cosine, in f64, with the same bits everywhere. */
export interface HostMath {
  log(x: number): number;
  exp(x: number): number;
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
