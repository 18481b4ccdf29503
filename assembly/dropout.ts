// Dropout: the mask is a function of (seed, layer, step, sample, element), so it does not matter
// who draws it, and backward draws it again rather than keep it.
import { constant } from './math';

// These lie in memory for the reason that math.ts gives.
const MULTIPLIER_0: usize = memory.data<u32>([0xd2511f53]);
const MULTIPLIER_1: usize = memory.data<u32>([0xcd9e8d57]);
const WEYL_0: usize = memory.data<u32>([0x9e3779b9]);
const WEYL_1: usize = memory.data<u32>([0xbb67ae85]);
/** PURPOSE.dropout in src/random.ts: the second word of the key. */
const PURPOSE: u32 = 4;

/** Upper halves of the products of 4 x u32. */
// @ts-ignore: decorator
@inline
function multiplyHigh(a: v128, b: v128): v128 {
  return v128.shuffle<u32>(i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b), 1, 3, 5, 7);
}

/**
 * Draws the mask of 16 elements of one sample: 64 bytes at `mask`, all bits set where the element
 * is kept. Four blocks of Philox4x32-10 (random.ts) at once, one a lane: counter (block, sample,
 * step, layer), key (seed, purpose). Element e takes word e % 4 of block e / 4, and is dropped
 * where that is below `threshold`.
 */
// @ts-ignore: decorator
@inline
function drawMask(block: u32, sample: u32, step: u32, layer: u32, seed: u32, threshold: u32, mask: usize): void {
  const multiplier0 = constant(MULTIPLIER_0);
  const multiplier1 = constant(MULTIPLIER_1);
  const weyl0 = constant(WEYL_0);
  const weyl1 = constant(WEYL_1);
  let c0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
  let c1 = i32x4.splat(sample);
  let c2 = i32x4.splat(step);
  let c3 = i32x4.splat(layer);
  let key0 = i32x4.splat(seed);
  let key1 = i32x4.splat(PURPOSE);
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(c0, multiplier0);
    const low0 = i32x4.mul(c0, multiplier0);
    const high1 = multiplyHigh(c2, multiplier1);
    c0 = v128.xor(v128.xor(high1, c1), key0);
    c1 = i32x4.mul(c2, multiplier1);
    c2 = v128.xor(v128.xor(high0, c3), key1);
    c3 = low0;
    key0 = i32x4.add(key0, weyl0);
    key1 = i32x4.add(key1, weyl1);
  }
  const least = i32x4.splat(threshold);
  storeTransposed(
    i32x4.ge_u(c0, least),
    i32x4.ge_u(c1, least),
    i32x4.ge_u(c2, least),
    i32x4.ge_u(c3, least),
    mask,
  );
}

/** Turns vectors of a word of four blocks each into vectors of one block each. */
// @ts-ignore: decorator
@inline
function storeTransposed(a: v128, b: v128, c: v128, d: v128, to: usize): void {
  const abLow = v128.shuffle<u32>(a, b, 0, 4, 1, 5);
  const abHigh = v128.shuffle<u32>(a, b, 2, 6, 3, 7);
  const cdLow = v128.shuffle<u32>(c, d, 0, 4, 1, 5);
  const cdHigh = v128.shuffle<u32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<u32>(abLow, cdLow, 0, 1, 4, 5));
  v128.store(to, v128.shuffle<u32>(abLow, cdLow, 2, 3, 6, 7), 16);
  v128.store(to, v128.shuffle<u32>(abHigh, cdHigh, 0, 1, 4, 5), 32);
  v128.store(to, v128.shuffle<u32>(abHigh, cdHigh, 2, 3, 6, 7), 48);
}

/**
 * y[B, width] = scale x where kept, 0 elsewhere: forward, and with dY for x backward. `samples` are
 * the u32 [B] keys of the rows; `mask` is 64 bytes of scratch; `y` may be `x`.
 */
export function dropout(
  x: usize,
  rows: u32,
  width: u32,
  threshold: u32,
  scale: f32,
  seed: u32,
  layer: u32,
  step: u32,
  samples: usize,
  mask: usize,
  y: usize,
): void {
  const scales = f32x4.splat(scale);
  for (let row: u32 = 0; row < rows; row++) {
    const sample = load<u32>(samples + (<usize>row << 2));
    let j: u32 = 0;
    for (; j + 16 <= width; j += 16) {
      drawMask(j >> 2, sample, step, layer, seed, threshold, mask);
      v128.store(y, v128.and(f32x4.mul(v128.load(x), scales), v128.load(mask)));
      v128.store(y, v128.and(f32x4.mul(v128.load(x, 16), scales), v128.load(mask, 16)), 16);
      v128.store(y, v128.and(f32x4.mul(v128.load(x, 32), scales), v128.load(mask, 32)), 32);
      v128.store(y, v128.and(f32x4.mul(v128.load(x, 48), scales), v128.load(mask, 48)), 48);
      x += 64;
      y += 64;
    }
    if (j == width) continue;
    drawMask(j >> 2, sample, step, layer, seed, threshold, mask);
    for (let bits = mask; j < width; j++) {
      store<f32>(y, load<u32>(bits) ? load<f32>(x) * scale : 0);
      bits += 4;
      x += 4;
      y += 4;
    }
  }
}
