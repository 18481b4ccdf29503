// A file of one JSON object a line: what a run has recorded is read back line by line, and cut back where it goes on.
import fs from 'node:fs';
import { LineFile } from '../../src/line-file.ts';
import { stringifyRecord } from '../../src/record-json.ts';

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
    this.#file.append(`${stringifyRecord(record)}\n`);
  }

  /** Keeps the leading whole lines whose record passes `isKept`, and drops the rest, a torn last line included. */
  keepLeading(isKept: (record: Record<string, unknown>) => boolean): void {
    const bytes = fs.readFileSync(this.#path);
    let end = 0;
    for (;;) {
      const newline = bytes.indexOf(0x0a, end);
      if (newline === -1) break;
      const record = parseRecord(bytes.toString('utf8', end, newline));
      if (!record || !isKept(record)) break;
      end = newline + 1;
    }
    this.#file.cutTo(end);
  }

  close(): void {
    this.#file.close();
  }
}

/** The records of whole lines; a torn last line is left out. Throws the system's error if there is no file. */
export function* readRecords(path: string): Generator<Record<string, unknown>, void, undefined> {
  for (const line of fs.readFileSync(path, 'utf8').split('\n')) {
    const record = parseRecord(line);
    if (record) yield record;
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
