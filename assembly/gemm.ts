// Matrix products from packed panels (tile.ts, pack.ts): one micro-kernel serves NN, NT and TN, because packing
// transposes. Every element of C is one sum over k in ascending order, in blocks of KC, so its bits depend neither
// on M and N nor on where its tile lies.
import { LEFT_STEP, MR, NR, RIGHT_STEP } from './tile';

/** Depth of one pass: an NR x KC panel of B (8 KiB) stays in the L1 cache. Part of the bits. */
const KC: u32 = 256;
/** Rows of A held in the L2 cache (240 KiB a pass) while all of B goes by. */
const MC: u32 = 60;

const TILE_BYTES: u32 = MR * NR * 4;

// @ts-ignore: decorator
@inline
function min(a: u32, b: u32): u32 {
  return select<u32>(a, b, a < b);
}

/**
 * C[5, 8] = A B over `depth`, or C + A B where `accumulate` (an earlier block or a left sibling is in C).
 * `a` and `b` point into packed panels.
 */
function microKernel(depth: u32, a: usize, b: usize, c: usize, strideBytes: usize, accumulate: bool): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  const end = b + <usize>depth * RIGHT_STEP;
  while (b < end) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load(a);
    c00 = f32x4.add(c00, f32x4.mul(a0, b0));
    c01 = f32x4.add(c01, f32x4.mul(a0, b1));
    const a1 = v128.load(a, 16);
    c10 = f32x4.add(c10, f32x4.mul(a1, b0));
    c11 = f32x4.add(c11, f32x4.mul(a1, b1));
    const a2 = v128.load(a, 32);
    c20 = f32x4.add(c20, f32x4.mul(a2, b0));
    c21 = f32x4.add(c21, f32x4.mul(a2, b1));
    const a3 = v128.load(a, 48);
    c30 = f32x4.add(c30, f32x4.mul(a3, b0));
    c31 = f32x4.add(c31, f32x4.mul(a3, b1));
    const a4 = v128.load(a, 64);
    c40 = f32x4.add(c40, f32x4.mul(a4, b0));
    c41 = f32x4.add(c41, f32x4.mul(a4, b1));
    a += LEFT_STEP;
    b += RIGHT_STEP;
  }
  storeRow(c, c00, c01, accumulate);
  c += strideBytes;
  storeRow(c, c10, c11, accumulate);
  c += strideBytes;
  storeRow(c, c20, c21, accumulate);
  c += strideBytes;
  storeRow(c, c30, c31, accumulate);
  c += strideBytes;
  storeRow(c, c40, c41, accumulate);
}

// @ts-ignore: decorator
@inline
function storeRow(c: usize, low: v128, high: v128, accumulate: bool): void {
  if (accumulate) {
    v128.store(c, f32x4.add(v128.load(c), low));
    v128.store(c, f32x4.add(v128.load(c, 16), high), 16);
  } else {
    v128.store(c, low);
    v128.store(c, high, 16);
  }
}

/** Copies the used part of a scratch tile into C, or adds it. */
function storeEdge(tile: usize, c: usize, strideBytes: usize, rows: u32, columns: u32, accumulate: bool): void {
  for (let r: u32 = 0; r < rows; r++) {
    for (let j: u32 = 0; j < columns; j++) {
      const from = tile + (<usize>(r * NR + j) << 2);
      const to = c + <usize>r * strideBytes + (<usize>j << 2);
      const value = load<f32>(from);
      store<f32>(to, accumulate ? load<f32>(to) + value : value);
    }
  }
}

