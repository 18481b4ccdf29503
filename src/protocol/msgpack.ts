// Headers to msgpack and back, restricted to plain values on both ways.
import './msgpackr-environment.ts';
import { Packr, Unpackr } from 'msgpackr';
import { ProtocolError } from './protocol-error.ts';
import { scanMsgpack } from './scan-msgpack.ts';

const packr = new Packr({ useRecords: false, moreTypes: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, structuredClone: false });

const PLAIN_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'boolean']);

/**
 * Encodes a header; properties that are undefined are left out.
 * @returns a view that is valid until the next call.
 * @throws TypeError for what msgpackr would encode as something else, a `Float32Array` above all.
 */
export function packHeader(fields: object): Uint8Array {
  return packr.pack(toPlain(fields));
}

/**
 * Decodes the header of an untrusted message into a plain object.
 * @throws ProtocolError if it is not one map of plain values, within the limits.
 */
export function unpackHeader(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  scanMsgpack(bytes);
  let header: unknown;
  try {
    header = unpackr.unpack(bytes);
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

/** A copy that holds only what survives the way through msgpackr unchanged. */
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
