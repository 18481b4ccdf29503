// The register tile of the GEMM kernel (assembly/tile.ts), which whoever lays out operands must know.

/** Rows of C in a tile: the width of the panels of packed left operands. */
export const TILE_ROWS = 5;
/** Columns of C in a tile: the width of the panels of packed right operands. */
export const TILE_COLUMNS = 8;
/** Times that a packed left operand holds each value. */
export const LEFT_REPEATS = 4;
