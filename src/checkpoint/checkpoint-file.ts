// A checkpoint as one file: safetensors, so that others can read its tensors, with the rest in the
// metadata. A SHA-256 over the whole file guards it. Its digits are in the file itself, at a fixed place,
// and count as zeros. The reader trusts nothing: it checks the hash before it believes a word of the header,
// except its length and the hash itself.
//
//   length of header | {"__metadata__":{"format":"pt","checkpoint":"1","sha256":"<64 digits>",...
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { sliceBytes, SLICE_BYTES } from '../durable-write.ts';
import type { FileSlice } from '../durable-write.ts';
import { LockstepError } from '../errors.ts';
import { parseExactly, stringifyExactly } from '../json.ts';
import { copyTensors, decodeHeader, encodeHeader, LENGTH_BYTES } from '../safetensors.ts';
import type { NamedTensor, TensorSource } from '../safetensors.ts';
import { openRegularFile } from '../regular-file.ts';

/** Everything that a checkpoint is made from. */
export interface CheckpointContent {
  /** Steps committed. */
  readonly step: number;
  /** True if no earlier checkpoint of the run was better. */
  readonly isBest: boolean;
  readonly tensors: readonly TensorSource[];
  /** Plain data; numbers keep their bits. The reader checks it. */
  readonly manifest: unknown;
}

/** A checkpoint ready to be written: a copy, so that what it was made from may change. */
export interface EncodedCheckpoint {
  readonly step: number;
  readonly isBest: boolean;
  readonly byteLength: number;
  /** The tensors' bytes, in memory that the next checkpoint may reuse once this one is written. */
  readonly data: Uint8Array;
  /**
   * The file in slices; the last one overwrites the zeros in the place of the hash. Can be asked for
   * repeatedly.
   */
  slices(): Generator<FileSlice, void, void>;
}

/** Raised whenever older programs could not read what newer ones write, or the reverse. */
const CHECKPOINT_VERSION = '1';

/**
 * Header and manifest together. Other readers of safetensors refuse headers of 100 MB; half a million
 * epochs of ten metrics would fit, and take a second to encode: long histories belong into files that
 * grow by lines.
 */
export const MAX_CHECKPOINT_HEADER_BYTES = 67_108_864;

/** The beginning of a checkpoint's header, up to the digits of the version. */
const BEFORE_VERSION = '{"__metadata__":{"format":"pt","checkpoint":"';
/** The text between the version and the digits of the hash. */
const BEFORE_HASH = '","sha256":"';
/** The zeros that are hashed in the place of the hash's own digits. */
const NO_HASH = '0'.repeat(64);
/** Size of a whole wasm32 memory, which holds every tensor of ours. */
const MAX_DATA_BYTES = 4_294_967_296;

/** Offset of the digits of the hash in the file. */
export const HASH_START =
  LENGTH_BYTES + BEFORE_VERSION.length + CHECKPOINT_VERSION.length + BEFORE_HASH.length;
const HASH_END = HASH_START + NO_HASH.length;

/**
 * Encodes the manifest, and copies the tensors into memory of at least their size, which `takeMemory`
 * provides.
 *
 * @throws LockstepError (exit 4) if the manifest is too long
 */
export function encodeCheckpoint(
  content: CheckpointContent,
  takeMemory: (byteLength: number) => Uint8Array = (byteLength) => new Uint8Array(byteLength),
): EncodedCheckpoint {
  const { step, isBest, tensors, manifest } = content;
  const header = encodeHeader(tensors, {
    checkpoint: CHECKPOINT_VERSION,
    sha256: NO_HASH,
    step: String(step),
    isBest: String(isBest),
    lockstep: stringifyExactly(manifest),
  });
  if (header.byteLength > MAX_CHECKPOINT_HEADER_BYTES) {
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_CHECKPOINT_SIZE',
      message: `the checkpoint of step ${step} has a header of ${header.byteLength} bytes; at most ${MAX_CHECKPOINT_HEADER_BYTES}`,
    });
  }
  const numDataBytes = tensors.reduce((sum, { values }) => sum + values.byteLength, 0);
  const data = takeMemory(numDataBytes).subarray(0, numDataBytes);
  copyTensors(tensors, data);
  const byteLength = header.byteLength + numDataBytes;
  return { step, isBest, byteLength, data, slices: () => hashedSlices(header, data) };
}

/** The slices of a file, then its hash, which comes before the bytes that it covers. */
function* hashedSlices(header: Uint8Array, data: Uint8Array): Generator<FileSlice, void, void> {
  const hash = createHash('sha256');
  for (const slices of [sliceBytes(header), sliceBytes(data, header.byteLength)]) {
    for (const slice of slices) {
      hash.update(slice.bytes);
      yield slice;
    }
  }
  yield { position: HASH_START, bytes: Buffer.from(hash.digest('hex'), 'latin1') };
}

/** A checkpoint that was read, and found whole. */
export interface Checkpoint {
  readonly path: string;
  /** Steps committed. */
  readonly step: number;
  /** True if no earlier checkpoint of the run was better. */
  readonly isBest: boolean;
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  /** The manifest as the writer was given it, by way of JSON. */
  readonly manifest: unknown;
}

