// The envelope and the restricted msgpack inside it: messages that pass unchanged, and
// every way to be malformed.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEnvelope, encodeMessage } from '../../../../src/protocol/envelope.ts';
import {
  MAX_BODY_BYTES,
  MAX_HEADER_BYTES,
  MAX_MESSAGE_BYTES,
  PROTOCOL_VERSION,
} from '../../../../src/protocol/limits.ts';
import { TYPE_CODES } from '../../../../src/protocol/message-types.ts';
import { ProtocolError } from '../../../../src/protocol/protocol-error.ts';
import {
  anyMessage,
  envelopeAround,
  GRADIENT,
  messageWith,
  withChecksum,
} from '../../../helpers/protocol-messages.ts';

function refusalOf(data: Buffer): { code: string; closeCode: number; message: string } {
  try {
    decodeEnvelope(data);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { code: error.code, closeCode: error.closeCode, message: error.message };
  }
  throw new Error('nothing was thrown');
}

describe('an encoded message', () => {
  it('an encoded message decodes to the same header and body', () => {
    fc.assert(
      fc.property(anyMessage, ({ message, body }) => {
        const { type, ...fields } = message;
        const decoded = decodeEnvelope(encodeMessage(message, body));
        expect(decoded.type).toBe(type);
        expect(decoded.header).toEqual(fields);
        expect(Buffer.compare(decoded.body, body)).toBe(0);
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it('the body of an encoded message starts at a multiple of 8 bytes', () => {
    for (let length = 0; length < 20; length++) {
      const data = encodeMessage({ type: 'stop', reason: 'x'.repeat(length) }, new Uint8Array(8).fill(255));
      expect((data.length - 8) % 8).toBe(0);
      expect(data.subarray(-8).every((byte) => byte === 255)).toBe(true);
    }
  });

  it('an encoded message can take its body from shared memory at any alignment', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(64)).map((_, index) => index);
    for (let offset = 0; offset < 8; offset++) {
      const { body } = decodeEnvelope(encodeMessage(GRADIENT, shared.subarray(offset, offset + 12)));
      expect([...body]).toEqual(Array.from({ length: 12 }, (_, index) => offset + index));
    }
  });

  it('an encoded message has the bytes that the documentation shows', () => {
    const documentation = readFileSync(new URL('../../../../docs/protocol.md', import.meta.url), 'utf8');
    const shown = /```hex\n([^`]*)```/.exec(documentation)?.[1] ?? '';
    const bytes = shown
      .replace(/^ *[0-9]+: /gm, '')
      .replace(/ {2}.*$/gm, '')
      .replace(/\s/g, '');
    expect(encodeMessage({ type: 'stop', reason: 'done' }).toString('hex')).toBe(bytes);
  });

  it('an encoded message leaves out properties that are undefined', () => {
    expect(decodeEnvelope(encodeMessage({ ...GRADIENT, lossSum: undefined })).header).not.toHaveProperty(
      'lossSum',
    );
  });

  it('an encoded message has room for the largest body', () => {
    const data = encodeMessage(GRADIENT, new Uint8Array(MAX_BODY_BYTES));
    expect(decodeEnvelope(data).body.length).toBe(MAX_BODY_BYTES);
    expect(data.length).toBeLessThan(MAX_MESSAGE_BYTES);
  });

  it('a message with a body over the limit cannot be encoded', () => {
    expect(() => encodeMessage(GRADIENT, new Uint8Array(MAX_BODY_BYTES + 1))).toThrow(
      new RangeError('gradient: the body has 4194305 bytes'),
    );
  });

  it('a message with a header over the limit cannot be encoded', () => {
    expect(() => encodeMessage({ type: 'stop', reason: 'x'.repeat(MAX_HEADER_BYTES) })).toThrow(
      new RangeError('stop: the header has 131085 bytes'),
    );
  });

  it.each([
    ['Float32Array', new Float32Array(2)],
    ['DataView', new DataView(new ArrayBuffer(8))],
    ['Map', new Map()],
    ['Date', new Date(0)],
    ['bigint', 1n],
    ['function', () => 1],
  ])('a message with a %s in its header cannot be encoded', (name, value) => {
    const message = { type: 'stop', reason: value } as unknown as Parameters<typeof encodeMessage>[0];
    expect(() => encodeMessage(message)).toThrow(
      new TypeError(`a message header cannot hold a value of type ${name}`),
    );
  });

  it('each type of message has a type code of its own', () => {
    expect(new Set(Object.values(TYPE_CODES)).size).toBe(Object.keys(TYPE_CODES).length);
  });
});

describe('a malformed envelope', () => {
  const valid = () => encodeMessage(GRADIENT, new Uint8Array(8));
  const changed = (change: (data: Buffer) => void) => {
    const data = valid();
    change(data);
    return data;
  };

  it.each<[string, Buffer, string, string]>([
    ['nothing', Buffer.alloc(0), 'E_ENVELOPE_LENGTH', 'message has 0 bytes, at least 16 are needed'],
    [
      'half a prefix',
      valid().subarray(0, 15),
      'E_ENVELOPE_LENGTH',
      'message has 15 bytes, at least 16 are needed',
    ],
    ['another magic', changed((data) => data.writeUInt8(0, 0)), 'E_ENVELOPE_MAGIC', 'not a Lockstep message'],
    [
      'a header length over the limit',
      changed((data) => data.writeUInt32LE(0xffff_ffff, 8)),
      'E_ENVELOPE_LENGTH',
      'message header has 4294967295 bytes, at most 131072 are allowed',
    ],
    ['a cut header', valid().subarray(0, 40), 'E_ENVELOPE_LENGTH', 'message ends inside its header'],
    [
      'one flipped bit of the header',
      changed((data) => data.writeUInt8(data.readUInt8(30) ^ 1, 30)),
      'E_ENVELOPE_CHECKSUM',
      'message checksum does not match',
    ],
    [
      'one flipped bit of the type',
      changed((data) => data.writeUInt8(data.readUInt8(6) ^ 1, 6)),
      'E_ENVELOPE_CHECKSUM',
      'message checksum does not match',
    ],
    [
      'cut padding',
      encodeMessage({ type: 'leave' }).subarray(0, 19),
      'E_ENVELOPE_LENGTH',
      'message ends inside its padding',
    ],
    [
      'padding that is not zero',
      changed((data) => data.writeUInt8(1, data.length - 9)),
      'E_ENVELOPE_PADDING',
      'message padding is not zero',
    ],
    [
      'a body over the limit',
      Buffer.concat([encodeMessage(GRADIENT), Buffer.alloc(MAX_BODY_BYTES + 1)]),
      'E_ENVELOPE_LENGTH',
      'message body has 4194305 bytes, at most 4194304 are allowed',
    ],
    [
      'an unknown type',
      withChecksum(changed((data) => data.writeUInt16LE(99, 6))),
      'E_MESSAGE_TYPE',
      'unknown message type 99',
    ],
  ])('a malformed envelope is refused: %s', (_, data, code, message) => {
    expect(refusalOf(data)).toEqual({ code, message, closeCode: 4400 });
  });

  it('an envelope of another protocol version is refused with both versions and a close code of its own', () => {
    expect(refusalOf(withChecksum(changed((data) => data.writeUInt16LE(1, 4))))).toEqual({
      code: 'E_PROTOCOL_VERSION',
      message: `message of protocol 1, this side speaks ${PROTOCOL_VERSION}: install the same version on both`,
      closeCode: 4401,
    });
  });
});

describe('a header that is not plain msgpack', () => {
  const bytes = (...values: number[]) => Buffer.from(values);
  const nested = (depth: number) => Buffer.from([0x81, 0xa1, 0x61, ...Array<number>(depth).fill(0x91), 0xc0]);

  it.each<[string, Buffer, string]>([
    ['nothing', bytes(), 'message header ends inside a value'],
    ['a cut map', bytes(0x82, 0xa1, 0x61, 0x01), 'message header ends inside a value'],
    ['a cut string', bytes(0x81, 0xa9, 0x61), 'message header ends inside a value'],
    ['a cut length', bytes(0xdb, 0x00, 0x00), 'message header ends inside a value'],
    ['a cut float', bytes(0xcb, 0x00), 'message header ends inside a value'],
    ['a string of 4 GiB', bytes(0xdb, 0xff, 0xff, 0xff, 0xff), 'message header ends inside a value'],
    [
      'an array of 4 billion',
      bytes(0xdd, 0xff, 0xff, 0xff, 0xff),
      'message header has more than 16384 values',
    ],
    ['a map of 4 billion', bytes(0xdf, 0xff, 0xff, 0xff, 0xff), 'message header has more than 16384 values'],
    [
      'a map of 65 keys',
      bytes(0xde, 0, 65, ...Array<number>(130).fill(0xc0)),
      'message header has a map of more than 64 keys',
    ],
    ['33 containers deep', nested(33), 'message header nests more than 32 deep'],
    ['100,000 containers deep', nested(100_000), 'message header nests more than 32 deep'],
    ['bytes after the end', bytes(0x80, 0x00, 0x00), 'message header has 2 bytes after its end'],
    [
      'the unused tag',
      bytes(0x81, 0xa1, 0x61, 0xc1),
      'message header has a value of type 0xc1, which messages do not use',
    ],
    [
      'a record definition',
      bytes(0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01),
      'message header has a value of type 0xd4, which messages do not use',
    ],
    [
      'a regular expression',
      bytes(0xc7, 0x05, 0x78, 0x92, 0xa1, 0x61, 0xa1, 0x67),
      'message header has a value of type 0xc7, which messages do not use',
    ],
    [
      'a date',
      bytes(0xd6, 0xff, 0x00, 0x00, 0x00, 0x00),
      'message header has a value of type 0xd6, which messages do not use',
    ],
    ['an array', bytes(0x90), 'message header is not a map'],
    ['a number', bytes(0x07), 'message header is not a map'],
    ['nil', bytes(0xc0), 'message header is not a map'],
    ['a binary', bytes(0xc4, 0x01, 0x00), 'message header is not a map'],
  ])('a header that is not plain msgpack is refused: %s', (_, header, message) => {
    expect(refusalOf(envelopeAround(header))).toEqual({
      code: 'E_HEADER_ENCODING',
      message,
      closeCode: 4400,
    });
  });

  it('a header is decoded up to 32 containers deep', () => {
    const { header } = decodeEnvelope(envelopeAround(nested(31)));
    expect(JSON.stringify(header['a'])).toBe(`${'['.repeat(31)}null${']'.repeat(31)}`);
  });

  it('a header that names a prototype is refused', () => {
    const header = JSON.parse('{"__proto__": {"polluted": 1}}') as object;
    expect(refusalOf(messageWith('ready', header))).toEqual({
      code: 'E_HEADER_ENCODING',
      message: 'message header does not decode (The key __proto__ is not allowed)',
      closeCode: 4400,
    });
  });
});
