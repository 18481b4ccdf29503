// A file of one JSON object a line: what a run has recorded is read back line by line, and cut back where it goes on.
import fs from 'node:fs';
import { LineFile } from '../../src/line-file.ts';

/** Appends records to a JSONL file. Not-a-number and infinities become null, as JSON has neither. */
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
    this.#file.append(`${JSON.stringify(record)}\n`);
  }

  /** Keeps the leading whole lines whose record passes `isKept`, and drops the rest, a torn last line included. */
  keepLeading(isKept: (record: Record<string, unknown>) => boolean): void {
    let keptBytes = 0;
    for (const { line, end } of wholeLines(this.#path)) {
      const record = parseRecord(line);
      if (!record || !isKept(record)) break;
      keptBytes = end;
    }
    this.#file.cutTo(keptBytes);
  }

  close(): void {
    this.#file.close();
  }
}

/** The records of whole lines; a torn last line is left out. Throws the system's error if there is no file. */
export function* readRecords(path: string): Generator<Record<string, unknown>, void, undefined> {
  for (const { line } of wholeLines(path)) {
    const record = parseRecord(line);
    if (record) yield record;
  }
}

/** Read at once; a long run records more than a string or a buffer can hold. */
const SLICE_BYTES = 2 ** 20;

/** Every line that has its line feed, and the bytes up to and with it. */
function* wholeLines(path: string): Generator<{ readonly line: string; readonly end: number }> {
  const file = fs.openSync(path, 'r');
  try {
    const slice = Buffer.alloc(SLICE_BYTES);
    let begun: Buffer[] = [];
    let position = 0;
    for (;;) {
      const numBytes = fs.readSync(file, slice, 0, SLICE_BYTES, position);
      if (numBytes === 0) return;
      let start = 0;
      for (let at = slice.indexOf(0x0a); at !== -1 && at < numBytes; at = slice.indexOf(0x0a, start)) {
        const line = Buffer.concat([...begun, slice.subarray(start, at)]).toString('utf8');
        begun = [];
        start = at + 1;
        yield { line, end: position + start };
      }
      begun.push(Buffer.from(slice.subarray(start, numBytes)));
      position += numBytes;
    }
  } finally {
    fs.closeSync(file);
  }
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
