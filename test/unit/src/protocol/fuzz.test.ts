// Random headers from a seed, of everything in msgpack: each is refused in time. Sound messages with
// something wrong about them are in test/integration/fuzz.test.ts.
import { afterAll, describe, expect, it } from 'vitest';
import { MAX_HEADER_BYTES } from '../../../../src/protocol/limits.ts';
import { TYPE_CODES } from '../../../../src/protocol/message-types.ts';
import type { Message } from '../../../../src/protocol/message-types.ts';
import { isRefused, sharedProperties } from '../../../helpers/hostile-input.ts';
import { envelopeAround } from '../../../helpers/protocol-messages.ts';
import { seededRandom } from '../../../helpers/seeded-random.ts';

const sharedBefore = sharedProperties();
afterAll(() => {
  expect(sharedProperties()).toEqual(sharedBefore);
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

  /** Tags of msgpack, lengths and names that mean something in JavaScript or to msgpackr, in any order. */
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
