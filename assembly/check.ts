// Passes over a whole vector that look at it without changing it.
import { constant } from './math';

/** All of an exponent: of NaN and the infinities. */
const EXPONENT_BITS: usize = memory.data<u32>([0x7f800000]);

/** True when none of `length` f32 is NaN or infinite. */
export function allFinite(x: usize, length: u32): bool {
  const exponentBits = constant(EXPONENT_BITS);
  let bad = i32x4.splat(0);
  let i: u32 = 0;
  for (; i + 4 <= length; i += 4) {
    bad = v128.or(bad, i32x4.eq(v128.and(v128.load(x), exponentBits), exponentBits));
    x += 16;
  }
  if (v128.any_true(bad)) return false;
  for (; i < length; i++) {
    if ((load<u32>(x) & 0x7f800000) == 0x7f800000) return false;
    x += 4;
  }
  return true;
}

/** Sum of squares in f64, in four fixed lanes and then the tail; not finite where any value is not. */
export function sumSquares(x: usize, length: u32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  let i: u32 = 0;
  for (; i + 4 <= length; i += 4) {
    const v = v128.load(x);
    const a = f64x2.promote_low_f32x4(v);
    const b = f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 2, 3));
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
    x += 16;
  }
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  sum += f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1);
  for (; i < length; i++) {
    const v = <f64>load<f32>(x);
    sum += v * v;
    x += 4;
  }
  return sum;
}

/**
 * A 64-bit fingerprint of `length` 32-bit words at memory speed: NH (Black et al., UMAC, 1999) with keys
 * from a Weyl sequence, two words to a 32 x 32 -> 64 bit product, mixed at the end by SplitMix64's
 * finaliser. It guards against stale and damaged data, not against an adversary.
 */
export function fingerprint64(x: usize, length: u32): u64 {
  let keyA = i32x4(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);
  let keyB = i32x4(0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89);
  const stepA = i32x4.splat(0x9e3779b1);
  const stepB = i32x4.splat(0x85ebca77);
  let low = i64x2.splat(0);
  let high = i64x2.splat(0);
  let i: u32 = 0;
  for (; i + 8 <= length; i += 8) {
    const a = i32x4.add(v128.load(x), keyA);
    const b = i32x4.add(v128.load(x, 16), keyB);
    low = i64x2.add(low, i64x2.extmul_low_i32x4_u(a, b));
    high = i64x2.add(high, i64x2.extmul_high_i32x4_u(a, b));
    keyA = i32x4.add(keyA, stepA);
    keyB = i32x4.add(keyB, stepB);
    x += 32;
  }
  let hash = mix(<u64>length ^ <u64>i64x2.extract_lane(low, 0));
  hash = mix(hash ^ <u64>i64x2.extract_lane(low, 1));
  hash = mix(hash ^ <u64>i64x2.extract_lane(high, 0));
  hash = mix(hash ^ <u64>i64x2.extract_lane(high, 1));
  for (; i < length; i++) {
    hash = mix(hash ^ <u64>load<u32>(x));
    x += 4;
  }
  return hash;
}

/** SplitMix64's finaliser (Steele, Lea, Flood, 2014). */
function mix(value: u64): u64 {
  let z = value + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
