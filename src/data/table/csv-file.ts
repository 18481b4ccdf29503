// The text of a CSV file: its bytes, checked to be UTF-8, and the place of a field, for error messages.
// The place is found by reading the file again: the parser keeps no columns, and a load without errors
// should not pay for them.
import { isUtf8 } from 'node:buffer';
import { displayPath, readBytes } from '../dataset/source-file.ts';
import { LockstepError } from '../../errors.ts';
import type { ByteStream } from './table-file.ts';
import { shellWord } from '../../printable.ts';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** A field further into its record than this is reported by line alone. */
const MAX_SEARCH_BYTES = 2 ** 20;

/** A CSV file, and the character between its fields. */
export interface CsvFile {
  /** The path; of a stream its name for messages. */
  readonly path: string;
  /** The bytes of a stream, which cannot be read again. */
  readonly stream?: ByteStream | undefined;
  /** One character, or `spaces`. */
  readonly delimiter: string;
  /** Length of a first line such as `sep=;`, which is not a record. */
  readonly bytesToSkip?: number | undefined;
  /** True if the file is read for a trained model. */
  readonly isSaved?: boolean | undefined;
}

/** A field by the line its record starts on (blank lines before it do no harm) and its index from 0. */
export interface FieldAddress {
  readonly line: number;
  readonly index: number;
}

/** A place in a text file; both count from 1, columns in characters. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** The place where a field begins; undefined if the search gives up. */
export async function locateField(file: CsvFile, field: FieldAddress): Promise<TextPosition | undefined> {
  if (file.stream || file.delimiter === SPACES) return undefined;
  const text = await readFromLine(file.path, field.line);
  const at = findField(text, field.index, file.delimiter);
  if (at === undefined) return undefined;
  const lines = text.slice(0, at).split(/\r\n|\r|\n/);
  return { line: field.line + lines.length - 1, column: (lines.at(-1) ?? '').length + 1 };
}

/** Offset of a field in a text that starts with its record, or with blank lines before it. */
export function findField(text: string, index: number, delimiter: string): number | undefined {
  let found = 0;
  let isQuoted = false;
  let isRecordOpen = false;
  for (let at = text.startsWith('\uFEFF') ? 1 : 0; at < text.length; at++) {
    const character = text[at] as string;
    const isBreak = !isQuoted && (character === '\n' || character === '\r');
    if (isBreak && !isRecordOpen) continue;
    isRecordOpen = true;
    if (found === index) return at;
    if (isBreak) return undefined;
    // A doubled quote toggles twice, which is no change.
    if (character === '"') isQuoted = !isQuoted;
    else if (character === delimiter && !isQuoted) found += 1;
  }
  return found === index ? text.length : undefined;
}

/** The text from the start of a line on, as much as the search looks at. Lines end in LF, CR LF or CR. */
export async function readFromLine(path: string, line: number): Promise<string> {
  const found: Buffer[] = [];
  let foundBytes = 0;
  let breaksToSkip = line - 1;
  let isAfterReturn = false;
  for await (const chunk of readBytes(path)) {
    let start = 0;
    while (start < chunk.length && (breaksToSkip > 0 || (isAfterReturn && chunk[start] === NEWLINE))) {
      const byte = chunk[start];
      const isBreak = byte === RETURN || (byte === NEWLINE && !isAfterReturn);
      if (isBreak) breaksToSkip -= 1;
      isAfterReturn = byte === RETURN;
      start += 1;
    }
    if (start < chunk.length) isAfterReturn = false;
    found.push(chunk.subarray(start));
    foundBytes += chunk.length - start;
    if (foundBytes >= MAX_SEARCH_BYTES) break;
  }
  return Buffer.concat(found).toString('utf8');
}

/** The delimiter that stands for any number of spaces and tabs. */
export const SPACES = 'spaces';
/** The character that takes their place: the unit separator of ASCII, which no text has. */
export const MERGED_SPACES = '\u001f';

const [SPACE, TAB, QUOTE] = [0x20, 0x09, 0x22] as const;
const BYTE_ORDER_MARK = Buffer.from('efbbbf', 'hex');

/** Replaces spaces and tabs between fields by one character, and drops those at both ends of a line. */
export async function* mergeSpaces(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let isFirst = true;
  let isLineStart = true;
  let isAfterSpace = false;
  let isQuoted = false;
  for await (const chunk of source) {
    const merged = Buffer.allocUnsafe(chunk.length + 1);
    let length = 0;
    const hasMark = isFirst && BYTE_ORDER_MARK.equals(chunk.subarray(0, BYTE_ORDER_MARK.length));
    for (const byte of hasMark ? chunk.subarray(BYTE_ORDER_MARK.length) : chunk) {
      if (!isQuoted && (byte === SPACE || byte === TAB)) {
        isAfterSpace = true;
        continue;
      }
      const isBreak: boolean = !isQuoted && (byte === NEWLINE || byte === RETURN);
      if (isAfterSpace && !isLineStart && !isBreak) merged[length++] = MERGED_SPACES.charCodeAt(0);
      merged[length++] = byte;
      // Two quotes for one change it twice; one in the middle of a field is refused.
      if (byte === QUOTE) isQuoted = !isQuoted;
      isLineStart = isBreak;
      isAfterSpace = false;
    }
    isFirst = false;
    if (length > 0) yield merged.subarray(0, length);
  }
}

const MAX_SEQUENCE_BYTES = 4;

/**
 * Streams a file's bytes, checked to be UTF-8 without NUL; chunks end between characters. A decoder
 * would replace a wrong byte by U+FFFD, on which training would silently go ahead.
 *
 * @throws LockstepError naming the byte offset of the first wrong byte.
 */
export function readUtf8(path: string): AsyncGenerator<Buffer, void, undefined> {
  return checkUtf8(path, readBytes(path));
}

/** Passes on the bytes of a stream, which errors call `path`, checked like those of a file. */
export async function* checkUtf8(
  path: string,
  source: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  let offset = 0;
  let carried: Buffer = Buffer.alloc(0);
  for await (const bytes of source) {
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

/**
 * Refuses an IDX file by its first bytes (two zeros, a type, a number of dimensions): it is not text
 * in another encoding.
 */
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

/** Number of bytes at the end that begin a character, which the next chunk finishes. */
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
