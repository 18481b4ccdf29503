// A checkpoint as one file: safetensors, so that others can read its tensors, with the rest in the
// metadata. A SHA-256 over the whole file guards it. Its digits are in the file itself, at a fixed place,
// and count as zeros:
//
//   length of header | {"__metadata__":{"format":"pt","checkpoint":"1","sha256":"<64 digits>","step":...,"lockstep":...
import { createHash } from 'node:crypto';
import { sliceBytes } from '../durable-write.ts';
import type { FileSlice } from '../durable-write.ts';
import { LockstepError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { copyTensors, encodeHeader, LENGTH_BYTES } from '../safetensors.ts';
import type { TensorSource } from '../safetensors.ts';

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
export const CHECKPOINT_VERSION = '1';

/**
 * Header and manifest together. Other readers of safetensors refuse headers of 100 MB; half a million
 * epochs of ten metrics would fit, and take a second to encode: long histories belong into files that
 * grow by lines.
 */
export const MAX_CHECKPOINT_HEADER_BYTES = 67_108_864;

/** The beginning of a checkpoint's header, up to the digits of the version. */
export const BEFORE_VERSION = '{"__metadata__":{"format":"pt","checkpoint":"';
/** The text between the version and the digits of the hash. */
export const BEFORE_HASH = '","sha256":"';
/** The zeros that are hashed in the place of the hash's own digits. */
export const NO_HASH = '0'.repeat(64);
/** Offset of the digits of the hash in the file. */
export const HASH_START =
  LENGTH_BYTES + BEFORE_VERSION.length + CHECKPOINT_VERSION.length + BEFORE_HASH.length;

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

const MARK = '$number';

/** The numbers that JSON has no words for. */
const SPECIAL: ReadonlyMap<string, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
]);

/**
 * The JSON text of plain data. @throws TypeError if an object in it has the key `$number`, which would be
 * taken for a number when it is read.
 */
export function stringifyExactly(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === 'number') return markSpecial(part);
    if (typeof part === 'object' && part !== null && Object.hasOwn(part, MARK)) {
      throw new TypeError(`the key ${MARK} is reserved for numbers`);
    }
    return part;
  });
}

/**
 * Reads the output of {@link stringifyExactly}.
 *
 * @throws SyntaxError if it is not JSON, or marks something else as a number
 */
export function parseExactly(text: string): unknown {
  return parseJson(text, (_key, part) => {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, MARK)) return part;
    const number = SPECIAL.get(String((part as Record<string, unknown>)[MARK]));
    if (number === undefined || Object.keys(part).length > 1)
      throw new SyntaxError(`${MARK} without a number`);
    return number;
  });
}

function markSpecial(value: number): unknown {
  const isPlain = Number.isFinite(value) && !Object.is(value, -0);
  return isPlain ? value : { [MARK]: Object.is(value, -0) ? '-0' : String(value) };
}
