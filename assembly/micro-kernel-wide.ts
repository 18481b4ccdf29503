// The micro-kernel of instances whose vectors V8 makes 256 bits wide (src/kernels/kernel-width.ts): as
// micro-kernel.ts, for two neighbouring panels of B at once.
//
// V8 pairs operations on neighbouring vectors only if nothing parts them: one step of depth an iteration,
// one function for each kind of store, and all loads of a row of C before its stores.
import { madd } from './madd';
import { LEFT_STEP, RIGHT_STEP } from './tile';

/** C[5, 16] = A B over a `depth` of at least 1; `panel` is the distance of the second panel of B from `b`. */
export function setWide(depth: u32, a: usize, b: usize, panel: usize, c: usize, strideBytes: usize): void {
  multiplyWide(depth, a, b, panel, c, strideBytes, false);
}

/** C[5, 16] += A B: an earlier block or a left sibling is in C. */
export function addWide(depth: u32, a: usize, b: usize, panel: usize, c: usize, strideBytes: usize): void {
  multiplyWide(depth, a, b, panel, c, strideBytes, true);
}

// @ts-ignore: decorator
@inline
function multiplyWide(
  depth: u32,
  a: usize,
  b: usize,
  panel: usize,
  c: usize,
  strideBytes: usize,
  accumulate: bool,
): void {
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c02 = f32x4.splat(0);
  let c03 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c12 = f32x4.splat(0);
  let c13 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c22 = f32x4.splat(0);
  let c23 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c32 = f32x4.splat(0);
  let c33 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c42 = f32x4.splat(0);
  let c43 = f32x4.splat(0);
  let d = b + panel;
  const end = b + <usize>depth * RIGHT_STEP;
  do {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(d);
    const b3 = v128.load(d, 16);
    let x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    c02 = madd(x, b2, c02);
    c03 = madd(x, b3, c03);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    c12 = madd(x, b2, c12);
    c13 = madd(x, b3, c13);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    c22 = madd(x, b2, c22);
    c23 = madd(x, b3, c23);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    c32 = madd(x, b2, c32);
    c33 = madd(x, b3, c33);
    x = v128.load32_splat(a, 16);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    c42 = madd(x, b2, c42);
    c43 = madd(x, b3, c43);
    a += LEFT_STEP;
    b += RIGHT_STEP;
    d += RIGHT_STEP;
  } while (b < end);
  storeWideRow(c, c00, c01, c02, c03, accumulate);
  c += strideBytes;
  storeWideRow(c, c10, c11, c12, c13, accumulate);
  c += strideBytes;
  storeWideRow(c, c20, c21, c22, c23, accumulate);
  c += strideBytes;
  storeWideRow(c, c30, c31, c32, c33, accumulate);
  c += strideBytes;
  storeWideRow(c, c40, c41, c42, c43, accumulate);
}

// @ts-ignore: decorator
@inline
function storeWideRow(c: usize, v0: v128, v1: v128, v2: v128, v3: v128, accumulate: bool): void {
  if (accumulate) {
    const c0 = v128.load(c);
    const c1 = v128.load(c, 16);
    const c2 = v128.load(c, 32);
    const c3 = v128.load(c, 48);
    v128.store(c, f32x4.add(c0, v0));
    v128.store(c, f32x4.add(c1, v1), 16);
    v128.store(c, f32x4.add(c2, v2), 32);
    v128.store(c, f32x4.add(c3, v3), 48);
  } else {
    v128.store(c, v0);
    v128.store(c, v1, 16);
    v128.store(c, v2, 32);
    v128.store(c, v3, 48);
  }
}
