// A file of one JSON object a line, appended synchronously: a line is in the kernel's hands when `append`
// returns, so a killed process loses none.
import fs from 'node:fs';

/** Appends records to a JSONL file. Not-a-number and infinities become null, as JSON has neither. */
export class JsonlFile {
  #descriptor: number | undefined;
  /** Bytes of whole lines. */
  #byteLength: number;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string) {
    this.#descriptor = fs.openSync(path, 'a');
    this.#byteLength = fs.fstatSync(this.#descriptor).size;
  }

  /**
   * Writes one line, or none of it. Throws the system's error, as of a full disk (the next line may find room again),
   * or an `Error` after `close`.
   */
  append(record: object): void {
    const descriptor = this.#descriptor;
    if (descriptor === undefined) throw new Error('the file is closed');
    const line = Buffer.from(`${JSON.stringify(record)}\n`);
    try {
      for (let done = 0; done < line.length;) done += fs.writeSync(descriptor, line, done);
    } catch (error) {
      this.#cutBack(descriptor);
      throw error;
    }
    this.#byteLength += line.length;
  }

  /** Removes a line that found room for its beginning only. */
  #cutBack(descriptor: number): void {
    try {
      fs.ftruncateSync(descriptor, this.#byteLength);
    } catch {
      // Not a regular file, or a disk that fails in every way: the error of the write says more.
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

/** The records of whole lines; a torn last line is left out. Throws the system's error if there is no file. */
export function* readRecords(path: string): Generator<Record<string, unknown>, void, undefined> {
  for (const line of fs.readFileSync(path, 'utf8').split('\n')) {
    const record = parseRecord(line);
    if (record) yield record;
  }
}

/** Keeps the leading whole lines whose record passes `isKept`, and drops the rest, a torn last line included. */
export function keepLeadingRecords(path: string, isKept: (record: Record<string, unknown>) => boolean): void {
  if (!fs.existsSync(path)) return;
  const bytes = fs.readFileSync(path);
  let end = 0;
  for (;;) {
    const newline = bytes.indexOf(0x0a, end);
    if (newline === -1) break;
    const record = parseRecord(bytes.toString('utf8', end, newline));
    if (!record || !isKept(record)) break;
    end = newline + 1;
  }
  if (end < bytes.length) fs.truncateSync(path, end);
}

function parseRecord(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
