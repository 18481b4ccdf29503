// The register tile of the matrix products, and the panels that follow from it.
//
// Letters: M rows and N columns of C, K the depth that is summed over, MR x NR the tile held in registers.
//
//   left (A):  panels of MR rows, each value four times   [ceil(M / MR)][K][MR][4]
//   right (B): panels of NR columns                       [ceil(N / NR)][K][NR]
//
// The left values are repeated because V8 computes an address of its own for every load that splats, but folds
// the offset of a plain load: 4 to 6 % of a product's time. Panels are zero-padded to full width.

/** Rows of a register tile: 5 x 8 keeps 10 accumulators, the most that V8 does not spill. */
export const MR: u32 = 5;
/** Columns of a register tile: two vectors. */
export const NR: u32 = 8;
/** Bytes of one depth step in a left panel. */
export const LEFT_STEP: usize = MR * 16;
/** Bytes of one depth step in a right panel. */
export const RIGHT_STEP: usize = NR * 4;
