// Passes over a whole vector: finiteness, norm, fingerprint, and the peak measure.
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fingerprint, fingerprintKey } from '../helpers/twins/fingerprint.ts';
import { EXTREMES, FINITE_EXTREMES, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena } from './arena.ts';

const LENGTHS = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 256, 257];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

describe('allFinite', () => {
  const isFinite = (x: Float32Array): boolean => arena.kernels.allFinite(arena.put(x), x.length);

  it('allFinite is true for finite values of every kind and length', () => {
    for (const length of LENGTHS) expect(isFinite(randomValues(length, length))).toBe(true);
    for (const value of FINITE_EXTREMES) expect(isFinite(new Float32Array(7).fill(value))).toBe(true);
  });

  it('allFinite finds a single NaN or infinity at any position', () => {
    const bad = EXTREMES.filter((value) => !Number.isFinite(value));
    for (const length of LENGTHS.filter((n) => n <= 33)) {
      for (let i = 0; i < length; i++) {
        for (const value of bad) {
          const x = randomValues(1, length);
          x[i] = value;
          expect(isFinite(x)).toBe(false);
          arena.reset();
        }
      }
    }
  });
});

describe('sumSquares', () => {
  it('sumSquares matches its twin bit for bit, which sums four lanes and then the tail', () => {
    for (const length of LENGTHS) {
      const x = randomValues(length, length);
      const lanes = [0, 0, 0, 0];
      const wide = length - (length % 4);
      x.subarray(0, wide).forEach((value, i) => (lanes[i % 4] = (lanes[i % 4] as number) + value * value));
      const [a, b, c, d] = lanes as [number, number, number, number];
      const expected = x.subarray(wide).reduce((sum, value) => sum + value * value, a + b + (c + d));
      expect(arena.kernels.sumSquares(arena.put(x), length)).toBe(expected);
    }
  });

  it('sumSquares does not overflow where float32 would, and is not finite where a value is not', () => {
    const huge = new Float32Array(5).fill(3e38);
    expect(arena.kernels.sumSquares(arena.put(huge), 5)).toBe(5 * Math.fround(3e38) ** 2);
    huge[4] = Number.NaN;
    expect(arena.kernels.sumSquares(arena.put(huge), 5)).toBeNaN();
  });
});

describe('fingerprint64', () => {
  const kernel = (words: Uint32Array): bigint => {
    const result = arena.kernels.fingerprint64(arena.put(words), words.length);
    arena.reset();
    return result;
  };

  it('fingerprint64 equals its twin at every length', () => {
    for (const length of LENGTHS) {
      const words = randomWords(length, length);
      expect(kernel(words)).toBe(fingerprint(words));
    }
  });

  it('fingerprint64 equals its twin for words of all ones and all zeros, whose products are the largest', () => {
    for (const word of [0, 0xffffffff]) {
      const words = new Uint32Array(800).fill(word);
      expect(kernel(words)).toBe(fingerprint(words));
    }
  });

  it('fingerprint64 changes with any single bit', () => {
    const vector = fc.uint32Array({ minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(vector, fc.nat(), fc.integer({ min: 0, max: 31 }), (words, place, bit) => {
        const changed = words.slice();
        const i = place % words.length;
        changed[i] = (changed[i] as number) ^ (1 << bit);
        expect(kernel(changed)).not.toBe(kernel(words));
      }),
      { numRuns: 500 },
    );
  });

  it('fingerprint64 changes with the length and when two words are swapped', () => {
    const words = randomWords(1, 24);
    expect(kernel(words)).not.toBe(kernel(words.subarray(0, 23)));
    expect(kernel(new Uint32Array(8))).not.toBe(kernel(new Uint32Array(16)));
    for (let i = 1; i < 24; i++) {
      const swapped = words.slice();
      [swapped[0], swapped[i]] = [words[i] as number, words[0] as number];
      expect(kernel(swapped)).not.toBe(kernel(words));
    }
  });

  // A known limit: a word that cancels its key hides its partner, which happens in random data once
  // in 2^32 pairs.
  it('fingerprint64 is blind to the partner of a word that cancels its key', () => {
    const words = randomWords(1, 8);
    words[0] = -fingerprintKey('a', 0, 0);
    const changed = words.slice();
    changed[4] = (changed[4] as number) ^ 1;
    expect(kernel(changed)).toBe(kernel(words));
  });
});

describe('peakMultiplyAdd', () => {
  it.each([
    { width: 128, length: 48 },
    { width: 256, length: 96 },
  ] as const)('peakMultiplyAdd of $width-bit vectors computes x/2 + 1/2 in 12 chains', async (wanted) => {
    const { width, length } = wanted;
    const { kernels, memory } = await Arena.create('strict', width);
    const values = memory.allocate(4 * 96, 'values');
    memory.f32(values, 96).set(Float32Array.from({ length: 96 }, (_, i) => i / 10));
    kernels.peakMultiplyAdd(5, 0.5, values);
    const chain = (x: number): number => Math.fround(Math.fround(x * 0.5) + 0.5);
    const expected = Float32Array.from({ length: 96 }, (_, i) => {
      const first = Math.fround(i / 10);
      return i < length ? chain(chain(chain(chain(chain(first))))) : first;
    });
    expect(memory.f32(values, 96)).toEqual(expected);
  });
});
