// Safetensors: an 8-byte little-endian header length, a JSON header, then raw tensor bytes.
// Reads and writes F32 only. Every size in the header is checked before it is used.
import { LockstepError, quoteValue } from './errors.ts';

/** A tensor of a file: f32 values in row-major order. */
export interface NamedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** What a file holds. */
export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const LENGTH_BYTES = 8;
const MAX_HEADER_BYTES = 1_048_576;
const MAX_DIMENSIONS = 8;

/** Encodes tensors in the given order; `metadata` is stored under `__metadata__`. */
export function encodeSafetensors(
  tensors: readonly { name: string; shape: readonly number[]; values: Float32Array }[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } };
  let end = 0;
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  // Padded with spaces to 8 bytes, so that readers can map the tensors in place.
  const text = JSON.stringify(header);
  const numSpaces = (8 - (Buffer.byteLength(text) % 8)) % 8;
  const headerBytes = Buffer.from(text + ' '.repeat(numSpaces));
  const file = Buffer.alloc(LENGTH_BYTES + headerBytes.length + end);
  file.writeBigUInt64LE(BigInt(headerBytes.length), 0);
  file.set(headerBytes, LENGTH_BYTES);
  let offset = LENGTH_BYTES + headerBytes.length;
  for (const { values } of tensors) {
    file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
    offset += values.byteLength;
  }
  return file;
}

/**
 * Decodes a file. @throws LockstepError (exit 4) for a header that is too long, is not JSON, repeats a
 * key, names tensors outside the file, overlapping, with holes between them, or whose shape and length disagree.
 */
export function decodeSafetensors(file: Uint8Array, path: string): SafetensorsFile {
  const refuse = (message: string): LockstepError =>
    new LockstepError({ category: 'checkpoint', code: 'E_SAFETENSORS', message: `${path}: ${message}` });
  if (file.byteLength < LENGTH_BYTES)
    throw refuse(`${file.byteLength} bytes are too few for a safetensors file`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  if (headerLength > MAX_HEADER_BYTES)
    throw refuse(`header of ${headerLength} bytes; at most ${MAX_HEADER_BYTES}`);
  const dataStart = LENGTH_BYTES + headerLength;
  if (dataStart > file.byteLength) {
    throw refuse(`truncated: the header ends at byte ${dataStart}, the file at ${file.byteLength}`);
  }
  const header = parseHeader(file.subarray(LENGTH_BYTES, dataStart), refuse);
  const data = file.subarray(dataStart);
  const tensors = new Map<string, NamedTensor>();
  const ranges: [number, number][] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { shape, start, end } = checkEntry(name, entry, data.byteLength, refuse);
    ranges.push([start, end]);
    // Copied byte by byte: the data may be unaligned, and a Buffer's own slice() would not copy.
    const values = new Float32Array((end - start) / 4);
    new Uint8Array(values.buffer).set(data.subarray(start, end));
    tensors.set(name, { shape, values });
  }
  checkCoverage(ranges, data.byteLength, refuse);
  const metadata = header['__metadata__'];
  return { tensors, metadata: isStringRecord(metadata) ? metadata : {} };
}

type Refuse = (message: string) => LockstepError;

function parseHeader(bytes: Uint8Array, refuse: Refuse): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw refuse('the header does not start with "{"');
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw refuse(`the header is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw refuse(`the header has the key ${duplicate} twice`);
  return header as Record<string, unknown>;
}

/** A string, with the colon that makes it a key, or a brace. */
const JSON_TOKEN = /("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}]/g;

/** JSON.parse keeps the last of two equal keys without a word. `json` is known to parse. */
function findDuplicateKey(json: string): string | undefined {
  const scopes: Set<unknown>[] = [];
  for (const [token, text, colon] of json.matchAll(JSON_TOKEN)) {
    if (token === '{') scopes.push(new Set());
    else if (token === '}') scopes.pop();
    else if (text !== undefined && colon !== undefined) {
      const key: unknown = JSON.parse(text);
      if (scopes.at(-1)?.has(key)) return quoteValue(key);
      scopes.at(-1)?.add(key);
    }
  }
  return undefined;
}

function checkEntry(
  name: string,
  entry: unknown,
  dataLength: number,
  refuse: Refuse,
): { shape: number[]; start: number; end: number } {
  const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  // Names come from the file: quoted and cut, so that none can fill or steer a terminal.
  const label = quoteValue(name);
  if (typeof entry !== 'object' || entry === null) throw refuse(`${label} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== 'string') throw refuse(`${label} has no valid dtype`);
  if (dtype !== 'F32') throw refuse(`${label} has dtype ${quoteValue(dtype)}; only F32 is read`);
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isSize)) {
    throw refuse(`${label} has no valid shape`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw refuse(`${label} has no valid data_offsets`);
  }
  const [start, end] = offsets as [number, number];
  if (start > end || end > dataLength) {
    throw refuse(`${label} lies at bytes ${start} to ${end} of ${dataLength}`);
  }
  let length = 4;
  for (const size of shape) {
    length *= size;
    if (!Number.isSafeInteger(length)) throw refuse(`${label} has a shape too large to count`);
  }
  if (length !== end - start) throw refuse(`${label} has ${end - start} bytes, its shape needs ${length}`);
  return { shape: shape, start, end };
}

function checkCoverage(ranges: [number, number][], dataLength: number, refuse: Refuse): void {
  let next = 0;
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (start !== next)
      throw refuse(start < next ? `tensors overlap at byte ${start}` : `hole at byte ${next}`);
    next = end;
  }
  if (next !== dataLength) throw refuse(`${dataLength - next} bytes after the last tensor`);
}

function isStringRecord(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' && value !== null && Object.values(value).every((v) => typeof v === 'string')
  );
}
