// Finds the place of one field for an error message by reading the file again: the parser keeps no
// columns, and a load without errors should not pay for them.
import { readBytes } from './source-file.ts';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** A field further into its record than this is reported by line alone. */
const MAX_SEARCH_BYTES = 2 ** 20;

/** One CSV file and the character between its fields. */
export interface CsvFile {
  readonly path: string;
  readonly delimiter: string;
  /** Of a first line such as `sep=;`, which is no record. */
  readonly bytesToSkip?: number | undefined;
  /** Whether a trained model is to read it. */
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

/** Where a field begins, or undefined where the search gives up. */
export async function locateField(file: CsvFile, field: FieldAddress): Promise<TextPosition | undefined> {
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
    // A doubled quote toggles twice, which is the same as not at all.
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
