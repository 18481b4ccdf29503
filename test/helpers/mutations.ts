// Messages with something wrong about them, from sound ones: bits, lengths, types, fields, nesting, bodies.
// Most have a valid checksum, so that they reach the checks behind it.
import { Packr, Unpackr } from 'msgpackr';
import { MAX_BODY_BYTES, MAX_HEADER_BYTES } from '../../src/protocol/limits.ts';
import { TYPE_CODES } from '../../src/protocol/message-types.ts';
import type { Message } from '../../src/protocol/message-types.ts';
import { envelopeAround, withChecksum } from './protocol-messages.ts';

const HEADER = 16;
const TYPES = Object.keys(TYPE_CODES) as Message['type'][];
const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** Names that mean something to JavaScript, or in messages. */
const NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'then',
  'length',
  'type',
  'run',
  'extent',
];

/** Draws from a seed, in the forms that mutations need. */
export class Draws {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

/** The parts of a sound message. */
interface Parts {
  readonly type: Message['type'];
  readonly header: Buffer;
  readonly body: Buffer;
}

function partsOf(data: Buffer): Parts {
  const headerEnd = HEADER + data.readUInt32LE(8);
  const code = data.readUInt16LE(6);
  return {
    type: TYPES.find((type) => TYPE_CODES[type] === code) as Message['type'],
    header: data.subarray(HEADER, headerEnd),
    body: data.subarray(Math.ceil(headerEnd / 8) * 8),
  };
}

/** A value that a field hardly expects. */
function strangeValue(draws: Draws): unknown {
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
  return draws.pick<() => unknown>([
    () => Number.NaN,
    () => -0,
    () => draws.pick([Infinity, -Infinity, -1, 0, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 - 1, 1e300]),
    () => draws.pick([2n ** 63n, -(2n ** 63n), 2n ** 64n - 1n]),
    () => draws.below(2 ** 31),
    () => draws.pick([null, true, false, '']),
    () => draws.pick(['x', '\u001b[31m', '\u0000', '\ud800', '../../etc/passwd', 'ws://127.0.0.1:1/']),
    () => 'x'.repeat(draws.pick([64, 255, 1001, 20_000])),
    () => nested(draws.pick([1, 5, 31, 33, 200])),
    () => Array<number>(draws.pick([0, 1, 65, 1025, 17_000])).fill(draws.pick([0, 1, -1])),
    () =>
      Object.fromEntries(Array.from({ length: draws.pick([1, 63, 65, 300]) }, (_, key) => [`k${key}`, key])),
    () => JSON.parse(`{"${draws.pick(NAMES)}": {"polluted": true}}`) as unknown,
    () => draws.bytes(draws.below(40)),
    () => new Date(0),
    () => draws.bytes(32).toString('hex'),
  ])();
}

/** The containers of a value, itself included. */
function containersOf(value: unknown): (Record<string, unknown> | unknown[])[] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [];
  const own = value as Record<string, unknown> | unknown[];
  return [own, ...Object.values(own).flatMap(containersOf)];
}

/** The fields of a header with one of them replaced, left out, renamed or added. */
function wrongFields(header: Buffer, draws: Draws): Buffer {
  const fields = unpackr.unpack(header) as Record<string, unknown>;
  const place = draws.pick(containersOf(fields)) as Record<string, unknown>;
  const key = draws.pick(Object.keys(place)) ?? '0';
  // A list takes other items, and no names.
  switch (Array.isArray(place) ? 4 : draws.below(5)) {
    case 0:
      delete place[key];
      break;
    case 1:
      Object.defineProperty(place, draws.pick(NAMES), { value: strangeValue(draws), enumerable: true });
      break;
    case 2: {
      const other = draws.pick(Object.keys(place)) ?? key;
      [place[key], place[other]] = [place[other], place[key]];
      break;
    }
    default:
      place[key] = strangeValue(draws);
  }
  return packr.pack(fields);
}

