// Philox4x32-10 in BigInt, straight from the paper, and the distributions drawn from it.
import type { Arithmetic } from './arithmetic.ts';
import { at } from './tree.ts';

const MASK = 0xffff_ffffn;

/** Counter of four words, key of two. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map((word) => BigInt(word >>> 0)) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map((word) => BigInt(word >>> 0)) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & MASK, (p0 >> 32n) ^ c3 ^ k1, p0 & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** Word i of the stream that fills of one (seed, purpose, stream) read. */
function word(i: number, { seed, purpose, stream }: DrawKey): number {
  return at(philox([Math.floor(i / 4), stream, 0, 0], [seed, purpose]), i % 4);
}

export interface DrawKey {
  readonly seed: number;
  readonly purpose: number;
  readonly stream: number;
}

/** Element i, uniform in [-limit, limit) on a grid of 2^24 points. */
export function uniformElement({ round }: Arithmetic, i: number, limit: number, key: DrawKey): number {
  const u = Math.floor(word(i, key) / 2 ** 8) / 2 ** 24;
  return round(round(round(u + u) - 1) * round(limit));
}

/**
 * Element i, normal by Box and Muller: even elements take the cosine of a pair of
 * words, odd ones the sine.
 */
export function normalElement({ round }: Arithmetic, i: number, deviation: number, key: DrawKey): number {
  const first = i - (i % 2);
  const radius = Math.sqrt(-2 * Math.log((word(first, key) + 1) / 2 ** 32));
  const angle = (2 * Math.PI * word(first + 1, key)) / 2 ** 32;
  return round(radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)) * round(deviation));
}
