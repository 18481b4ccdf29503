// Headers of a hostile peer, each made to cost as much as its bytes can: all are
// refused, and none takes long.
import { describe, expect, it } from 'vitest';
import { MAX_HEADER_BYTES, MAX_HEADER_ITEMS, MAX_MAP_KEYS } from '../../../../src/protocol/limits.ts';
import { isRefused, sharedProperties } from '../../../helpers/hostile-input.ts';
import { envelopeAround, messageWith, WELCOME } from '../../../helpers/protocol-messages.ts';

const sharedBefore = sharedProperties();

describe('a header made to be costly', () => {
  const { type: _type, ...welcome } = WELCOME;
  const hex = (bytes: string): Buffer => envelopeAround(Buffer.from(bytes, 'hex'), 'failure');
  const welcomeWith = (layers: unknown): Buffer => messageWith('welcome', { ...welcome, layers });
  const list = (length: number, item: unknown): unknown[] => Array<unknown>(length).fill(item);
  const block = (layers: unknown): object => ({ kind: 'residual', layers });
  const nested = (layers: unknown, depth: number): unknown =>
    Array.from({ length: depth }).reduce((inside) => [block(inside)], layers);
  const keys = (number: number, name: (index: number) => string): object =>
    Object.fromEntries(Array.from({ length: number }, (_, index) => [name(index), 0]));
  /** A tag with a length of 32 bits, and the part of its announced bytes that is there. */
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
    // What the library msgpackr makes of `{ run: 'a', round: 1 }`.
    ['records of msgpackr', () => hex('d4724092a372756ea5726f756e64a16101')],
    [
      "msgpackr's set of one number, and its map of a number to a regular expression",
      () => hex('d4724092a372756ea5726f756e64d4730091018101d4780092a178a167'),
    ],
    ["msgpackr's circle", () => hex('d66900000001de0002a372756ea161a5726f756e64d67000000001')],
    ['a date', () => messageWith('failure', { run: new Date(0) })],
    [
      'a field named __proto__',
      () =>
        messageWith(
          'failure',
          JSON.parse('{"constructor": {"prototype": {"polluted": 1}}, "__proto__": {"run": "a"}}') as object,
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
  ])('a costly header is refused within 50 ms, and changes nothing that objects share: %s', (_, make) => {
    expect(isRefused(make())).toBe(true);
    expect(sharedProperties()).toEqual(sharedBefore);
  });
});
