// What a core can do at most, measured beside the kernels that are held against it: arithmetic and memory.
import { WIDE } from './tile';

/**
 * Runs `iterations` of 12 independent multiply-then-add chains on registers of the kernels' width
 * alone: 96 or 192 floating-point operations each. Twelve chains cover the latency of both units (3
 * cycles each, two of each a core). The one constant, 0.5, is a parameter: V8 from 24 on
 * builds others anew in every iteration. `values` points to f32 [96], which the chains change.
 */
export function peakMultiplyAdd(iterations: u32, half: f32, values: usize): void {
  if (WIDE) wideChains(iterations, half, values);
  else narrowChains(iterations, half, values);
}

/** Chains of 128 bits. */
function narrowChains(iterations: u32, half: f32, values: usize): void {
  const halves = f32x4.splat(half);
  let x0 = v128.load(values);
  let x1 = v128.load(values, 16);
  let x2 = v128.load(values, 32);
  let x3 = v128.load(values, 48);
  let x4 = v128.load(values, 64);
  let x5 = v128.load(values, 80);
  let x6 = v128.load(values, 96);
  let x7 = v128.load(values, 112);
  let x8 = v128.load(values, 128);
  let x9 = v128.load(values, 144);
  let x10 = v128.load(values, 160);
  let x11 = v128.load(values, 176);
  do {
    x0 = f32x4.add(f32x4.mul(x0, halves), halves);
    x1 = f32x4.add(f32x4.mul(x1, halves), halves);
    x2 = f32x4.add(f32x4.mul(x2, halves), halves);
    x3 = f32x4.add(f32x4.mul(x3, halves), halves);
    x4 = f32x4.add(f32x4.mul(x4, halves), halves);
    x5 = f32x4.add(f32x4.mul(x5, halves), halves);
    x6 = f32x4.add(f32x4.mul(x6, halves), halves);
    x7 = f32x4.add(f32x4.mul(x7, halves), halves);
    x8 = f32x4.add(f32x4.mul(x8, halves), halves);
    x9 = f32x4.add(f32x4.mul(x9, halves), halves);
    x10 = f32x4.add(f32x4.mul(x10, halves), halves);
    x11 = f32x4.add(f32x4.mul(x11, halves), halves);
  } while (--iterations);
  v128.store(values, x0);
  v128.store(values, x1, 16);
  v128.store(values, x2, 32);
  v128.store(values, x3, 48);
  v128.store(values, x4, 64);
  v128.store(values, x5, 80);
  v128.store(values, x6, 96);
  v128.store(values, x7, 112);
  v128.store(values, x8, 128);
  v128.store(values, x9, 144);
  v128.store(values, x10, 160);
  v128.store(values, x11, 176);
}

/** Chains of two neighbouring vectors, which V8 pairs. */
function wideChains(iterations: u32, half: f32, values: usize): void {
  const halves = f32x4.splat(half);
  let x0 = v128.load(values);
  let x1 = v128.load(values, 16);
  let x2 = v128.load(values, 32);
  let x3 = v128.load(values, 48);
  let x4 = v128.load(values, 64);
  let x5 = v128.load(values, 80);
  let x6 = v128.load(values, 96);
  let x7 = v128.load(values, 112);
  let x8 = v128.load(values, 128);
  let x9 = v128.load(values, 144);
  let x10 = v128.load(values, 160);
  let x11 = v128.load(values, 176);
  let x12 = v128.load(values, 192);
  let x13 = v128.load(values, 208);
  let x14 = v128.load(values, 224);
  let x15 = v128.load(values, 240);
  let x16 = v128.load(values, 256);
  let x17 = v128.load(values, 272);
  let x18 = v128.load(values, 288);
  let x19 = v128.load(values, 304);
  let x20 = v128.load(values, 320);
  let x21 = v128.load(values, 336);
  let x22 = v128.load(values, 352);
  let x23 = v128.load(values, 368);
  do {
    x0 = f32x4.add(f32x4.mul(x0, halves), halves);
    x1 = f32x4.add(f32x4.mul(x1, halves), halves);
    x2 = f32x4.add(f32x4.mul(x2, halves), halves);
    x3 = f32x4.add(f32x4.mul(x3, halves), halves);
    x4 = f32x4.add(f32x4.mul(x4, halves), halves);
    x5 = f32x4.add(f32x4.mul(x5, halves), halves);
    x6 = f32x4.add(f32x4.mul(x6, halves), halves);
    x7 = f32x4.add(f32x4.mul(x7, halves), halves);
    x8 = f32x4.add(f32x4.mul(x8, halves), halves);
    x9 = f32x4.add(f32x4.mul(x9, halves), halves);
    x10 = f32x4.add(f32x4.mul(x10, halves), halves);
    x11 = f32x4.add(f32x4.mul(x11, halves), halves);
    x12 = f32x4.add(f32x4.mul(x12, halves), halves);
    x13 = f32x4.add(f32x4.mul(x13, halves), halves);
    x14 = f32x4.add(f32x4.mul(x14, halves), halves);
    x15 = f32x4.add(f32x4.mul(x15, halves), halves);
    x16 = f32x4.add(f32x4.mul(x16, halves), halves);
    x17 = f32x4.add(f32x4.mul(x17, halves), halves);
    x18 = f32x4.add(f32x4.mul(x18, halves), halves);
    x19 = f32x4.add(f32x4.mul(x19, halves), halves);
    x20 = f32x4.add(f32x4.mul(x20, halves), halves);
    x21 = f32x4.add(f32x4.mul(x21, halves), halves);
    x22 = f32x4.add(f32x4.mul(x22, halves), halves);
    x23 = f32x4.add(f32x4.mul(x23, halves), halves);
  } while (--iterations);
  v128.store(values, x0);
  v128.store(values, x1, 16);
  v128.store(values, x2, 32);
  v128.store(values, x3, 48);
  v128.store(values, x4, 64);
  v128.store(values, x5, 80);
  v128.store(values, x6, 96);
  v128.store(values, x7, 112);
  v128.store(values, x8, 128);
  v128.store(values, x9, 144);
  v128.store(values, x10, 160);
  v128.store(values, x11, 176);
  v128.store(values, x12, 192);
  v128.store(values, x13, 208);
  v128.store(values, x14, 224);
  v128.store(values, x15, 240);
  v128.store(values, x16, 256);
  v128.store(values, x17, 272);
  v128.store(values, x18, 288);
  v128.store(values, x19, 304);
  v128.store(values, x20, 320);
  v128.store(values, x21, 336);
  v128.store(values, x22, 352);
  v128.store(values, x23, 368);
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
