// The register tile of the matrix products, and the panels that follow from it.
//
// Letters: M rows and N columns of C, K the depth that is summed over, MR x NR the tile held in registers.
//
//   left (A):  panels of MR rows      [ceil(M / MR)][K][MR]
//   right (B): panels of NR columns   [ceil(N / NR)][K][NR]
//
// Panels are zero-padded to full width.

/** Rows of a register tile: 5 x 8 keeps 10 accumulators, the most that V8 does not spill. */
export const MR: u32 = 5;
/** Columns of a register tile: two vectors. */
export const NR: u32 = 8;
/** Bytes of one depth step in a left panel. */
export const LEFT_STEP: usize = MR * 4;
/** Bytes of one depth step in a right panel. */
export const RIGHT_STEP: usize = NR * 4;

/** Whether V8 makes pairs of vectors of this instance one of 256 bits: then a tile has two panels of columns. */
// @ts-ignore: decorator
@external("env", "wide")
export declare const WIDE: i32;

// @ts-ignore: decorator
@inline
export function min(a: u32, b: u32): u32 {
  return select<u32>(a, b, a < b);
}
