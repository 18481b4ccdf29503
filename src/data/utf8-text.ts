// Lets UTF-8 text through unchanged and stops at the first byte that is not.
// A decoder would put U+FFFD in its place and train on it in silence.
import { isUtf8 } from 'node:buffer';
import { LockstepError } from '../errors.ts';
import { shellWord } from '../printable.ts';
import { displayPath, readBytes } from './source-file.ts';

const MAX_SEQUENCE_BYTES = 4;

/**
 * Streams a file's bytes, checked to be UTF-8 without NUL; chunks end between characters.
 *
 * @throws LockstepError naming the byte offset of the first wrong byte.
 */
export async function* readUtf8(path: string): AsyncGenerator<Buffer, void, undefined> {
  let offset = 0;
  let carried: Buffer = Buffer.alloc(0);
  for await (const bytes of readBytes(path)) {
    const chunk = carried.length > 0 ? Buffer.concat([carried, bytes]) : bytes;
    if (offset === 0) {
      refuseIdx(path, chunk);
      refuseUtf16(path, chunk);
    }
    const end = chunk.length - unfinishedTail(chunk);
    const text = chunk.subarray(0, end);
    refuseBadBytes(path, text, offset);
    if (text.length > 0) yield text;
    carried = chunk.subarray(end);
    offset += end;
  }
  refuseBadBytes(path, carried, offset);
}

/** Two zeros, a type and a number of dimensions: images in a table's place are no text in another encoding. */
function refuseIdx(path: string, start: Buffer): void {
  if (!/^0000(08|09|0b|0c|0d|0e)0[1-9]/.test(start.toString('hex', 0, 4))) return;
  const message = `${displayPath(path)} is an IDX file, of images or labels, not a table`;
  const help = 'a table is CSV or TSV; a config names images as { images: FILE, labels: FILE }';
  throw new LockstepError({ category: 'data', code: 'E_DATA_FORMAT', message, help });
}

function refuseUtf16(path: string, start: Buffer): void {
  const mark = start.toString('hex', 0, 2);
  if (mark !== 'fffe' && mark !== 'feff') return;
  const shown = mark === 'fffe' ? 'FF FE' : 'FE FF';
  throw encodingError(path, `bytes ${shown} at byte 0: UTF-16, expected UTF-8`, 'utf-16');
}

function refuseBadBytes(path: string, text: Buffer, offset: number): void {
  const nul = text.indexOf(0);
  if (nul !== -1) throw encodingError(path, `NUL at byte ${offset + nul}: not text, or UTF-16`, 'utf-16');
  if (isUtf8(text)) return;
  const bad = firstInvalidByte(text);
  const shown = text.toString('hex', bad, bad + 1).toUpperCase();
  throw encodingError(path, `byte ${shown} at byte ${offset + bad}: not UTF-8`, 'latin1');
}

/** How many bytes at the end begin a character that the next chunk finishes. */
function unfinishedTail(chunk: Buffer): number {
  for (let back = 1; back < MAX_SEQUENCE_BYTES && back <= chunk.length; back++) {
    const byte = chunk[chunk.length - back] as number;
    if (byte >= 0xc0) return sequenceLength(byte) > back ? back : 0;
    if (byte < 0x80) return 0;
  }
  return 0;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead >= 0xf0) return 4;
  return lead >= 0xe0 ? 3 : 2;
}

/** Walks the text a character at a time: slow, but only ever done once, for a message. */
function firstInvalidByte(text: Buffer): number {
  let at = 0;
  while (at < text.length) {
    const end = at + sequenceLength(text[at] as number);
    if (!isUtf8(text.subarray(at, end))) return at;
    at = end;
  }
  return at;
}

function encodingError(path: string, found: string, charset: string): LockstepError {
  const name = displayPath(path);
  return new LockstepError({
    category: 'data',
    code: 'E_DATA_ENCODING',
    message: `${name} has ${found}`,
    help: `convert it: iconv -f ${charset} -t utf-8 ${shellWord(name)} > utf8.csv`,
  });
}
