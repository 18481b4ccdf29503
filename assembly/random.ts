// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
// 3", SC 2011). A draw is a function of its key and counter alone, so it does not matter who computes it.
//
// key = (seed, purpose)   counter = (block of 4 elements, stream, epoch or step, layer)

const MULTIPLIER_0: u64 = 0xd2511f53;
const MULTIPLIER_1: u64 = 0xcd9e8d57;
const WEYL_0: u32 = 0x9e3779b9;
const WEYL_1: u32 = 0xbb67ae85;

/** Writes the four u32 of one Philox block to `out`. */
export function philox4x32(c0: u32, c1: u32, c2: u32, c3: u32, k0: u32, k1: u32, out: usize): void {
  for (let round = 0; round < 10; round++) {
    const p0 = MULTIPLIER_0 * <u64>c0;
    const p1 = MULTIPLIER_1 * <u64>c2;
    c0 = <u32>(p1 >> 32) ^ c1 ^ k0;
    c1 = <u32>p1;
    c2 = <u32>(p0 >> 32) ^ c3 ^ k1;
    c3 = <u32>p0;
    k0 += WEYL_0;
    k1 += WEYL_1;
  }
  store<u32>(out, c0);
  store<u32>(out, c1, 4);
  store<u32>(out, c2, 8);
  store<u32>(out, c3, 12);
}

/** A u32 to f32 in [0, 1), on the 24 bits that f32 can hold. */
// @ts-ignore: decorator
@inline
function unitInterval(bits: u32): f32 {
  return <f32>(bits >> 8) * <f32>5.9604644775390625e-8;
}

/** x[length] uniform in [-limit, limit). `block` is 16 bytes of scratch. */
export function fillUniform(
  x: usize,
  length: u32,
  limit: f32,
  seed: u32,
  purpose: u32,
  stream: u32,
  block: usize,
): void {
  for (let i: u32 = 0; i < length; i++) {
    if ((i & 3) == 0) philox4x32(i >> 2, stream, 0, 0, seed, purpose, block);
    const u = unitInterval(load<u32>(block + (<usize>(i & 3) << 2)));
    store<f32>(x + (<usize>i << 2), (u + u - 1) * limit);
  }
}

/** x[length] normal with mean 0 (Box and Muller, 1958; in f64). `block` is 16 bytes of scratch. */
export function fillNormal(
  x: usize,
  length: u32,
  deviation: f32,
  seed: u32,
  purpose: u32,
  stream: u32,
  block: usize,
): void {
  for (let i: u32 = 0; i < length; i++) {
    if ((i & 3) == 0) philox4x32(i >> 2, stream, 0, 0, seed, purpose, block);
    // Elements 0 and 1 of a block share one pair of draws, 2 and 3 the other: cosine and sine.
    const pair = block + (<usize>(i & 2) << 2);
    const radius = Math.sqrt(-2 * Math.log((<f64>load<u32>(pair) + 1) * 2.3283064365386963e-10));
    const angle = <f64>load<u32>(pair, 4) * (2 * Math.PI * 2.3283064365386963e-10);
    const z = radius * (i & 1 ? Math.sin(angle) : Math.cos(angle));
    store<f32>(x + (<usize>i << 2), <f32>(z * <f64>deviation));
  }
}
