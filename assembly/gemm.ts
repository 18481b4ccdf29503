// Matrix products from packed panels (tile.ts, pack.ts): one micro-kernel serves NN, NT and TN,
// because packing transposes. Every element of C is one sum over k in ascending order, in blocks of
// KC, so its bits depend neither on M and N nor on where its tile lies.
import { addInto } from './activation';
import { microKernel } from './micro-kernel';
import { addWide, setWide } from './micro-kernel-wide';
import { LEFT_STEP, MR, NR, RIGHT_STEP, WIDE, min } from './tile';

/** Depth of one pass: panels of A (8 KB) and B (13 KB) lie in the L1 cache together. Part of the bits. */
const KC: u32 = 400;
/** Bytes of B that stay in the L2 cache while the rows of A go by. */
const BLOCK_BYTES: u32 = 256 << 10;

/** Bytes of a row of a scratch tile, and of a whole one: the wide tile has two panels of columns. */
const TILE_STRIDE: usize = 2 * NR * 4;
const TILE_BYTES: u32 = MR * <u32>TILE_STRIDE;

/** Columns of B in a block of `depth`, a multiple of two panels. */
// @ts-ignore: decorator
@inline
function blockColumns(depth: u32): u32 {
  return max(BLOCK_BYTES / (2 * depth * <u32>RIGHT_STEP), 1) * 2 * NR;
}

/** Columns of the tile at column `j`: two panels where vectors are wide, but for a last odd one. */
// @ts-ignore: decorator
@inline
function tileColumns(j: u32, n: u32): u32 {
  return WIDE && j + NR < n ? 2 * NR : NR;
}

/** One tile of `columns` columns: C = A B over `depth`, or C + A B. Panels of B are `panel` bytes apart. */
// @ts-ignore: decorator
@inline
function multiplyTile(
  columns: u32,
  depth: u32,
  a: usize,
  b: usize,
  panel: usize,
  c: usize,
  strideBytes: usize,
  accumulate: bool,
): void {
  if (columns == NR) microKernel(depth, a, b, c, strideBytes, accumulate);
  else if (accumulate) addWide(depth, a, b, panel, c, strideBytes);
  else setWide(depth, a, b, panel, c, strideBytes);
}

/** Copies the used part of a scratch tile into C, or adds it. */
function storeEdge(tile: usize, c: usize, strideBytes: usize, rows: u32, columns: u32, accumulate: bool): void {
  for (let r: u32 = 0; r < rows; r++) {
    let from = tile;
    let to = c;
    let j: u32 = 0;
    for (; j + 4 <= columns; j += 4) {
      const value = v128.load(from);
      v128.store(to, accumulate ? f32x4.add(v128.load(to), value) : value);
      from += 16;
      to += 16;
    }
    for (; j < columns; j++) {
      const value = load<f32>(from);
      store<f32>(to, accumulate ? load<f32>(to) + value : value);
      from += 4;
      to += 4;
    }
    tile += TILE_STRIDE;
    c += strideBytes;
  }
}

/**
 * C[M, N] = A B from packed panels; `stride` is the distance between rows of C in f32.
 * `tile` is scratch for one wide tile (320 bytes).
 */
export function gemmPacked(
  m: u32,
  n: u32,
  k: u32,
  packedA: usize,
  packedB: usize,
  c: usize,
  stride: u32,
  tile: usize,
): void {
  multiply(m, n, k, packedA, packedB, c, stride, tile, false);
}

/** C[M, N] += A B: as `gemmPacked`, whose first block of depth is added to C too. */
export function gemmPackedInto(
  m: u32,
  n: u32,
  k: u32,
  packedA: usize,
  packedB: usize,
  c: usize,
  stride: u32,
  tile: usize,
): void {
  multiply(m, n, k, packedA, packedB, c, stride, tile, true);
}

/**
 * Blocks of K outermost; C is added to from the second on. Rows of C are written along
 * N, as the cache likes it.
 */