/**
 * C[M, N] = A B from packed panels; `stride` is the distance between rows of C in f32.
 * `tile` is scratch for one register tile (160 bytes).
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

/** Blocks of K outermost, so that the panels of a block stay in cache; C is added to from the second on. */
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
  for (let kStart: u32 = 0; kStart < k; kStart += KC) {
    const depth = min(KC, k - kStart);
    const accumulate = into || kStart > 0;
    for (let mStart: u32 = 0; mStart < m; mStart += MC) {
      const mEnd = min(m, mStart + MC);
      for (let j: u32 = 0; j < n; j += NR) {
        const b = packedB + ((<usize>j * k + <usize>kStart * NR) << 2);
        const columns = min(NR, n - j);
        for (let i = mStart; i < mEnd; i += MR) {
          const a = packedA + ((<usize>i * k + <usize>kStart * MR) << 4);
          const to = c + <usize>i * strideBytes + (<usize>j << 2);
          if (columns == NR && i + MR <= m) {
            microKernel(depth, a, b, to, strideBytes, accumulate);
          } else {
            microKernel(depth, a, b, tile, NR << 2, false);
            storeEdge(tile, to, strideBytes, min(MR, m - i), columns, accumulate);
          }
        }
      }
    }
  }
}

/**
 * C[M, N] = the tree sum over segments s of A_s B_s, each product over the depth rows
 * [segments[s], segments[s + 1]): the weight gradient of several shards at once, every tile of C
 * written once. The tree is the one of the numerics contract: neighbours pair up, an odd last one rises.
 * `segments` points to u32 [numSegments + 1]; `tiles` is scratch for 12 register tiles (up to 2048 segments).
 */
export function gemmPackedTree(
  m: u32,
  n: u32,
  k: u32,
  packedA: usize,
  packedB: usize,
  c: usize,
  stride: u32,
  segments: usize,
  numSegments: u32,
  tiles: usize,
): void {
  const strideBytes: usize = <usize>stride << 2;
  for (let j: u32 = 0; j < n; j += NR) {
    const b = packedB + ((<usize>j * k) << 2);
    const columns = min(NR, n - j);
    for (let i: u32 = 0; i < m; i += MR) {
      const a = packedA + ((<usize>i * k) << 4);
      const to = c + <usize>i * strideBytes + (<usize>j << 2);
      if (columns == NR && i + MR <= m) {
        treeTile(a, b, segments, numSegments, to, strideBytes, tiles);
      } else {
        treeTile(a, b, segments, numSegments, tiles, NR << 2, tiles + TILE_BYTES);
        storeEdge(tiles, to, strideBytes, min(MR, m - i), columns, false);
      }
    }
  }
}

/** One tile of `gemmPackedTree`: a stack of partial sums whose bottom is `first`, the others in `tiles`. */
function treeTile(
  a: usize,
  b: usize,
  segments: usize,
  numSegments: u32,
  first: usize,
  firstStride: usize,
  tiles: usize,
): void {
  let height: u32 = 0;
  for (let s: u32 = 0; s < numSegments; s++) {
    const start = load<u32>(segments + (<usize>s << 2));
    const depth = load<u32>(segments + (<usize>s << 2), 4) - start;
    const isRight = s & 1;
    const slot = height - isRight;
    const to = slot == 0 ? first : tiles + (slot - 1) * TILE_BYTES;
    const stride: usize = slot == 0 ? firstStride : NR << 2;
    microKernel(depth, a + <usize>start * LEFT_STEP, b + <usize>start * RIGHT_STEP, to, stride, <bool>isRight);
    height = slot + 1;
    for (let level = s >> 1; isRight && level & 1; level >>= 1) {
      height--;
      mergeTile(height, first, firstStride, tiles);
    }
  }
  while (height > 1) {
    height--;
    mergeTile(height, first, firstStride, tiles);
  }
}

/** Adds the stack's slot `right` to the slot below it. */
function mergeTile(right: u32, first: usize, firstStride: usize, tiles: usize): void {
  let from = tiles + (right - 1) * TILE_BYTES;
  let to = right == 1 ? first : from - TILE_BYTES;
  const stride: usize = right == 1 ? firstStride : NR << 2;
  for (let r: u32 = 0; r < MR; r++) {
    v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
    v128.store(to, f32x4.add(v128.load(to, 16), v128.load(from, 16)), 16);
    from += NR << 2;
    to += stride;
  }
}
