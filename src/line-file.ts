// A text file that is appended to line by line, synchronously: the kernel has a line when `append` returns,
// so a killed process loses none, and a full disk leaves no half of one.
import fs from 'node:fs';

const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_WRONLY } = fs.constants;
/** The flags of `a`, and not to wait for a pipe that nobody reads. Windows lacks some flags. */
const FLAGS = O_APPEND | O_CREAT | O_WRONLY | (O_NOCTTY ?? 0) | (O_NONBLOCK ?? 0);

/** A text file that is appended to line by line, synchronously. */
export class LineFile {
  #descriptor: number | undefined;
  /** Bytes of whole lines. */
  #byteLength: number;

  /** Opens for appending; throws the system's error if that fails. */
  constructor(path: string) {
    this.#descriptor = fs.openSync(path, FLAGS);
    this.#byteLength = fs.fstatSync(this.#descriptor).size;
  }

  /**
   * Writes a line, which ends in a line feed, or none of it. Throws the system's error, as of a full disk
   * (the next line may find room again), or an `Error` after `close`.
   */
  append(line: string): void {
    const descriptor = this.#open();
    const bytes = Buffer.from(line);
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
    fs.ftruncateSync(this.#open(), byteLength);
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
