// The two functions that target transforms need and that a host may not compute: the bits of Math.log and
// Math.exp differ between engines, so the caller passes kernels that do not.

/** Natural logarithm and exponential with the same bits everywhere. */
export interface HostMath {
  log(x: number): number;
  exp(x: number): number;
}