type Refuse = (problem: string) => LockstepError;

/**
 * Reads a checkpoint and checks all of it: sizes, version, hash, header.
 *
 * @throws LockstepError (exit 4) that names the file and what is wrong with it
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const refuse = (problem: string, cause?: unknown): LockstepError =>
    new LockstepError({
      category: 'checkpoint',
      code: 'E_CHECKPOINT',
      message: `${path}: ${problem}`,
      cause,
    });
  let file: FileHandle | undefined;
  try {
    const opened = await openRegularFile(path);
    file = opened.handle;
    return await readOpenFile(file, opened.stats.size, path, refuse);
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw refuse(`cannot be read (${error instanceof Error ? error.message : String(error)})`, error);
  } finally {
    await file?.close();
  }
}

async function readOpenFile(
  file: FileHandle,
  size: number,
  path: string,
  refuse: Refuse,
): Promise<Checkpoint> {
  if (size < HASH_END) throw refuse(`truncated: ${size} bytes are too few for a checkpoint`);
  const start = Buffer.from(await readRange(file, { start: 0, length: HASH_END, refuse }));
  const dataStart = checkSizes(start, size, refuse);
  const storedHash = checkStart(start.toString('latin1', LENGTH_BYTES), refuse);

  const hash = createHash('sha256');
  const onSlice = (bytes: Uint8Array): void => void hash.update(bytes);
  onSlice(start.fill(NO_HASH, HASH_START));
  const rest = await readRange(file, { start: HASH_END, length: dataStart - HASH_END, refuse, onSlice });
  const data = await readRange(file, { start: dataStart, length: size - dataStart, refuse, onSlice });
  if (hash.digest('hex') !== storedHash) throw refuse('damaged: its bytes do not match its SHA-256');
  return decode(Buffer.concat([start.subarray(LENGTH_BYTES), rest]), data, path, refuse);
}

/** Checks the sizes; returns the offset of the data. */
function checkSizes(start: Buffer, size: number, refuse: Refuse): number {
  const headerLength = Number(start.readBigUInt64LE(0));
  const dataStart = LENGTH_BYTES + headerLength;
  if (headerLength > MAX_CHECKPOINT_HEADER_BYTES || dataStart < HASH_END) {
    throw refuse(`damaged, or no checkpoint: a header of ${headerLength} bytes`);
  }
  if (dataStart > size) {
    throw refuse(`truncated: the header ends at byte ${dataStart}, the file at ${size}`);
  }
  if (size - dataStart > MAX_DATA_BYTES) {
    throw refuse(`${size - dataStart} bytes of tensors; at most ${MAX_DATA_BYTES}`);
  }
  return dataStart;
}

/** Checks the start of the header, up to the end of the hash, which is returned. */
function checkStart(text: string, refuse: Refuse): string {
  if (!text.startsWith(BEFORE_VERSION))
    throw refuse('damaged, or not a checkpoint: its header starts differently');
  const version = /^\d+/.exec(text.slice(BEFORE_VERSION.length))?.[0];
  if (version !== undefined && version !== CHECKPOINT_VERSION) {
    throw refuse(`a checkpoint of version ${version}; this program reads version ${CHECKPOINT_VERSION}`);
  }
  if (!text.startsWith(BEFORE_VERSION + CHECKPOINT_VERSION + BEFORE_HASH)) {
    throw refuse('damaged, or not a checkpoint: its header starts differently');
  }
  return text.slice(-NO_HASH.length);
}

interface Range {
  readonly start: number;
  readonly length: number;
  readonly refuse: Refuse;
  readonly onSlice?: (bytes: Uint8Array) => void;
}

/** Reads a range in slices, so that hashing them leaves the event loop free in between. */
async function readRange(file: FileHandle, { start, length, refuse, onSlice }: Range): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const wanted = Math.min(SLICE_BYTES, length - done);
    const { bytesRead } = await file.read(bytes, done, wanted, start + done);
    if (bytesRead === 0) throw refuse(`truncated while it was read, at byte ${start + done}`);
    onSlice?.(bytes.subarray(done, done + bytesRead));
    done += bytesRead;
  }
  return bytes;
}

/** Decodes a checkpoint whose hash is right: anything wrong in it was written like that. */
function decode(header: Uint8Array, data: Uint8Array, path: string, refuse: Refuse): Checkpoint {
  const { places, metadata } = decodeHeader(header, data.byteLength, path);
  const { step = '', isBest = '', lockstep } = metadata;
  if (!/^\d{1,15}$/.test(step)) throw refuse('it does not say its step');
  if (isBest !== 'true' && isBest !== 'false') throw refuse('it does not say whether it is the best');
  if (lockstep === undefined) throw refuse('it has no manifest');
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { shape, start, end }] of places) {
    tensors.set(name, { shape, values: new Float32Array(data.buffer, start, (end - start) / 4) });
  }
  try {
    return { path, step: Number(step), isBest: isBest === 'true', tensors, manifest: parseExactly(lockstep) };
  } catch (error) {
    throw refuse(`its manifest is not JSON (${String(error)})`);
  }
}
