// The 64-bit fingerprint of assembly/check.ts, in BigInt: NH over blocks of 8 words, then SplitMix64.
import { at } from './tree.ts';

const MASK_32 = 0xffff_ffffn;
const MASK_64 = 0xffff_ffff_ffff_ffffn;
const KEYS_A = [0x243f6a88n, 0x85a308d3n, 0x13198a2en, 0x03707344n];
const KEYS_B = [0xa4093822n, 0x299f31d0n, 0x082efa98n, 0xec4e6c89n];

/** Word of key A or B that lane `lane` uses in block `block`. */
export function fingerprintKey(half: 'a' | 'b', block: number, lane: number): number {
  const first = (half === 'a' ? KEYS_A : KEYS_B)[lane] as bigint;
  const step = half === 'a' ? 0x9e3779b1n : 0x85ebca77n;
  return Number((first + BigInt(block) * step) & MASK_32);
}

export function fingerprint(words: Uint32Array): bigint {
  const lanes = [0n, 0n, 0n, 0n];
  const numBlocks = Math.floor(words.length / 8);
  for (let block = 0; block < numBlocks; block++) {
    for (let lane = 0; lane < 4; lane++) {
      const a = BigInt(at(words, 8 * block + lane)) + BigInt(fingerprintKey('a', block, lane));
      const b = BigInt(at(words, 8 * block + 4 + lane)) + BigInt(fingerprintKey('b', block, lane));
      lanes[lane] = ((lanes[lane] as bigint) + (a & MASK_32) * (b & MASK_32)) & MASK_64;
    }
  }
  let hash = BigInt(words.length);
  for (const lane of lanes) hash = splitMix(hash ^ lane);
  for (const word of words.subarray(8 * numBlocks)) hash = splitMix(hash ^ BigInt(word));
  return hash;
}

function splitMix(value: bigint): bigint {
  let z = (value + 0x9e3779b97f4a7c15n) & MASK_64;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK_64;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK_64;
  return z ^ (z >> 31n);
}
