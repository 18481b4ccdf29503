// Messages of a peer that means harm: nothing that it sends makes the parser fail otherwise than by refusing it, take long,
// or change what all objects share.
import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { MAX_HEADER_BYTES, MAX_HEADER_ITEMS, MAX_MAP_KEYS } from '../../src/protocol/limits.ts';
import { TYPE_CODES } from '../../src/protocol/message-types.ts';
import type { Message } from '../../src/protocol/message-types.ts';
import { parseCoordinatorMessage, parseWorkerMessage } from '../../src/protocol/messages.ts';
import { ProtocolError } from '../../src/protocol/protocol-error.ts';
import {
  anyMessage,
  envelopeAround,
  messageWith,
  WELCOME,
  withChecksum,
} from '../helpers/protocol-messages.ts';
import { seededRandom } from '../helpers/seeded-random.ts';

/** Longer than this no message keeps a process from its other connections. */
const MAX_STALL_MS = 50;
/** A busy machine makes an input slow once, or three times, but hardly six times in a row. */
const NUM_ATTEMPTS = 6;

const SHARED = [Object, Array, String, Number, Boolean, Function, Map, Set, RegExp, Uint8Array, Buffer];

/** Everything that all objects share, by name. */
function sharedProperties(): string[][] {
  return SHARED.flatMap((type) => [type, type.prototype as object]).map((owner) =>
    Reflect.ownKeys(owner).map(String),
  );
}

let sharedBefore: string[][];
beforeAll(() => {
  sharedBefore = sharedProperties();
});
afterAll(() => {
  expect(sharedProperties()).toEqual(sharedBefore);
});

/** What both sides make of it: the side that may not get it, too. */
function outcomesOf(data: Buffer): ('parsed' | ProtocolError)[] {
  return [parseWorkerMessage, parseCoordinatorMessage].map((parse) => {
    try {
      parse(data);
      return 'parsed';
    } catch (error) {
      if (error instanceof ProtocolError) return error;
      throw error;
    }
  });
}

/** Whether it is refused by both sides, in words that a terminal can bear, and each in time. */
function isRefused(data: Buffer): boolean {
  let outcomes: ('parsed' | ProtocolError)[] = [];
  let quickestMs = Infinity;
  for (let attempt = 0; attempt < NUM_ATTEMPTS && quickestMs >= MAX_STALL_MS; attempt++) {
    const startMs = performance.now();
    outcomes = outcomesOf(data);
    quickestMs = Math.min(quickestMs, performance.now() - startMs);
  }
  if (quickestMs >= MAX_STALL_MS) {
    throw new Error(`takes ${quickestMs} ms: ${data.toString('hex').slice(0, 2000)} (${data.length} bytes)`);
  }
  for (const outcome of outcomes) {
    if (outcome !== 'parsed') expect(outcome.message).toMatch(/^\P{Cc}{1,500}$/u);
  }
  return !outcomes.includes('parsed');
}

