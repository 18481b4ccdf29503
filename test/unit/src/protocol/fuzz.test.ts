// Random messages from a seed: mutated ones, and headers of everything in msgpack. Each is
// parsed or refused in time.
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeMessage } from '../../../../src/protocol/envelope.ts';
import { MAX_HEADER_BYTES } from '../../../../src/protocol/limits.ts';
import { TYPE_CODES } from '../../../../src/protocol/message-types.ts';
import type { Message } from '../../../../src/protocol/message-types.ts';
import { isRefused, sharedProperties } from '../../../helpers/hostile-input.ts';
import { anyMessage, envelopeAround, withChecksum } from '../../../helpers/protocol-messages.ts';
import { seededRandom } from '../../../helpers/seeded-random.ts';

const sharedBefore = sharedProperties();
afterAll(() => {
  expect(sharedProperties()).toEqual(sharedBefore);
});

describe('20,000 random and mutated messages', () => {
  it('random and mutated messages are each parsed or refused within 50 ms', () => {
    const samples = fc
      .sample(anyMessage, { numRuns: 200, seed: 3 })
      .map(({ message, body }) => encodeMessage(message, body));
    const random = seededRandom(4);
    let numRefused = 0;
    for (let round = 0; round < 20_000; round++) {
      if (isRefused(mutate(samples[round % samples.length] as Buffer, random))) numRefused++;
    }
    expect(numRefused).toBeGreaterThan(10_000);
  });

  /**
   * Noise, a cut, flipped bytes, or flipped bytes with a valid checksum, which
   * reach the header's decoder.
   */
  function mutate(data: Buffer, random: () => number): Buffer {
    const kind = Math.floor(4 * random());
    if (kind === 0) return Buffer.from(Array.from({ length: 200 * random() }, () => 256 * random()));
    if (kind === 1) return data.subarray(0, data.length * random());
    const mutated = Buffer.from(data);
    const [from, to] =
      kind === 2 ? [0, mutated.length] : [16, Math.min(mutated.length, 16 + mutated.readUInt32LE(8))];
    const numFlips = 1 + 8 * random();
    for (let flip = 0; flip < numFlips; flip++) {
      mutated[from + Math.floor((to - from) * random())] = 256 * random();
    }
    return kind === 2 ? mutated : withChecksum(mutated);
  }
});

describe('20,000 random headers', () => {
  const types = Object.keys(TYPE_CODES) as Message['type'][];

  it('random headers of bytes with a meaning in msgpack are refused within 50 ms, whatever the type', () => {
    const random = seededRandom(5);
    let numParsed = 0;
    for (let round = 0; round < 20_000; round++) {
      const header = randomMsgpack(random);
      const type = types[round % types.length] as Message['type'];
      const body = new Uint8Array(round % 3 === 0 ? 8 : 0);
      if (!isRefused(envelopeAround(header, type, body))) numParsed++;
    }
    expect(numParsed).toBe(0);
  });

  /** Tags of msgpack, lengths and names that mean something in JavaScript or to a library, in any order. */
  function randomMsgpack(random: () => number): Buffer {
    const below = (limit: number): number => Math.floor(limit * random());
    const words = ['__proto__', 'constructor', 'prototype', 'toString', 'kind', 'layers', 'run', 'bounds'];
    const part = (): number[] => {
      switch (below(8)) {
        case 0:
          return [0x80 + below(16)];
        case 1:
          return [0x90 + below(16)];
        case 2: {
          const word = words[below(words.length)] as string;
          return [0xa0 + word.length, ...Buffer.from(word)];
        }
        case 3:
          return [0xc0 + below(32)];
        case 4:
          return [0xc4 + below(28), below(256), below(256), below(256), below(256), below(256)];
        case 5:
          // Records of msgpackr: definitions and uses.
          return [0xd4, 0x72, 0x40 + below(64), 0x90 + below(4)];
        case 6:
          return [0xc7, below(20), ...[0x78, 0x73, 0x62, 0x65, 0x69, 0x74, 0x70].slice(below(7))];
        default:
          return [below(128)];
      }
    };
    // Most of them begin like headers.
    const start = random() < 0.8 ? [0x80 + below(4), 0xa3, ...Buffer.from('run')] : [];
    return Buffer.from(
      [...start, ...Array.from({ length: below(60) }, part).flat()].slice(0, MAX_HEADER_BYTES),
    );
  }
});
