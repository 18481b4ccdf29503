// Sums in bfloat16: f32 whose lower halves are zero. Rounding is to nearest, ties to even, and makes
// every NaN the same one, whose payload and sign the processor decides.
import { loadLanes, storeLanes, storePair } from './lanes';
import { constant } from './math';

/** Values that one vector of halves holds. */
const HALVES: u32 = 8;

/** Rounds `length` f32 in place. */
export function roundToBf16(x: usize, length: u32): void {
  roundValues(false, x, 0, length);
}

/** left[length] = left + right, rounded. */
export function addIntoBf16(left: usize, right: usize, length: u32): void {
  roundValues(true, left, right, length);
}

const LAST_BIT: usize = memory.data<u32>([1]);
const BELOW_HALF: usize = memory.data<u32>([0x7fff]);
const UPPER_HALF: usize = memory.data<u32>([0xffff0000]);
const NAN: usize = memory.data<u32>([0x7fc00000]);

/** left[length] = left, or left + right, rounded. */
// @ts-ignore: decorator
@inline
function roundValues(isSum: bool, left: usize, right: usize, length: u32): void {
  const lastBit = constant(LAST_BIT);
  const belowHalf = constant(BELOW_HALF);
  const upperHalf = constant(UPPER_HALF);
  const nan = constant(NAN);
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const x0 = isSum ? f32x4.add(v128.load(left), v128.load(right)) : v128.load(left);
    const x1 = isSum ? f32x4.add(v128.load(left, 16), v128.load(right, 16)) : v128.load(left, 16);
    storePair(
      left,
      rounded(x0, lastBit, belowHalf, upperHalf, nan),
      rounded(x1, lastBit, belowHalf, upperHalf, nan),
    );
    left += 32;
    right += 32;
  }
  for (; i < length; i++) {
    const x = isSum ? f32x4.add(loadLanes<f32>(left), loadLanes<f32>(right)) : loadLanes<f32>(left);
    storeLanes<f32>(left, rounded(x, lastBit, belowHalf, upperHalf, nan));
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
function rounded(x: v128, lastBit: v128, belowHalf: v128, upperHalf: v128, nan: v128): v128 {
  const isOdd = v128.and(i32x4.shr_u(x, 16), lastBit);
  // Less than half of the last place for even values, half of it for odd ones; a carry ends in infinity.
  const carried = i32x4.add(x, i32x4.add(isOdd, belowHalf));
  const nearest = v128.and(carried, upperHalf);
  return v128.bitselect(nan, nearest, f32x4.ne(x, x));
}
