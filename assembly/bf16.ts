// Sums in bfloat16: f32 whose lower halves are zero. Rounding is to nearest, ties to even, and makes
// every NaN the same one, whose payload and sign the processor decides.
import { loadLanes, storeLanes, storePair } from './lanes';

/** Values that one vector of halves holds. */
const HALVES: u32 = 8;

/** Rounds `length` f32 in place. */
export function roundToBf16(x: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 4 <= length; i += 4) {
    storeLanes<v128>(x, rounded(loadLanes<v128>(x)));
    x += 16;
  }
  for (; i < length; i++) {
    storeLanes<f32>(x, rounded(loadLanes<f32>(x)));
    x += 4;
  }
}

/** left[length] = left + right, rounded. */
export function addIntoBf16(left: usize, right: usize, length: u32): void {
  let i: u32 = 0;
  for (; i + 4 <= length; i += 4) {
    storeLanes<v128>(left, rounded(f32x4.add(loadLanes<v128>(left), loadLanes<v128>(right))));
    left += 16;
    right += 16;
  }
  for (; i < length; i++) {
    storeLanes<f32>(left, rounded(f32x4.add(loadLanes<f32>(left), loadLanes<f32>(right))));
    left += 4;
    right += 4;
  }
}

/** Writes the upper halves of `length` f32, u16 each, and 0 after an odd number; `halves` may be `x`. */
export function packBf16(x: usize, length: u32, halves: usize): void {
  let i: u32 = 0;
  for (; i + HALVES <= length; i += HALVES) {
    // prettier-ignore
    v128.store(halves, v128.shuffle<u16>(v128.load(x), v128.load(x, 16), 1, 3, 5, 7, 9, 11, 13, 15));
    x += 32;
    halves += 16;
  }
  for (; i < length; i++) {
    store<u16>(halves, load<u16>(x, 2));
    x += 4;
    halves += 2;
  }
  if (length % 2 == 1) store<u16>(halves, 0);
}

/** Reads what `packBf16` wrote; `halves` may lie at the end of `x`. */
export function unpackBf16(halves: usize, length: u32, x: usize): void {
  let i: u32 = 0;
  for (; i + HALVES <= length; i += HALVES) {
    const low = i32x4.shl(v128.load16x4_u(halves), 16);
    const high = i32x4.shl(v128.load16x4_u(halves, 8), 16);
    storePair(x, low, high);
    halves += 16;
    x += 32;
  }
  for (; i < length; i++) {
    store<u32>(x, <u32>load<u16>(halves) << 16);
    halves += 2;
    x += 4;
  }
}

/** The nearest bfloat16, or the one NaN. */
// @ts-ignore: decorator
@inline
function rounded(x: v128): v128 {
  const isOdd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  // Less than half of the last place for even values, half of it for odd ones; a carry ends in infinity.
  const carried = i32x4.add(x, i32x4.add(isOdd, i32x4.splat(0x7fff)));
  const nearest = v128.and(carried, i32x4.splat(<i32>0xffff0000));
  return v128.bitselect(i32x4.splat(0x7fc00000), nearest, f32x4.ne(x, x));
}
