// The one place where the two builds differ (asconfig.json): strict rounds the product, fused does not.

/**
 * a * b + c of f32x4. Fused it is `f32x4.relaxed_madd`: one rounding where the machine has a fused
 * instruction, as every machine does that passes the known-answer check (src/known-answer.ts).
 */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(c, f32x4.mul(a, b));
}
