// What a core can do at most, measured beside the kernels that are held against it: arithmetic and memory.

/**
 * Runs `iterations` of 12 independent multiply-then-add chains on registers alone: 96
 * floating-point operations each. Twelve chains cover the latency of both units (3 cycles each, two
 * of each a core); one shared constant leaves V8 enough registers to spill none, which two did not.
 * Returns a sum of the chains, so that none is removed.
 */
export function peakMultiplyAdd(iterations: u32): f32 {
  const half = f32x4.splat(0.5);
  let a = f32x4.splat(0.0);
  let b = f32x4.splat(0.1);
  let c = f32x4.splat(0.2);
  let d = f32x4.splat(0.3);
  let e = f32x4.splat(0.4);
  let f = f32x4.splat(0.5);
  let g = f32x4.splat(0.6);
  let h = f32x4.splat(0.7);
  let i = f32x4.splat(0.8);
  let j = f32x4.splat(0.9);
  let k = f32x4.splat(1.0);
  let l = f32x4.splat(1.1);
  for (let n: u32 = 0; n < iterations; n++) {
    a = f32x4.add(f32x4.mul(a, half), half);
    b = f32x4.add(f32x4.mul(b, half), half);
    c = f32x4.add(f32x4.mul(c, half), half);
    d = f32x4.add(f32x4.mul(d, half), half);
    e = f32x4.add(f32x4.mul(e, half), half);
    f = f32x4.add(f32x4.mul(f, half), half);
    g = f32x4.add(f32x4.mul(g, half), half);
    h = f32x4.add(f32x4.mul(h, half), half);
    i = f32x4.add(f32x4.mul(i, half), half);
    j = f32x4.add(f32x4.mul(j, half), half);
    k = f32x4.add(f32x4.mul(k, half), half);
    l = f32x4.add(f32x4.mul(l, half), half);
  }
  const low = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(e, f));
  const high = f32x4.add(f32x4.add(f32x4.add(g, h), f32x4.add(i, j)), f32x4.add(k, l));
  return f32x4.extract_lane(f32x4.add(low, high), 0);
}

/**
 * The STREAM triad (McCalpin, 1995), a = b + c / 2 over `length` f32, a multiple of 16: the memory
 * bandwidth that one core reaches.
 */
export function streamTriad(a: usize, b: usize, c: usize, length: u32): void {
  const half = f32x4.splat(0.5);
  const end = a + (<usize>length << 2);
  while (a < end) {
    v128.store(a, f32x4.add(v128.load(b), f32x4.mul(v128.load(c), half)));
    v128.store(a, f32x4.add(v128.load(b, 16), f32x4.mul(v128.load(c, 16), half)), 16);
    v128.store(a, f32x4.add(v128.load(b, 32), f32x4.mul(v128.load(c, 32), half)), 32);
    v128.store(a, f32x4.add(v128.load(b, 48), f32x4.mul(v128.load(c, 48), half)), 48);
    a += 64;
    b += 64;
    c += 64;
  }
}
