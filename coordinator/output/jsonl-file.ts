// A file of one JSON object per line, which is read back line by line, and cut back when a run resumes.
import fs from 'node:fs';
import { LineFile } from '../../src/line-file.ts';
import { printable } from '../../src/printable.ts';
import { parseJson, stringifyRecord } from '../../src/json.ts';
import { openRegularFileSync } from '../../src/regular-file.ts';

/** A record takes some hundred bytes, or MiB with thousands of classes; a longer line is not a record. */
const MAX_LINE_BYTES = 2 ** 25;
/** Bytes read at a time: a long run records more than a string or a buffer can hold. */
const SLICE_BYTES = 2 ** 20;

/** Appends records to a JSONL file. */
export class JsonlFile {
  readonly #path: string;
  readonly #file: LineFile;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string) {
    this.#path = path;
    this.#file = new LineFile(path);
  }

  /** Writes one line, or none of it, and throws as {@link LineFile.append} does. */
  append(record: object): void {
    // Such files are watched in terminals; escaped, the values are the same.
    this.#file.append(`${printable(stringifyRecord(record))}\n`);
  }

  /**
   * Keeps the leading whole lines whose record passes `isKept`, and drops the rest, a torn last
   * line included.
   */
  keepLeading(isKept: (record: Record<string, unknown>) => boolean): void {
    let keptBytes = 0;
    for (const { text, end } of readLines(this.#path)) {
      const record = parseRecord(text);
      if (!record || !isKept(record)) break;
      keptBytes = end;
    }
    this.#file.cutTo(keptBytes);
  }

  close(): void {
    this.#file.close();
  }
}

/** The records of whole lines; a torn last line is left out. @throws UnreadableFile */
export function* readRecords(path: string): Generator<Record<string, unknown>, void, undefined> {
  for (const { text } of readLines(path)) {
    const record = parseRecord(text);
    if (record) yield record;
  }
}

/**
 * The whole lines of a file, up to one that is too long, and where each ends. All lines of a long
 * run fit no string.
 */
function* readLines(path: string): Generator<{ text: string; end: number }, void, undefined> {
  const { descriptor } = openRegularFileSync(path);
  try {
    const slice = Buffer.allocUnsafe(SLICE_BYTES);
    let position = 0;
    let torn = Buffer.alloc(0);
    while (torn.length <= MAX_LINE_BYTES) {
      const numBytes = fs.readSync(descriptor, slice, 0, slice.length, position + torn.length);
      if (numBytes === 0) return;
      const bytes = Buffer.concat([torn, slice.subarray(0, numBytes)]);
      let start = 0;
      for (let feed = bytes.indexOf(0x0a); feed !== -1; feed = bytes.indexOf(0x0a, start)) {
        yield { text: bytes.toString('utf8', start, feed), end: position + feed + 1 };
        start = feed + 1;
      }
      position += start;
      torn = bytes.subarray(start);
    }
  } finally {
    fs.closeSync(descriptor);
  }
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    const value = parseJson(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
