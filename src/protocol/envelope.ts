// The outside of every message. All integers are little-endian.
//
//   0       4         6      8               12      16                                8-aligned
//   | magic | version | type | header length | crc32 | header (msgpack) | zero padding | body |
//   | u32   | u16     | u16  | u32           | u32   | <= 128 KiB       | 0 to 7 bytes | <= 4 MiB
//
// The checksum is over bytes 0 to 12 and the header. Bodies are tensors at memory speed: they stay
// outside msgpack, carry a fingerprint of their own, and are the only part whose size matters.
import { crc32 } from 'node:zlib';
import { FIXED_BYTES, MAX_BODY_BYTES, MAX_HEADER_BYTES, PROTOCOL_VERSION } from './limits.ts';
import { TYPE_CODES } from './message-types.ts';
import type { Message } from './message-types.ts';
import { packHeader, unpackHeader } from './msgpack.ts';
import { CLOSE, ProtocolError } from './protocol-error.ts';
import type { ProtocolErrorCode } from './protocol-error.ts';

/** "LKST" in ASCII. */
const MAGIC = 0x5453_4b4c;
const CHECKSUM_OFFSET = 12;
const BODY_ALIGNMENT = 8;
const NO_BODY = new Uint8Array(0);

const TYPES_BY_CODE = new Map(
  Object.entries(TYPE_CODES).map(([type, code]) => [code, type as Message['type']]),
);

/** A received message whose header is decoded, but not checked field by field. */
export interface Envelope {
  readonly type: Message['type'];
  readonly header: Readonly<Record<string, unknown>>;
  /** A view into the received buffer, at any alignment. */
  readonly body: Uint8Array;
}

/**
 * Writes a message into one new buffer, copying `body` once; the same buffer can be sent to many.
 * @param body raw little-endian bytes; may be a view on shared memory.
 * @throws RangeError for a header or body over the limit, TypeError for a header that msgpack cannot hold.
 */
export function encodeMessage(message: Message, body: Uint8Array = NO_BODY): Buffer {
  if (body.length > MAX_BODY_BYTES)
    throw new RangeError(`${message.type}: the body has ${body.length} bytes`);
  const data = writeHead(message, body.length);
  data.set(body, data.length - body.length);
  return data;
}

/**
 * Writes all of a message but its body, which is then sent from where it lies: as the further
 * fragments of the message.
 * @throws as `encodeMessage` does.
 */
export function encodeHead(message: Message): Buffer {
  return writeHead(message, 0);
}

/** A new buffer with everything before the body, and room for that. */
function writeHead(message: Message, bodyLength: number): Buffer {
  const { type, ...fields } = message;
  const header = packHeader(fields);
  const headerEnd = FIXED_BYTES + header.length;
  if (header.length > MAX_HEADER_BYTES)
    throw new RangeError(`${type}: the header has ${header.length} bytes`);

  const bodyStart = align(headerEnd);
  const data = Buffer.allocUnsafe(bodyStart + bodyLength);
  data.writeUInt32LE(MAGIC, 0);
  data.writeUInt16LE(PROTOCOL_VERSION, 4);
  data.writeUInt16LE(TYPE_CODES[type], 6);
  data.writeUInt32LE(header.length, 8);
  data.set(header, FIXED_BYTES);
  data.writeUInt32LE(checksum(data, headerEnd), CHECKSUM_OFFSET);
  data.fill(0, headerEnd, bodyStart);
  return data;
}

/**
 * Takes an untrusted message apart.
 * @throws ProtocolError for anything that `encodeMessage` would not have written.
 */
export function decodeEnvelope(data: Buffer): Envelope {
  const headerEnd = checkedHeaderEnd(data);
  const bodyStart = align(headerEnd);
  if (bodyStart > data.length) throw malformed('E_ENVELOPE_LENGTH', 'message ends inside its padding');
  for (let index = headerEnd; index < bodyStart; index++) {
    if (data[index] !== 0) throw malformed('E_ENVELOPE_PADDING', 'message padding is not zero');
  }
  const body = data.subarray(bodyStart);
  if (body.length > MAX_BODY_BYTES) {
    throw malformed(
      'E_ENVELOPE_LENGTH',
      `message body has ${body.length} bytes, at most ${MAX_BODY_BYTES} are allowed`,
    );
  }
  const code = data.readUInt16LE(6);
  const type = TYPES_BY_CODE.get(code);
  if (type === undefined) throw malformed('E_MESSAGE_TYPE', `unknown message type ${code}`);
  return { type, header: unpackHeader(data.subarray(FIXED_BYTES, headerEnd)), body };
}

function checkedHeaderEnd(data: Buffer): number {
  if (data.length < FIXED_BYTES) {
    throw malformed(
      'E_ENVELOPE_LENGTH',
      `message has ${data.length} bytes, at least ${FIXED_BYTES} are needed`,
    );
  }
  if (data.readUInt32LE(0) !== MAGIC) throw malformed('E_ENVELOPE_MAGIC', 'not a Lockstep message');
  const version = data.readUInt16LE(4);
  if (version !== PROTOCOL_VERSION) {
    const message = `message of protocol ${version}, this side speaks ${PROTOCOL_VERSION}: install the same version on both`;
    throw new ProtocolError('E_PROTOCOL_VERSION', message, CLOSE.incompatible);
  }
  const headerLength = data.readUInt32LE(8);
  if (headerLength > MAX_HEADER_BYTES) {
    const message = `message header has ${headerLength} bytes, at most ${MAX_HEADER_BYTES} are allowed`;
    throw malformed('E_ENVELOPE_LENGTH', message);
  }
  const headerEnd = FIXED_BYTES + headerLength;
  if (headerEnd > data.length) throw malformed('E_ENVELOPE_LENGTH', 'message ends inside its header');
  if (checksum(data, headerEnd) !== data.readUInt32LE(CHECKSUM_OFFSET)) {
    throw malformed('E_ENVELOPE_CHECKSUM', 'message checksum does not match');
  }
  return headerEnd;
}

function checksum(data: Buffer, headerEnd: number): number {
  return crc32(data.subarray(FIXED_BYTES, headerEnd), crc32(data.subarray(0, CHECKSUM_OFFSET)));
}

function align(offset: number): number {
  return Math.ceil(offset / BODY_ALIGNMENT) * BODY_ALIGNMENT;
}

function malformed(code: ProtocolErrorCode, message: string): ProtocolError {
  return new ProtocolError(code, message);
}
