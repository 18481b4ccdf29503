// A file of one JSON object a line, appended synchronously: a line is in the kernel's hands when `append`
// returns, so a killed process loses none.
import fs from 'node:fs';

/** Appends records to a JSONL file. Not-a-number and infinities become null, as JSON has neither. */
export class JsonlFile {
  #descriptor: number | undefined;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string) {
    this.#descriptor = fs.openSync(path, 'a');
  }

  /** Writes one line. Throws the system's error, or an `Error` after `close`. */
  append(record: object): void {
    if (this.#descriptor === undefined) throw new Error('the file is closed');
    const line = Buffer.from(`${JSON.stringify(record)}\n`);
    for (let done = 0; done < line.length;) done += fs.writeSync(this.#descriptor, line, done);
  }

  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor);
    this.#descriptor = undefined;
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
