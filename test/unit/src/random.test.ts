import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { philox4x32, shuffledIndices } from '../../../src/random.ts';

function blockOf(counter: [number, number, number, number], key: [number, number]): string {
  const out = new Uint32Array(4);
  philox4x32(counter, key, out);
  return [...out].map((word) => word.toString(16).padStart(8, '0')).join(' ');
}

describe('philox4x32', () => {
  // The known answers of Random123 for philox4x32-10.
  test.each([
    { counter: [0, 0, 0, 0], key: [0, 0], words: '6627e8d5 e169c58d bc57ac4c 9b00dbd8' },
    {
      counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      key: [0xffffffff, 0xffffffff],
      words: '408f276d 41c83b0e a20bc7c6 6d5451fd',
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      words: 'd16cfe09 94fdcceb 5001e420 24126ea1',
    },
  ] as const)('philox4x32 gives the published words for counter $counter', ({ counter, key, words }) => {
    expect(blockOf([...counter], [...key])).toBe(words);
  });
});

describe('shuffledIndices', () => {
  test('shuffledIndices gives a permutation for every length, seed and epoch', () => {
    const lengths = fc.integer({ min: 0, max: 500 });
    const words = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(lengths, words, words, (length, seed, epoch) => {
        const indices = shuffledIndices(length, { seed, purpose: 'order', epoch });
        expect([...indices].sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, index) => index));
      }),
    );
  });

  test('shuffledIndices gives the same order for the same key, and another for another seed, purpose or epoch', () => {
    const key = { seed: 7, purpose: 'order', epoch: 3 } as const;
    const order = shuffledIndices(100, key);
    expect(shuffledIndices(100, key)).toEqual(order);
    expect(shuffledIndices(100, { ...key, seed: 8 })).not.toEqual(order);
    expect(shuffledIndices(100, { ...key, epoch: 4 })).not.toEqual(order);
    expect(shuffledIndices(100, { ...key, purpose: 'split' })).not.toEqual(order);
  });

  // From an independent implementation, in Python's integers.
  test('shuffledIndices keeps its golden order: a change would silently change every trained model', () => {
    expect([...shuffledIndices(10, { seed: 7, purpose: 'order', epoch: 0 })]).toEqual([
      4, 5, 9, 8, 6, 2, 1, 7, 3, 0,
    ]);
  });

  test('shuffledIndices puts every value in every place equally often', () => {
    const counts = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
    const numShuffles = 5000;
    for (let epoch = 0; epoch < numShuffles; epoch++) {
      for (const [place, value] of shuffledIndices(5, { seed: 1, purpose: 'order', epoch }).entries()) {
        (counts[place] as number[])[value] = ((counts[place] as number[])[value] as number) + 1;
      }
    }
    // Five deviations of a binomial with p = 1/5.
    const tolerance = 5 * Math.sqrt(numShuffles * 0.2 * 0.8);
    for (const count of counts.flat()) expect(Math.abs(count - numShuffles / 5)).toBeLessThan(tolerance);
  });
});
