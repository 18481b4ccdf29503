// Finds the place of one field for an error message by reading the file again: the parser keeps no
// columns, and a load without errors should not pay for them.
import { readBytes } from './source-file.ts';

const NEWLINE = 0x0a;
/** A field further into its record than this is reported by line alone. */
const MAX_SEARCH_BYTES = 2 ** 20;

/** One CSV file and the character between its fields. */
export interface CsvFile {
  readonly path: string;
  readonly delimiter: string;
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
  let index = 0;
  let line = field.line;
  let lineStart = 0;
  let isQuoted = false;
  let isRecordOpen = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === '\n' && (isQuoted || !isRecordOpen)) {
      line += 1;
      lineStart = at + 1;
      continue;
    }
    if (character === '\r' && !isRecordOpen) continue;
    isRecordOpen = true;
    if (index === field.index) return { line, column: at - lineStart + 1 };
    if (character === '\n') return undefined;
    // A doubled quote toggles twice, which is the same as not at all.
    if (character === '"') isQuoted = !isQuoted;
    else if (character === file.delimiter && !isQuoted) index += 1;
  }
  return index === field.index ? { line, column: text.length - lineStart + 1 } : undefined;
}

/** The text from the start of a line on, as much as the search looks at. */
async function readFromLine(path: string, line: number): Promise<string> {
  const found: Buffer[] = [];
  let foundBytes = 0;
  let newlinesToSkip = line - 1;
  for await (const chunk of readBytes(path)) {
    let start = 0;
    while (newlinesToSkip > 0 && start < chunk.length) {
      const newline = chunk.indexOf(NEWLINE, start);
      start = newline === -1 ? chunk.length : newline + 1;
      if (newline !== -1) newlinesToSkip -= 1;
    }
    found.push(chunk.subarray(start));
    foundBytes += chunk.length - start;
    if (foundBytes >= MAX_SEARCH_BYTES) break;
  }
  return Buffer.concat(found).toString('utf8');
}
