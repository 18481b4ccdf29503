// The inner loop of every matrix product: one register tile of C over a run of depth.
//
// Its form is what V8's compiler wants to see; docs/performance.md has the figures.
// - Four steps of depth share one loop test and V8's stack check, which cost as much as a fifth of a step.
// - A condition parts the steps. Without it V8 schedules them as one and spills a third of the tile.
// - At a join V8 emits the additions in the reverse order of their variables, so the steps before
//   a join are written backwards: then each load stands beside its use.
// - `a` moves with every step, so that all steps share five offsets: a load that splats has
//   its address in a register.
// - Both pointers come out of a subtraction: V8 zero-extends a parameter at every use, but not a difference.
import { madd } from './madd';
import { LEFT_STEP, RIGHT_STEP } from './tile';

/**
 * C[5, 8] = A B over `depth`, or C + A B where `accumulate` (an earlier block or a left sibling is in C).
 * `a` and `b` point into packed panels. A depth that is no multiple of four enters the loop at a later step.
 */
export function microKernel(depth: u32, a: usize, b: usize, c: usize, strideBytes: usize, accumulate: bool): void {
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
  const first = b;
  const end = b + <usize>depth * RIGHT_STEP;
  const skipped = <usize>(-depth & 3);
  a -= skipped * LEFT_STEP;
  b -= skipped * RIGHT_STEP;
  while (b < end) {
    if (b >= first) {
      const b1 = v128.load(b, 16);
      const b0 = v128.load(b);
      let x = v128.load32_splat(a, 16);
      c41 = madd(x, b1, c41);
      c40 = madd(x, b0, c40);
      x = v128.load32_splat(a, 12);
      c31 = madd(x, b1, c31);
      c30 = madd(x, b0, c30);
      x = v128.load32_splat(a, 8);
      c21 = madd(x, b1, c21);
      c20 = madd(x, b0, c20);
      x = v128.load32_splat(a, 4);
      c11 = madd(x, b1, c11);
      c10 = madd(x, b0, c10);
      x = v128.load32_splat(a);
      c01 = madd(x, b1, c01);
      c00 = madd(x, b0, c00);
    }
    a += LEFT_STEP;
    if (b + RIGHT_STEP >= first) {
      const b1 = v128.load(b, RIGHT_STEP + 16);
      const b0 = v128.load(b, RIGHT_STEP);
      let x = v128.load32_splat(a, 16);
      c41 = madd(x, b1, c41);
      c40 = madd(x, b0, c40);
      x = v128.load32_splat(a, 12);
      c31 = madd(x, b1, c31);
      c30 = madd(x, b0, c30);
      x = v128.load32_splat(a, 8);
      c21 = madd(x, b1, c21);
      c20 = madd(x, b0, c20);
      x = v128.load32_splat(a, 4);
      c11 = madd(x, b1, c11);
      c10 = madd(x, b0, c10);
      x = v128.load32_splat(a);
      c01 = madd(x, b1, c01);
      c00 = madd(x, b0, c00);
    }
    a += LEFT_STEP;
    if (b + 2 * RIGHT_STEP >= first) {
      const b1 = v128.load(b, 2 * RIGHT_STEP + 16);
      const b0 = v128.load(b, 2 * RIGHT_STEP);
      let x = v128.load32_splat(a, 16);
      c41 = madd(x, b1, c41);
      c40 = madd(x, b0, c40);
      x = v128.load32_splat(a, 12);
      c31 = madd(x, b1, c31);
      c30 = madd(x, b0, c30);
      x = v128.load32_splat(a, 8);
      c21 = madd(x, b1, c21);
      c20 = madd(x, b0, c20);
      x = v128.load32_splat(a, 4);
      c11 = madd(x, b1, c11);
      c10 = madd(x, b0, c10);
      x = v128.load32_splat(a);
      c01 = madd(x, b1, c01);
      c00 = madd(x, b0, c00);
    }
    a += LEFT_STEP;
    const b0 = v128.load(b, 3 * RIGHT_STEP);
    const b1 = v128.load(b, 3 * RIGHT_STEP + 16);
    let x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    x = v128.load32_splat(a, 16);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    a += LEFT_STEP;
    b += 4 * RIGHT_STEP;
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
