// Philox against its authors' known answers, the host's generator and a BigInt twin; draws to the bit
// (uniform) or to the last bit of float32 (normal).
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { philox4x32 } from '../../src/random.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { normalElement, philox, uniformElement } from '../helpers/twins/random.ts';
import type { DrawKey } from '../helpers/twins/random.ts';
import { Arena, expectSameBits } from './arena.ts';

const LENGTHS = [1, 3, 4, 5, 7, 8, 9, 255, 256, 257];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

type Words = readonly [number, number, number, number];

function kernelPhilox(counter: Words, key: readonly [number, number]): number[] {
  const out = arena.room(16);
  arena.kernels.philox4x32(...counter, ...key, out);
  const words = [...arena.u32(out, 4)];
  arena.reset();
  return words;
}

function hostPhilox(counter: Words, key: readonly [number, number]): number[] {
  const out = new Uint32Array(4);
  philox4x32(counter, key, out);
  return [...out];
}

function fill(kind: 'fillUniform' | 'fillNormal', length: number, scale: number, key: DrawKey): Float32Array {
  const x = arena.room(4 * length);
  arena.kernels[kind](x, length, scale, key.seed, key.purpose, key.stream, arena.room(16));
  return arena.f32(x, length);
}

describe('philox4x32', () => {
  // From kat_vectors of Random123 1.14, "philox4x32 10".
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as [Words, [number, number], number[]][])(
    'philox4x32 gives the known answer for counter %j',
    (counter, key, expected) => {
      expect(kernelPhilox(counter, key)).toEqual(expected);
      expect(hostPhilox(counter, key)).toEqual(expected);
      expect(philox(counter, key)).toEqual(expected);
    },
  );

  it('philox4x32 is the same function in the kernels, on the host and in BigInt', () => {
    const word = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
        const expected = philox(counter, key);
        expect(kernelPhilox(counter, key)).toEqual(expected);
        expect(hostPhilox(counter, key)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });
});

const KEYS: DrawKey[] = [
  { seed: 0, purpose: 3, stream: 0 },
  { seed: 0xffffffff, purpose: 3, stream: 5 },
];

describe('fillUniform', () => {
  it.each(KEYS)('fillUniform matches its twin bit for bit at every length for %j', (key) => {
    for (const length of LENGTHS) {
      const expected = Array.from({ length }, (_, i) => uniformElement(single, i, 0.3, key));
      expectSameBits(fill('fillUniform', length, 0.3, key), expected, `length ${length}`);
      arena.reset();
    }
  });

  it('fillUniform has the mean and variance of [-1, 1) and stays inside', () => {
    const length = 200_000;
    const x = fill('fillUniform', length, 1, { seed: 1, purpose: 3, stream: 2 });
    expect(x.every((value) => value >= -1 && value < 1)).toBe(true);
    const { mean, variance } = moments(x);
    // Five standard errors: sqrt(1/3 / n) and sqrt(4/45 / n).
    expect(Math.abs(mean)).toBeLessThan(5 * Math.sqrt(1 / 3 / length));
    expect(Math.abs(variance - 1 / 3)).toBeLessThan(5 * Math.sqrt(4 / 45 / length));
  });
});

describe('fillNormal', () => {
  // The kernel computes in float64 with functions of its own, good to 1 ulp of float64, and rounds once:
  // it can differ from the twin only where that falls on either side of a rounding boundary of float32.
  it.each(KEYS)('fillNormal is within one float32 rounding of its twin at every length for %j', (key) => {
    for (const length of LENGTHS) {
      const actual = fill('fillNormal', length, 0.7, key);
      actual.forEach((value, i) => {
        const expected = normalElement(double, i, Math.fround(0.7), key);
        expect(Math.abs(value - expected)).toBeLessThanOrEqual(Math.abs(expected) * (2 ** -24 + 2 ** -40));
      });
      arena.reset();
    }
  });

  it('fillNormal has mean 0, variance 1, no skew and the kurtosis of a normal distribution', () => {
    const length = 200_000;
    const x = fill('fillNormal', length, 1, { seed: 1, purpose: 3, stream: 2 });
    const { mean, variance, skewness, kurtosis } = moments(x);
    // Five standard errors each.
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(length));
    expect(Math.abs(variance - 1)).toBeLessThan(5 * Math.sqrt(2 / length));
    expect(Math.abs(skewness)).toBeLessThan(5 * Math.sqrt(6 / length));
    expect(Math.abs(kurtosis - 3)).toBeLessThan(5 * Math.sqrt(24 / length));
  });
});

function moments(x: Float32Array): { mean: number; variance: number; skewness: number; kurtosis: number } {
  const average = (f: (value: number) => number): number =>
    x.reduce((sum, value) => sum + f(value), 0) / x.length;
  const mean = average((value) => value);
  const variance = average((value) => (value - mean) ** 2);
  const skewness = average((value) => (value - mean) ** 3) / variance ** 1.5;
  return { mean, variance, skewness, kurtosis: average((value) => (value - mean) ** 4) / variance ** 2 };
}
