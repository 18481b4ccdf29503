// Files that grow by lines, written synchronously: the kernel has a line when `append` returns, so a
// killed process loses none, and a full disk leaves no half of one. Those of one JSON object per line are
// read back line by line, and cut back when a run resumes.
import fs from 'node:fs';
import { parseJson, stringifyRecord } from './json.ts';
import { printable } from './printable.ts';
import { openRegularFileSync } from './regular-file.ts';

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY } = fs.constants;
/** The flags of `a`, and not to wait for a pipe that nobody reads. Windows lacks some flags. */
const FLAGS = O_APPEND | O_CREAT | O_WRONLY | (O_NOCTTY ?? 0) | (O_NONBLOCK ?? 0);

/** A record takes some hundred bytes, or MiB with thousands of classes; a longer line is not a record. */
const MAX_LINE_BYTES = 2 ** 25;
/** Bytes read at a time: a long run records more than a string or a buffer can hold. */
const SLICE_BYTES = 2 ** 20;

/** Called before a file is changed; what it throws keeps the file as it is. */
export type BeforeChange = () => void;

/** A text file that is appended to line by line, synchronously. */
export class LineFile {
  readonly #beforeChange: BeforeChange | undefined;
  #descriptor: number | undefined;
  /** Bytes of whole lines. */
  #byteLength: number;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string, beforeChange?: BeforeChange) {
    this.#beforeChange = beforeChange;
    beforeChange?.();
    this.#descriptor = fs.openSync(path, FLAGS);
    this.#byteLength = fs.fstatSync(this.#descriptor).size;
  }

  /**
   * Writes a line, which ends in a line feed, or none of it. Throws the system's error, as of a full disk
   * (the next line may find room again), or an `Error` after `close`.
   */
  append(line: string | Uint8Array): void {
    const descriptor = this.#open();
    const bytes = Buffer.from(line);
    this.#beforeChange?.();
    try {
      for (let done = 0; done < bytes.length;) done += fs.writeSync(descriptor, bytes, done);
    } catch (error) {
      this.#removeTorn(descriptor);
      throw error;
    }
    this.#byteLength += bytes.length;
  }

  /** Drops all but the first `byteLength` bytes. Throws as `append` does. */
  cutTo(byteLength: number): void {
    const descriptor = this.#open();
    this.#beforeChange?.();
    fs.ftruncateSync(descriptor, byteLength);
    this.#byteLength = byteLength;
  }

  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    if (this.#descriptor === undefined) throw new Error('the file is closed');
    return this.#descriptor;
  }

  /** Removes a line of which only the beginning found room. */
  #removeTorn(descriptor: number): void {
    try {
      fs.ftruncateSync(descriptor, this.#byteLength);
    } catch {
      // It is not a regular file, or the disk fails in every way: the error of the write says more.
    }
  }
}

/** Cuts off a last line that is not whole, as of a file that was copied while it grew. */
export function cutTornLine(path: string): void {
  const descriptor = fs.openSync(path, 'r+');
  try {
    const { size } = fs.fstatSync(descriptor);
    const slice = Buffer.alloc(Math.min(size, MAX_LINE_BYTES));
    const numBytes = fs.readSync(descriptor, slice, 0, slice.length, size - slice.length);
    const end = slice.subarray(0, numBytes).lastIndexOf(0x0a) + 1;
    fs.ftruncateSync(descriptor, size - slice.length + end);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Appends records to a JSONL file. */
export class JsonlFile {
  readonly #path: string;
  readonly #file: LineFile;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string, beforeChange?: BeforeChange) {
    this.#path = path;
    this.#file = new LineFile(path, beforeChange);
  }

  /** Writes one line, or none of it, and throws as `LineFile.append` does. */
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

/** Records of a growing file, as far as they are new. */
export class JsonlTail {
  readonly #path: string;
  #position = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** True once the file is shorter than what was read of it: it was cut back, and has to be read anew. */
  get wasCut(): boolean {
    return (fs.statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) < this.#position;
  }

  /** The records of whole lines since the last time; none while there is no file. @throws UnreadableFile */
  *read(): Generator<Record<string, unknown>, void, undefined> {
    if (!fs.existsSync(this.#path)) return;
    for (const { text, end } of readLines(this.#path, this.#position)) {
      this.#position = end;
      const record = parseRecord(text);
      if (record) yield record;
    }
  }
}

/**
 * The whole lines of a file from a position on, up to one that is too long, and where each ends. All
 * lines of a long run fit no string.
 */
function* readLines(path: string, start = 0): Generator<{ text: string; end: number }, void, undefined> {
  const { descriptor } = openRegularFileSync(path);
  try {
    const slice = Buffer.allocUnsafe(SLICE_BYTES);
    let position = start;
    let torn = Buffer.alloc(0);
    while (torn.length <= MAX_LINE_BYTES) {
      const numBytes = fs.readSync(descriptor, slice, 0, slice.length, position + torn.length);
      if (numBytes === 0) return;
      const bytes = Buffer.concat([torn, slice.subarray(0, numBytes)]);
      let first = 0;
      for (let feed = bytes.indexOf(0x0a); feed !== -1; feed = bytes.indexOf(0x0a, first)) {
        yield { text: bytes.toString('utf8', first, feed), end: position + feed + 1 };
        first = feed + 1;
      }
      position += first;
      torn = bytes.subarray(first);
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