function multiply(
  m: u32,
  n: u32,
  k: u32,
  packedA: usize,
  packedB: usize,
  c: usize,
  stride: u32,
  tile: usize,
  into: bool,
): void {
  const strideBytes: usize = <usize>stride << 2;
  const panel = <usize>k * RIGHT_STEP;
  for (let kStart: u32 = 0; kStart < k; kStart += KC) {
    const depth = min(KC, k - kStart);
    const accumulate = into || kStart > 0;
    const width = blockColumns(depth);
    for (let nStart: u32 = 0; nStart < n; nStart += width) {
      const nEnd = min(n, nStart + width);
      for (let i: u32 = 0; i < m; i += MR) {
        const a = packedA + <usize>i * k * 4 + <usize>kStart * LEFT_STEP;
        for (let j = nStart; j < nEnd; j += tileColumns(j, n)) {
          const columns = tileColumns(j, n);
          const b = packedB + <usize>j * k * 4 + <usize>kStart * RIGHT_STEP;
          const to = c + <usize>i * strideBytes + (<usize>j << 2);
          if (j + columns <= n && i + MR <= m) {
            multiplyTile(columns, depth, a, b, panel, to, strideBytes, accumulate);
          } else {
            multiplyTile(columns, depth, a, b, panel, tile, TILE_STRIDE, false);
            storeEdge(tile, to, strideBytes, min(MR, m - i), min(columns, n - j), accumulate);
          }
        }
      }
    }
  }
}

/**
 * C[M, N] = the tree sum over shards s of A_s B_s, each product over the depth rows
 * [bounds[s], bounds[s + 1]): the weight gradient of several shards at once, every tile of C
 * written once. The tree is the one of the numerics contract: neighbours pair up, an odd last one rises.
 * `bounds` points to u32 [numShards + 1]; `tiles` is scratch for 12 register tiles (up to 2048 shards).
 */
export function gemmPackedTree(
  m: u32,
  n: u32,
  k: u32,
  packedA: usize,
  packedB: usize,
  c: usize,
  stride: u32,
  bounds: usize,
  numShards: u32,
  tiles: usize,
): void {
  const strideBytes: usize = <usize>stride << 2;
  const panel = <usize>k * RIGHT_STEP;
  const width = blockColumns(k);
  for (let nStart: u32 = 0; nStart < n; nStart += width) {
    const nEnd = min(n, nStart + width);
    for (let i: u32 = 0; i < m; i += MR) {
      const a = packedA + <usize>i * k * 4;
      for (let j = nStart; j < nEnd; j += tileColumns(j, n)) {
        const columns = tileColumns(j, n);
        const b = packedB + <usize>j * k * 4;
        const to = c + <usize>i * strideBytes + (<usize>j << 2);
        if (j + columns <= n && i + MR <= m) {
          treeTile(columns, a, b, panel, bounds, numShards, to, strideBytes, tiles);
        } else {
          treeTile(columns, a, b, panel, bounds, numShards, tiles, TILE_STRIDE, tiles + TILE_BYTES);
          storeEdge(tiles, to, strideBytes, min(MR, m - i), min(columns, n - j), false);
        }
      }
    }
  }
}

/** One tile of `gemmPackedTree`: a stack of partial sums whose bottom is `first`, the others in `tiles`. */
function treeTile(
  columns: u32,
  a: usize,
  b: usize,
  panel: usize,
  bounds: usize,
  numShards: u32,
  first: usize,
  firstStride: usize,
  tiles: usize,
): void {
  let height: u32 = 0;
  for (let s: u32 = 0; s < numShards; s++) {
    const start = load<u32>(bounds + (<usize>s << 2));
    const depth = load<u32>(bounds + (<usize>s << 2), 4) - start;
    const isRight = s & 1;
    const slot = height - isRight;
    const to = slot == 0 ? first : tiles + (slot - 1) * TILE_BYTES;
    const stride = slot == 0 ? firstStride : TILE_STRIDE;
    const aStart = a + <usize>start * LEFT_STEP;
    const bStart = b + <usize>start * RIGHT_STEP;
    multiplyTile(columns, depth, aStart, bStart, panel, to, stride, <bool>isRight);
    height = slot + 1;
    for (let level = s >> 1; isRight && level & 1; level >>= 1) {
      height--;
      mergeTile(columns, height, first, firstStride, tiles);
    }
  }
  while (height > 1) {
    height--;
    mergeTile(columns, height, first, firstStride, tiles);
  }
}

/** Adds the stack's slot `right` to the slot below it. */
function mergeTile(columns: u32, right: u32, first: usize, firstStride: usize, tiles: usize): void {
  let from = tiles + (right - 1) * TILE_BYTES;
  let to = right == 1 ? first : from - TILE_BYTES;
  const stride = right == 1 ? firstStride : TILE_STRIDE;
  for (let r: u32 = 0; r < MR; r++) {
    addInto(to, from, columns);
    from += TILE_STRIDE;
    to += stride;
  }
}
