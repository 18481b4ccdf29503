// Host-side random draws: Philox4x32-10, a counter-based generator, in integer arithmetic only.
// There is no state to save: a draw is a pure function of (seed, purpose, counter). The kernels run the
// same generator over the same table of purposes, so no two uses ever read the same stream.
//
//   key     = [seed, purpose]
//   counter = [index, stream, epoch or step, layer]  one counter value gives four 32-bit words
//
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Random123).

/** The second key word of every draw in Lockstep, on the host and in the kernels. */
export const PURPOSE = { split: 1, order: 2, init: 3, dropout: 4, augment: 5, tune: 6 } as const;
export type Purpose = keyof typeof PURPOSE;

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const WORDS_PER_BLOCK = 4;

type Words2 = readonly [number, number];
type Words4 = readonly [number, number, number, number];

/** Fills `out` with the four 32-bit words that Philox4x32-10 gives for `counter` under `key`. */
export function philox4x32(counter: Words4, key: Words2, out: Uint32Array): void {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + WEYL_0) | 0;
    k1 = (k1 + WEYL_1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 bits of the unsigned product, from four 16-bit products that each fit 32 bits. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = Math.imul(aLow, bLow) >>> 16;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + low;
  const carry = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

/** The key of a shuffle; `epoch` tells apart repeated shuffles of one purpose. */
export interface ShuffleKey {
  readonly seed: number;
  readonly purpose: Purpose;
  readonly epoch: number;
}

/** The integers 0..length-1 in a random order (Fisher-Yates), every order equally likely. */
export function shuffledIndices(length: number, key: ShuffleKey): Uint32Array {
  const indices = new Uint32Array(length).map((_, index) => index);
  const draws = new DrawSequence(key);
  for (let last = length - 1; last > 0; last--) {
    const chosen = draws.below(last + 1);
    const kept = indices[last] as number;
    indices[last] = indices[chosen] as number;
    indices[chosen] = kept;
  }
  return indices;
}

/** Consecutive words of one Philox stream. */
class DrawSequence {
  readonly #key: Words2;
  readonly #epoch: number;
  readonly #block = new Uint32Array(WORDS_PER_BLOCK);
  #nextBlock = 0;
  #nextWord = WORDS_PER_BLOCK;

  constructor({ seed, purpose, epoch }: ShuffleKey) {
    this.#key = [seed, PURPOSE[purpose]];
    this.#epoch = epoch;
  }

  /** An unbiased integer in 0..bound-1: words below 2^32 mod bound are rejected. */
  below(bound: number): number {
    const rejected = (-bound >>> 0) % bound;
    let word = this.#word();
    while (word < rejected) word = this.#word();
    return word % bound;
  }

  #word(): number {
    if (this.#nextWord === WORDS_PER_BLOCK) {
      philox4x32([this.#nextBlock, 0, this.#epoch, 0], this.#key, this.#block);
      this.#nextBlock += 1;
      this.#nextWord = 0;
    }
    return this.#block[this.#nextWord++] as number;
  }
}
