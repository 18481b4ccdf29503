// IDX files, the format of MNIST and its kin: a big-endian header, then unsigned bytes.
//
//   00 00 08 D | D dimensions as u32 | data          D: 3 for images, 1 for labels; 08: unsigned bytes
//
// Source: http://yann.lecun.com/exdb/mnist (the format's only specification).
import { dataError } from '../../errors.ts';
import { MAX_BLOB_BYTES } from '../dataset/packed-dataset.ts';
import { displayPath, readBytes } from '../dataset/source-file.ts';
import { countOf, formatCount } from '../../printable.ts';

const UNSIGNED_BYTE = 8;
const MAGIC_BYTES = 4;
const DIMENSION_BYTES = 4;

/** The content of an IDX file, as its header states it. */
export interface IdxHeader {
  readonly path: string;
  /** Sizes, of which the first is the number of images or labels. */
  readonly dimensions: readonly number[];
  readonly headerBytes: number;
  readonly dataBytes: number;
}

/** The kind of content that a file must have, and the meaning of its dimensions. */
interface Content {
  readonly what: string;
  readonly axes: readonly string[];
}

/** Reads the header of an IDX file of images: [count, height, width]. */
export function readImageHeader(path: string): Promise<IdxHeader> {
  return readHeader(path, { what: 'images', axes: ['count', 'height', 'width'] });
}

/** Reads the header of an IDX file of labels: [count]. */
export function readLabelHeader(path: string): Promise<IdxHeader> {
  return readHeader(path, { what: 'labels', axes: ['count'] });
}

async function readHeader(path: string, content: Content): Promise<IdxHeader> {
  const { what, axes } = content;
  const headerBytes = MAGIC_BYTES + DIMENSION_BYTES * axes.length;
  const start = await readStart(path, headerBytes);
  const numDimensions = checkMagic(path, start);
  if (numDimensions !== axes.length) {
    const message = `has ${countOf(numDimensions, 'dimension')}; ${what} have ${axes.length}: [${axes.join(', ')}]`;
    throw idxError(path, message, dimensionsHelp(numDimensions, content));
  }
  if (start.length < headerBytes) {
    throw idxError(path, `ends inside its header (${start.length} of ${headerBytes} bytes)`);
  }
  const dimensions = Array.from({ length: numDimensions }, (_, index) =>
    start.readUInt32BE(MAGIC_BYTES + DIMENSION_BYTES * index),
  );
  const dataBytes = dimensions.reduce((product, size) => product * size, 1);
  if (dataBytes === 0) throw idxError(path, `holds nothing (${dimensions.join('x')})`);
  if (dataBytes > MAX_BLOB_BYTES) {
    throw idxError(path, `says it holds ${dimensions.join('x')} bytes; at most 2 GiB are read`);
  }
  return { path, dimensions, headerBytes, dataBytes };
}

/**
 * Help for a wrong number of dimensions. Channels are refused because files disagree on their place,
 * and in the wrong place they would be taken for pixels.
 */
function dimensionsHelp(found: number, { what }: Content): string | undefined {
  if (found === 1 || found === 3) return 'are images and labels exchanged in the config?';
  if (found !== 4 || what !== 'images') return undefined;
  return 'images of several channels come from a program, channels first: docs/api.md shows how';
}

async function readStart(path: string, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let numBytes = 0;
  for await (const chunk of readBytes(path)) {
    chunks.push(chunk);
    numBytes += chunk.length;
    if (numBytes >= length) break;
  }
  return Buffer.concat(chunks).subarray(0, length);
}

/** Returns the number of dimensions. */
function checkMagic(path: string, start: Buffer): number {
  const [zero, alsoZero, type, numDimensions] = start;
  if (zero !== 0 || alsoZero !== 0 || numDimensions === undefined) {
    const shown = start.toString('hex', 0, MAGIC_BYTES).toUpperCase();
    throw idxError(path, `starts with ${shown}; an IDX file of bytes starts with 000008`);
  }
  if (type !== UNSIGNED_BYTE) {
    throw idxError(path, `holds values of type ${type?.toString(16)}; only unsigned bytes (8) are read`);
  }
  return numDimensions;
}

/**
 * Reads the data of an IDX file into `out`, which is as long as the header says.
 *
 * @throws LockstepError if the file holds fewer or more bytes.
 */
export async function readIdxData(header: IdxHeader, out: Uint8Array): Promise<void> {
  let skip = header.headerBytes;
  let filled = 0;
  for await (const chunk of readBytes(header.path)) {
    const data = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - data.length;
    if (filled + data.length <= out.length) out.set(data, filled);
    filled += data.length;
  }
  if (filled === out.length) return;
  const expected = `${formatCount(out.length)} bytes (${header.dimensions.join('x')})`;
  throw idxError(header.path, `holds ${formatCount(filled)} bytes; its header says ${expected}`);
}

function idxError(path: string, found: string, help?: string) {
  return dataError('E_DATA_IDX', `${displayPath(path)} ${found}`, { help });
}
