// Headers to msgpack and back, restricted to plain values both ways. A header that arrives is
// scanned before it is decoded, because the decoder is too obliging: it makes dates of extension types,
// takes any number of keys and any depth, and allocates an array of any announced length.
import { Decoder, Encoder } from '@msgpack/msgpack';
import { MAX_HEADER_DEPTH, MAX_HEADER_ITEMS, MAX_MAP_KEYS } from './limits.ts';
import { ProtocolError } from './protocol-error.ts';

const encoder = new Encoder();
const decoder = new Decoder();

const PLAIN_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'boolean']);

/**
 * Encodes a header; properties that are undefined are left out.
 * @returns a view that is valid until the next call.
 * @throws TypeError for what the library would encode as something else, a `Float32Array` above all.
 */
export function packHeader(fields: object): Uint8Array {
  return encoder.encodeSharedRef(toPlain(fields));
}

/**
 * Decodes the header of an untrusted message into a plain object.
 * @throws ProtocolError if it is not one map of plain values, within the limits.
 */
export function unpackHeader(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  scanMsgpack(bytes);
  let header: unknown;
  try {
    header = decoder.decode(bytes);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ProtocolError('E_HEADER_ENCODING', `message header does not decode (${reason})`);
  }
  if (
    typeof header !== 'object' ||
    header === null ||
    Array.isArray(header) ||
    header instanceof Uint8Array
  ) {
    throw new ProtocolError('E_HEADER_ENCODING', 'message header is not a map');
  }
  return header as Record<string, unknown>;
}

/** A copy that holds only what survives the way through msgpack unchanged. */
function toPlain(value: unknown): unknown {
  if (value === null || PLAIN_TYPES.has(typeof value) || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value === 'object' && isPlainObject(value)) return toPlainObject(value);
  const kind = typeof value === 'object' ? value.constructor.name : typeof value;
  throw new TypeError(`a message header cannot hold a value of type ${kind}`);
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function toPlainObject(value: object): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(value)) {
    if (property !== undefined) plain[name] = toPlain(property);
  }
  return plain;
}

/** Bytes after the tag, for tags from 0xc0 on that have a fixed size and hold a plain value. */
const FIXED_SIZES: ReadonlyMap<number, number> = new Map([
  [0xc0, 0], // nil
  [0xc2, 0], // false
  [0xc3, 0], // true
  [0xca, 4], // float
  [0xcb, 8],
  [0xcc, 1], // unsigned
  [0xcd, 2],
  [0xce, 4],
  [0xcf, 8],
  [0xd0, 1], // signed
  [0xd1, 2],
  [0xd2, 4],
  [0xd3, 8],
]);

/**
 * Tags followed by a length of 1, 2 or 4 bytes; `each` is the bytes or the values
 * per unit of that length.
 */
const SIZED: ReadonlyMap<number, { lengthBytes: 1 | 2 | 4; kind: 'bytes' | 'values'; each: number }> =
  new Map([
    [0xc4, { lengthBytes: 1, kind: 'bytes', each: 1 }], // binary
    [0xc5, { lengthBytes: 2, kind: 'bytes', each: 1 }],
    [0xc6, { lengthBytes: 4, kind: 'bytes', each: 1 }],
    [0xd9, { lengthBytes: 1, kind: 'bytes', each: 1 }], // string
    [0xda, { lengthBytes: 2, kind: 'bytes', each: 1 }],
    [0xdb, { lengthBytes: 4, kind: 'bytes', each: 1 }],
    [0xdc, { lengthBytes: 2, kind: 'values', each: 1 }], // array
    [0xdd, { lengthBytes: 4, kind: 'values', each: 1 }],
    [0xde, { lengthBytes: 2, kind: 'values', each: 2 }], // map
    [0xdf, { lengthBytes: 4, kind: 'values', each: 2 }],
  ]);

/** The extent that a tag announces: bytes to skip, then values inside it. */
interface Extent {
  readonly bytes: number;
  readonly values: number;
  readonly isMap?: boolean;
}

/**
 * Checks that `bytes` are exactly one msgpack value of numbers, strings, booleans, nil, binaries,
 * arrays and maps, at most `MAX_HEADER_DEPTH` containers deep, of at most `MAX_HEADER_ITEMS` values
 * and `MAX_MAP_KEYS` keys a map.
 * @throws ProtocolError otherwise.
 */
function scanMsgpack(bytes: Uint8Array): void {
  /** Values still to come, of each container that is open; the first is the document itself. */
  const pending = [1];
  let numItems = 1;
  let position = 0;
  while (pending.length > 0) {
    const innermost = pending.length - 1;
    if (pending[innermost] === 0) {
      pending.pop();
      continue;
    }
    pending[innermost] = (pending[innermost] as number) - 1;
    const { bytes: skipped, values, isMap } = extentAt(bytes, position);
    position += skipped;
    if (position > bytes.length) throw refused('ends inside a value');
    if (values === 0) continue;
    numItems += values;
    if (numItems > MAX_HEADER_ITEMS) throw refused(`has more than ${MAX_HEADER_ITEMS} values`);
    if (isMap && values > 2 * MAX_MAP_KEYS) throw refused(`has a map of more than ${MAX_MAP_KEYS} keys`);
    if (pending.length > MAX_HEADER_DEPTH) throw refused(`nests more than ${MAX_HEADER_DEPTH} deep`);
    pending.push(values);
  }
  if (position < bytes.length) throw refused(`has ${bytes.length - position} bytes after its end`);
}

function extentAt(bytes: Uint8Array, position: number): Extent {
  const tag = bytes[position];
  if (tag === undefined) throw refused('ends inside a value');
  if (tag < 0x80 || tag >= 0xe0) return { bytes: 1, values: 0 };
  if (tag < 0x90) return { bytes: 1, values: 2 * (tag & 0x0f) };
  if (tag < 0xa0) return { bytes: 1, values: tag & 0x0f };
  if (tag < 0xc0) return { bytes: 1 + (tag & 0x1f), values: 0 };
  const fixedSize = FIXED_SIZES.get(tag);
  if (fixedSize !== undefined) return { bytes: 1 + fixedSize, values: 0 };
  const sized = SIZED.get(tag);
  if (!sized) throw refused(`has a value of type 0x${tag.toString(16)}, which messages do not use`);
  const start = 1 + sized.lengthBytes;
  const length = readLength(bytes, position + 1, sized.lengthBytes);
  return sized.kind === 'bytes'
    ? { bytes: start + length, values: 0 }
    : { bytes: start, values: sized.each * length, isMap: sized.each === 2 };
}

function readLength(bytes: Uint8Array, position: number, lengthBytes: number): number {
  let length = 0;
  for (let index = position; index < position + lengthBytes; index++) {
    const byte = bytes[index];
    if (byte === undefined) throw refused('ends inside a value');
    length = length * 256 + byte;
  }
  return length;
}

function refused(what: string): ProtocolError {
  return new ProtocolError('E_HEADER_ENCODING', `message header ${what}`);
}
