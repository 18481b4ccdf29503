// The register tile of the GEMM kernel (assembly/tile.ts), which whoever lays out operands must know.

/** Rows of C in a tile: the width of the panels of packed left operands. */
export const TILE_ROWS = 5;
/** Columns of C in a tile: the width of the panels of packed right operands. */
export const TILE_COLUMNS = 8;

/** f32 of a packed left operand of `rows` rows and depth `depth`. */
export function packedLeftLength(rows: number, depth: number): number {
  return Math.ceil(rows / TILE_ROWS) * TILE_ROWS * depth;
}

/** f32 of a packed right operand of depth `depth` and `columns` columns. */
export function packedRightLength(depth: number, columns: number): number {
  return Math.ceil(columns / TILE_COLUMNS) * TILE_COLUMNS * depth;
}

/** f32 of one register tile, the scratch of a product. */
export const TILE_LENGTH = TILE_ROWS * TILE_COLUMNS;

/** f32 of scratch for the tree product's stack of register tiles: enough for 2048 shards. */
export const TREE_TILES_LENGTH = 12 * TILE_LENGTH;