/** A header whose map has a key twice. */
function withKeyTwice(header: Buffer, draws: Draws): Buffer {
  const fields = unpackr.unpack(header) as Record<string, unknown>;
  const keys = Object.keys(fields);
  const pairs = [...keys, draws.pick(keys) ?? 'run'].map((key, index) =>
    Buffer.concat([packr.pack(key), packr.pack(index < keys.length ? fields[key] : strangeValue(draws))]),
  );
  return Buffer.concat([Buffer.from([0xde, pairs.length >> 8, pairs.length & 0xff]), ...pairs]);
}

/** A header into which bytes that mean something in msgpack were put. */
function withTags(header: Buffer, draws: Draws): Buffer {
  const at = 1 + draws.below(header.length);
  const tags = draws.pick<() => Buffer>([
    () => Buffer.from([0xc0 + draws.below(32), ...draws.bytes(4)]),
    () => Buffer.from([draws.pick([0xc6, 0xc9, 0xdb, 0xdd, 0xdf]), 0xff, 0xff, 0xff, 0xff]),
    () => Buffer.from([0xd4, 0x72, 0x40 + draws.below(64), 0x90 + draws.below(4)]),
    () => Buffer.from([0xc7, draws.below(20), draws.pick([0x78, 0x73, 0x62, 0x65, 0x69, 0x74, 0x70])]),
    () => Buffer.alloc(draws.pick([1, 40, 5000]), draws.pick([0x81, 0x91])),
  ])();
  const replaced = draws.pick([0, tags.length]);
  return Buffer.concat([header.subarray(0, at), tags, header.subarray(at + replaced)]);
}

function wrongBody(body: Buffer, draws: Draws): Buffer {
  switch (draws.below(6)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return body.subarray(0, draws.below(body.length + 1));
    case 2:
      return Buffer.concat([body, draws.bytes(1 + draws.below(16))]);
    case 3:
      return Buffer.concat([body, body]);
    case 4:
      // Few of these: most of the time would go into copying them.
      return draws.below(50) === 0 ? Buffer.alloc(MAX_BODY_BYTES + draws.pick([-4, 0, 4])) : body.subarray(4);
    default: {
      const flipped = Buffer.from(body);
      return flipped.length > 0 ? wrongBits(flipped, draws) : flipped;
    }
  }
}

function wrongBits(data: Buffer, draws: Draws, from = 0, to = data.length): Buffer {
  const wrong = Buffer.from(data);
  const numFlips = 1 + draws.below(8);
  for (let flip = 0; flip < numFlips; flip++) {
    const at = from + draws.below(to - from);
    if (at < wrong.length)
      wrong[at] = draws.below(2) ? draws.below(256) : (wrong[at] as number) ^ (1 << draws.below(8));
  }
  return wrong;
}

/** A message with one thing wrong about it. `others` are sound ones, of which one may come in its place. */
export function mutate(data: Buffer, others: readonly Buffer[], draws: Draws): Buffer {
  const { type, header, body } = partsOf(data);
  const around = (wrong: Buffer): Buffer => envelopeAround(wrong.subarray(0, MAX_HEADER_BYTES), type, body);
  switch (draws.below(14)) {
    case 0:
      return wrongBits(data, draws);
    case 1:
      return data.subarray(0, draws.below(data.length));
    case 2:
      return Buffer.concat([data, draws.pick([data, draws.bytes(1 + draws.below(64))])]);
    case 3: {
      const wrong = Buffer.from(data);
      wrong.writeUInt32LE(
        draws.pick([0, 1, header.length - 1, header.length + 8, MAX_HEADER_BYTES, 2 ** 32 - 1]),
        8,
      );
      return draws.below(2) ? withChecksum(wrong) : wrong;
    }
    case 4:
      return withChecksum(wrongBits(data, draws, HEADER, HEADER + header.length));
    case 5:
      return envelopeAround(header, draws.pick(TYPES), body);
    case 6: {
      const wrong = Buffer.from(data);
      wrong.writeUInt16LE(draws.pick([0, 3, 99, 65_535]), draws.pick([4, 6]));
      return withChecksum(wrong);
    }
    case 7:
      return around(withKeyTwice(header, draws));
    case 8:
      return around(withTags(header, draws));
    case 9:
      return envelopeAround(header, type, wrongBody(body, draws));
    case 10:
      return draws.pick(others);
    case 11:
      return draws.bytes(draws.below(300));
    default:
      return around(wrongFields(header, draws));
  }
}