describe('20,000 random and mutated messages', () => {
  it('are each parsed or refused within 50 ms', () => {
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

  /** One of: noise, a cut, flipped bytes, or flipped bytes with a valid checksum, which reach the header's decoder. */
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

  it('of bytes that msgpack gives a meaning are refused within 50 ms, whatever the type', () => {
    const random = seededRandom(5);
    let numParsed = 0;
    for (let round = 0; round < 20_000; round++) {
      const header = randomMsgpack(random);
      const type = types[round % types.length] as Message['type'];
      const body = new Uint8Array(round % 3 === 0 ? 8 : 0);
      if (!isRefused(envelopeAround(header, type, body))) numParsed++;
    }
    // `leave` has no fields: a map of none is one.
    expect(numParsed).toBeLessThan(100);
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
    // Most begin as headers do.
    const start = random() < 0.8 ? [0x80 + below(4), 0xa3, ...Buffer.from('run')] : [];
    return Buffer.from(
      [...start, ...Array.from({ length: below(60) }, part).flat()].slice(0, MAX_HEADER_BYTES),
    );
  }
});

describe('a header that is made to be costly', () => {
  const { type: _type, ...welcome } = WELCOME;
  const packr = new Packr({ useRecords: false });
  const welcomeWith = (layers: unknown): Buffer => messageWith('welcome', { ...welcome, layers });
  const list = (length: number, item: unknown): unknown[] => Array<unknown>(length).fill(item);
  const block = (layers: unknown): object => ({ kind: 'residual', layers });
  const nested = (layers: unknown, depth: number): unknown =>
    Array.from({ length: depth }).reduce((inside) => [block(inside)], layers);
  const keys = (number: number, name: (index: number) => string): object =>
    Object.fromEntries(Array.from({ length: number }, (_, index) => [name(index), 0]));
  /** A tag with a length of 32 bits, and what is there of what it announces. */
  const announced = (tag: number, length: number, rest: Uint8Array = new Uint8Array()): Buffer => {
    const head = Buffer.alloc(5, tag);
    head.writeUInt32BE(length, 1);
    return Buffer.concat([head, rest]);
  };
  const underRun = (value: Uint8Array): Buffer =>
    envelopeAround(Buffer.concat([Buffer.from([0x81, 0xa3]), Buffer.from('run'), value]), 'failure');
  const MOST = 2 ** 32 - 1;
  const badLayer = { kind: 'dense', units: 0 };

  it.each<[string, () => Buffer]>([
    ['a binary of 4 GiB', () => underRun(announced(0xc6, MOST))],
    ['a string of 4 GiB', () => underRun(announced(0xdb, MOST))],
    ['an extension of 4 GiB', () => underRun(announced(0xc9, MOST))],
    ['an array of 4 billion values', () => underRun(announced(0xdd, MOST))],
    ['a map of 4 billion keys', () => underRun(announced(0xdf, MOST))],
    ['a map of 4 billion keys, as the header', () => envelopeAround(announced(0xdf, MOST), 'failure')],
    [
      'an array of 2 billion values, some of which follow',
      () => underRun(announced(0xdd, 2 ** 31, new Uint8Array(MAX_HEADER_BYTES - 20))),
    ],
    [
      'as many values as there may be',
      () => underRun(announced(0xdd, MAX_HEADER_ITEMS - 3, new Uint8Array(MAX_HEADER_ITEMS - 3))),
    ],
    ['130,000 arrays, each in the one before', () => underRun(Buffer.alloc(130_000, 0x91))],
    ['130,000 maps, each in the one before', () => underRun(Buffer.alloc(130_000, 0x81))],
    [
      'arrays of arrays, 30 deep and 500 wide',
      () =>
        underRun(
          Buffer.concat([
            announced(0xdd, 500),
            ...(list(500, Buffer.from([...(list(29, 0x91) as number[]), 0xc0])) as Buffer[]),
          ]),
        ),
    ],
    [
      '8,000 keys',
      () =>
        messageWith(
          'failure',
          keys(8000, (index) => `key${index}`),
        ),
    ],
    [
      '8,000 keys that are far apart',
      () =>
        messageWith(
          'failure',
          keys(8000, (index) => `${(index * 524_287) % MOST}`),
        ),
    ],
    [
      'thousands of maps of as many keys as there may be',
      () =>
        messageWith('failure', {
          run: list(
            120,
            keys(MAX_MAP_KEYS, (index) => `${index * 65_537}`),
          ),
        }),
    ],
    [
      'one key, 60 times',
      () =>
        envelopeAround(
          Buffer.from([0xde, 0, 60, ...(list(60, [0xa1, 0x61, 0xc0]).flat() as number[])]),
          'failure',
        ),
    ],
    ['a map for a key', () => envelopeAround(Buffer.from([0x81, 0x81, 0xa1, 0x61, 0xc0, 0xc0]), 'failure')],
    [
      'arrays for keys',
      () =>
        envelopeAround(
          Buffer.from([0x82, 0x91, 0xa1, 0x61, 0xc0, 0x92, 0xa1, 0x61, 0xa1, 0x62, 0xc0]),
          'failure',
        ),
    ],
    ['a name of 120,000 characters', () => messageWith('failure', { ['x'.repeat(120_000)]: 1 })],
    ['a text of 120,000 characters', () => messageWith('failure', { run: 'x'.repeat(120_000) })],
    ['a text of 30,000 emoji', () => messageWith('failure', { run: '\u{1f600}'.repeat(30_000) })],
    [
      'a text of bytes that are no UTF-8',
      () => underRun(announced(0xdb, 120_000, new Uint8Array(120_000).fill(0xff))),
    ],
    ['a text of control characters', () => messageWith('failure', { run: '\u001b'.repeat(120_000) })],
    ['control characters in a name', () => messageWith('failure', { 'red \u001b[31m \u009b31m': 1 })],
    ['10,000 integers of 64 bits', () => messageWith('failure', { run: list(10_000, 2n ** 63n) })],
    [
      'records of msgpackr',
      () => envelopeAround(new Packr({ useRecords: true }).pack({ run: 'a', round: 1 }), 'failure'),
    ],
    [
      'shared structures of msgpackr',
      () =>
        envelopeAround(
          new Packr({ structuredClone: true }).pack({ run: new Set([1]), round: new Map([[1, /x/g]]) }),
          'failure',
        ),
    ],
    [
      'a circle',
      () => {
        const circle: Record<string, unknown> = { run: 'a' };
        circle['round'] = circle;
        return envelopeAround(
          new Packr({ structuredClone: true, useRecords: false }).pack(circle),
          'failure',
        );
      },
    ],
    [
      'a field named __proto__',
      () =>
        envelopeAround(
          packr.pack(
            JSON.parse('{"__proto__": {"run": "a"}, "constructor": {"prototype": {"polluted": 1}}}'),
          ),
          'failure',
        ),
    ],
    ['16,000 layers', () => welcomeWith(list(16_000, 0))],
    ['16,000 layers in a block', () => welcomeWith([block(list(16_000, 0))])],
    ['blocks of 1,000 empty layers, side by side', () => welcomeWith(list(15, block(list(1000, {}))))],
    ['blocks of 1,000 empty layers, 13 deep', () => welcomeWith(nested(list(15, block(list(1000, {}))), 13))],
    ['blocks of 1,000 wrong layers, side by side', () => welcomeWith(list(3, block(list(1000, badLayer))))],
    ['blocks of 1,000 wrong layers, 13 deep', () => welcomeWith(nested(list(1000, badLayer), 13))],
    [
      '3,000 sound layers, 13 deep, before a wrong one',
      () => {
        const sound = { kind: 'activation', function: 'relu' };
        return welcomeWith(
          nested([block(list(900, sound)), block(list(900, sound)), block(list(900, sound)), {}], 12),
        );
      },
    ],
    ['a block in a block, and so on, with nothing inside', () => welcomeWith(nested([], 14))],
    [
      'a kernel of 16,000 sizes',
      () => welcomeWith([{ kind: 'conv2d', filters: 1, kernelSize: list(16_000, -1) }]),
    ],
    ['a shape of 16,000 sizes', () => welcomeWith([{ kind: 'reshape', shape: list(16_000, 1) }])],
    [
      'a loss of 120,000 characters',
      () => messageWith('welcome', { ...welcome, loss: { kind: 'x'.repeat(120_000) } }),
    ],
    [
      'a loss of 60 unknown fields',
      () =>
        messageWith('welcome', {
          ...welcome,
          loss: { kind: 'mse', ...keys(60, (index) => `${index}`.repeat(500)) },
        }),
    ],
    ['16,000 bounds', () => messageWith('train', { bounds: list(16_000, 0) }, new Uint8Array(8))],
  ])('is refused within 50 ms, and changes nothing that objects share: %s', (_, make) => {
    expect(isRefused(make())).toBe(true);
    expect(sharedProperties()).toEqual(sharedBefore);
  });
});
