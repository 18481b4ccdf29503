// Safetensors: an 8-byte little-endian header length, a JSON header, then raw tensor bytes. Reads
// and writes F32 only, and passes over PyTorch's counters of batches. Every size in the header is
// checked before it is used.
import { LockstepError, quoteValue } from './errors.ts';
import { endOfJsonString, parseJson } from './json.ts';

/** A tensor of a file: f32 values in row-major order. */
export interface NamedTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** The contents of a file. */
export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A tensor to be written. */
export interface TensorSource extends NamedTensor {
  readonly name: string;
}

/** The place of a tensor in the data that follows the header. */
export interface TensorPlace {
  readonly shape: readonly number[];
  /** Bytes from the start of the data; a multiple of 4. */
  readonly start: number;
  readonly end: number;
}

/** A header, checked. */
export interface SafetensorsHeader {
  readonly places: ReadonlyMap<string, TensorPlace>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The size of the header comes first, as a little-endian integer of this many bytes. */
export const LENGTH_BYTES = 8;

/**
 * Longest header of a file of weights, which takes some 100 bytes a tensor: room for 10,000.
 * Writers and readers keep to it.
 */
export const MAX_HEADER_BYTES = 1_048_576;
const MAX_DIMENSIONS = 8;

/** A header, and weights that fill all of a wasm32 memory. */
export const MAX_SAFETENSORS_BYTES = LENGTH_BYTES + MAX_HEADER_BYTES + 2 ** 32;
/** The count of batches that a norm of PyTorch's has seen, in int64: only a norm without momentum uses it. */
const BATCH_COUNTER = /(^|\.)num_batches_tracked$/;
/** The first byte of a page that a web server gives instead of a file. */
const LESS_THAN = 0x3c;
/** The first bytes of a zip archive: as a length they would be 64 MiB. */
const ZIP_MAGIC = 0x04034b50;

const SAVE_AS_SAFETENSORS =
  'in PyTorch: safetensors.torch.save_file(model.float().state_dict(), "weights.safetensors")';

/** Encodes tensors in the given order; `metadata` is stored under `__metadata__`. */
export function encodeSafetensors(
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header = encodeHeader(tensors, metadata);
  const numDataBytes = tensors.reduce((sum, { values }) => sum + values.byteLength, 0);
  const file = new Uint8Array(header.byteLength + numDataBytes);
  file.set(header);
  copyTensors(tensors, file.subarray(header.byteLength));
  return file;
}

/**
 * All that comes before the data: the header's length, and the header, which begins with
 * `__metadata__` and its entries in the given order, whatever the names of tensors.
 */
export function encodeHeader(
  tensors: readonly Pick<TensorSource, 'name' | 'shape'>[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  // Put together as text: an object would move names that look like numbers to the
  // front, and lose `__proto__`.
  const entries = [`"__metadata__":${JSON.stringify({ format: 'pt', ...metadata })}`];
  let end = 0;
  for (const { name, shape } of tensors) {
    const start = end;
    end += shape.reduce((product, size) => product * size, 4);
    const place = { dtype: 'F32', shape, data_offsets: [start, end] };
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(place)}`);
  }
  const text = new TextEncoder().encode(`{${entries.join(',')}}`);
  // Padded with spaces to 8 bytes, so that readers can map the tensors in place.
  const numSpaces = (8 - (text.length % 8)) % 8;
  const header = new Uint8Array(LENGTH_BYTES + text.length + numSpaces).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(text.length + numSpaces), true);
  header.set(text, LENGTH_BYTES);
  return header;
}

/** Copies the tensors' bytes one after the other to `target`, as the header says they lie. */
export function copyTensors(tensors: readonly TensorSource[], target: Uint8Array): void {
  let offset = 0;
  for (const { values } of tensors) {
    target.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
    offset += values.byteLength;
  }
}

/**
 * Decodes a file.
 * @throws LockstepError (exit 4) for a header that is too long, is not JSON, repeats a
 * key, names tensors outside the file, overlapping, with holes between them, or whose
 * shape and length disagree.
 */
export function decodeSafetensors(file: Uint8Array, path: string): SafetensorsFile {
  const refuse = refusalOf(path);
  if (file.byteLength < LENGTH_BYTES)
    throw refuse(`${file.byteLength} bytes are too few for a safetensors file`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  if (view.getUint32(0, true) === ZIP_MAGIC) {
    throw refuse('a zip archive, as torch.save writes it, and no safetensors file', SAVE_AS_SAFETENSORS);
  }
  if (file[0] === LESS_THAN && headerLength > MAX_HEADER_BYTES)
    throw refuse(
      'a page of HTML or XML, and no safetensors file',
      'download the file itself, not a page about it',
    );
  if (headerLength > MAX_HEADER_BYTES)
    throw refuse(`header of ${headerLength} bytes; at most ${MAX_HEADER_BYTES}`);
  const dataStart = LENGTH_BYTES + headerLength;
  if (dataStart > file.byteLength) {
    throw refuse(`truncated: the header ends at byte ${dataStart}, the file at ${file.byteLength}`);
  }
  const data = file.subarray(dataStart);
  const { places, metadata } = decodeHeader(file.subarray(LENGTH_BYTES, dataStart), data.byteLength, path);
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { shape, start, end }] of places) {
    // Copied byte by byte: the data may be unaligned, and a Buffer's slice() would not copy.
    const values = new Float32Array((end - start) / 4);
    new Uint8Array(values.buffer).set(data.subarray(start, end));
    tensors.set(name, { shape, values });
  }
  return { tensors, metadata };
}

/**
 * Decodes a header (without its length) that `dataLength` bytes of tensors follow.
 * @throws as decodeSafetensors
 */
export function decodeHeader(bytes: Uint8Array, dataLength: number, path: string): SafetensorsHeader {
  const refuse = refusalOf(path);
  const header = parseHeader(bytes, refuse);
  const places = new Map<string, TensorPlace>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== '__metadata__') places.set(name, checkEntry(name, entry, dataLength, refuse));
  }
  checkCoverage([...places.values()], dataLength, refuse);
  for (const name of places.keys()) if (BATCH_COUNTER.test(name)) places.delete(name);
  const metadata = header['__metadata__'];
  return { places, metadata: isStringRecord(metadata) ? metadata : {} };
}

function refusalOf(path: string): Refuse {
  return (message, help) =>
    new LockstepError({
      category: 'checkpoint',
      code: 'E_SAFETENSORS',
      message: `${path}: ${message}`,
      help,
    });
}

type Refuse = (message: string, help?: string) => LockstepError;

function parseHeader(bytes: Uint8Array, refuse: Refuse): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw refuse('the header does not start with "{"');
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    header = parseJson(text);
  } catch (error) {
    throw refuse(`the header is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw refuse(`the header has the key ${duplicate} twice`);
  return header as Record<string, unknown>;
}

/** JSON.parse keeps the last of two equal keys without a word. `json` is known to parse. */
function findDuplicateKey(json: string): string | undefined {
  const scopes: Set<unknown>[] = [];
  const token = /["{}]/g;
  for (let match = token.exec(json); match; match = token.exec(json)) {
    if (match[0] === '{') scopes.push(new Set());
    else if (match[0] === '}') scopes.pop();
    else {
      const end = endOfJsonString(json, match.index);
      token.lastIndex = end;
      if (!isKeyEnd(json, end)) continue;
      const key: unknown = JSON.parse(json.slice(match.index, end));
      if (scopes.at(-1)?.has(key)) return quoteValue(key);
      scopes.at(-1)?.add(key);
    }
  }
  return undefined;
}

function isKeyEnd(json: string, end: number): boolean {
  const colon = /\s*:/y;
  colon.lastIndex = end;
  return colon.test(json);
}

function checkEntry(name: string, entry: unknown, dataLength: number, refuse: Refuse): TensorPlace {
  const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  // Names come from the file: quoted and cut, so that none can fill or steer a terminal.
  const label = quoteValue(name);
  if (typeof entry !== 'object' || entry === null) throw refuse(`${label} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== 'string') throw refuse(`${label} has no valid dtype`);
  const isCounter = dtype === 'I64' && BATCH_COUNTER.test(name);
  if (dtype !== 'F32' && !isCounter) {
    throw refuse(`${label} has dtype ${quoteValue(dtype)}; only F32 is read`, SAVE_AS_SAFETENSORS);
  }
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
  let length = isCounter ? 8 : 4;
  for (const size of shape) {
    length *= size;
    if (!Number.isSafeInteger(length)) throw refuse(`${label} has a shape too large to count`);
  }
  if (length !== end - start) throw refuse(`${label} has ${end - start} bytes, its shape needs ${length}`);
  return { shape, start, end };
}

function checkCoverage(places: readonly TensorPlace[], dataLength: number, refuse: Refuse): void {
  let next = 0;
  for (const { start, end } of places.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
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
