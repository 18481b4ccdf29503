// Reads a checkpoint and trusts nothing in it: the hash is checked before a word of the header is
// believed, except its length and the hash itself.
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { SLICE_BYTES } from '../durable-write.ts';
import { LockstepError } from '../errors.ts';
import { openRegularFile } from '../regular-file.ts';
import { decodeHeader, LENGTH_BYTES, type NamedTensor } from '../safetensors.ts';
import {
  BEFORE_HASH,
  BEFORE_VERSION,
  CHECKPOINT_VERSION,
  HASH_START,
  MAX_CHECKPOINT_HEADER_BYTES,
  NO_HASH,
  parseExactly,
} from './checkpoint-file.ts';

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

/** Size of a whole wasm32 memory, which holds every tensor of ours. */
const MAX_DATA_BYTES = 4_294_967_296;

const HASH_END = HASH_START + NO_HASH.length;

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
