// Files in which the processes of one machine leave each other the bodies of messages. They are in
// memory (tmpfs) and have no name, so that they are gone with the last process that has them open,
// however it ends. They are copied straight from and to WebAssembly memory.
//
//   weights of a run     | version v mod 2 = 0, flat f32 | version v mod 2 = 1, flat f32 |
//   results of a worker  | nonce, 32 bytes | number of results taken, mod 256 | ... 64: results |
import fs from 'node:fs';
import { MAX_UNREAD_BYTES } from './limits.ts';
import { ProtocolError } from './protocol-error.ts';

/** A file in memory on every Linux, in containers too. */
const DIRECTORY = '/dev/shm';
/** The type of a tmpfs in `statfs`. */
const TMPFS = 0x0102_1994;
/** Makes a file without a name (`__O_TMPFILE` of Linux), together with `O_DIRECTORY`. */
const TMPFILE = 0o20000000;
const OWNER_ONLY = 0o600;

/** The nonce at the start of a file of results. */
export const NONCE_BYTES = 32;
/** Offset of the one byte that the coordinator writes, so that it is never seen half-written. */
export const TAKEN_OFFSET = 32;
/** One less than the numbers of that byte. */
export const MAX_UNTAKEN = 255;
/** Offset of the first result. */
export const RESULTS_OFFSET = 64;
/** Room for as many bytes as may wait in a worker's socket; unwritten pages take no memory. */
export const RESULTS_FILE_BYTES = RESULTS_OFFSET + MAX_UNREAD_BYTES;

/** A part of a shared file. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** The bytes of a message: received with it, or in a file. */
export type Body = Uint8Array | FileBody;

/**
 * Copies a body, once: what is in a file may change at any time, so only the copy can be checked.
 * @param target exactly as long as the body.
 */
export function copyBody(body: Body, target: Uint8Array): void {
  if (body instanceof FileBody) body.copyTo(target);
  else target.set(body);
}

/** A file that several processes have open. */
export class SharedFile {
  readonly byteLength: number;
  #descriptor: number | undefined;

  private constructor(descriptor: number, byteLength: number) {
    this.#descriptor = descriptor;
    this.byteLength = byteLength;
  }

  /** Takes over an open file; closes it where its length cannot be had. */
  static #adopt(descriptor: number, lengthOf: (descriptor: number) => number): SharedFile {
    try {
      return new SharedFile(descriptor, lengthOf(descriptor));
    } catch (error) {
      fs.closeSync(descriptor);
      throw error;
    }
  }

  /** Makes a file of zeros. @throws Error where the system cannot */
  static create(byteLength: number, directory = DIRECTORY): SharedFile {
    if (fs.statfsSync(directory).type !== TMPFS) throw new Error(`${directory} is not in memory`);
    const { O_RDWR, O_DIRECTORY } = fs.constants;
    return SharedFile.#adopt(
      fs.openSync(directory, O_RDWR | O_DIRECTORY | TMPFILE, OWNER_ONLY),
      (descriptor) => {
        fs.ftruncateSync(descriptor, byteLength);
        return byteLength;
      },
    );
  }

  /**
   * Opens a file that another process of the same user has open under this descriptor.
   * @throws Error where there is none, or if it is no regular file
   */
  static open(pid: number, descriptor: number, access: 'read' | 'write'): SharedFile {
    const link = `/proc/${pid}/fd/${descriptor}`;
    // Looked at before it is opened, too: opening a device may have effects.
    lengthOf(fs.statSync(link));
    const { O_RDONLY, O_RDWR, O_NONBLOCK, O_NOCTTY } = fs.constants;
    const flags = (access === 'read' ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY;
    return SharedFile.#adopt(fs.openSync(link, flags), (own) => lengthOf(fs.fstatSync(own)));
  }

  /** Its number in this process. */
  get descriptor(): number {
    return this.#descriptor ?? -1;
  }

  /** Writes bytes; returns false where memory does not suffice for all, and then some may be written. */
  write(bytes: Uint8Array, offset: number): boolean {
    const descriptor = this.#descriptor;
    if (descriptor === undefined) return false;
    try {
      for (let done = 0; done < bytes.byteLength;) {
        done += fs.writeSync(descriptor, bytes, done, bytes.byteLength - done, offset + done);
      }
      return true;
    } catch {
      return false;
    }
  }

  /** Fills `target`; where the file was made shorter, or fails, the rest stays as it is. */
  read(target: Uint8Array, offset: number): void {
    const descriptor = this.#descriptor;
    if (descriptor === undefined) return;
    try {
      for (let done = 0, count = -1; done < target.byteLength && count !== 0; done += count) {
        count = fs.readSync(descriptor, target, done, target.byteLength - done, offset + done);
      }
    } catch {
      // Fingerprints tell.
    }
  }

  /** The body at an extent that a peer has named. @throws ProtocolError if it lies outside the file */
  bodyAt({ offset, length }: Extent): FileBody {
    if (offset % 4 === 0 && offset + length <= this.byteLength) return new FileBody(this, offset, length);
    const what = `${length} bytes at ${offset} of a file of ${this.byteLength}`;
    throw new ProtocolError('E_MESSAGE_BODY', `${what} cannot be a body`);
  }

  /** Closes it; what is read and written later has no effect. */
  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

/** A body in a file. */
export class FileBody {
  readonly byteLength: number;
  readonly #file: SharedFile;
  readonly #offset: number;

  constructor(file: SharedFile, offset: number, byteLength: number) {
    this.#file = file;
    this.#offset = offset;
    this.byteLength = byteLength;
  }

  copyTo(target: Uint8Array): void {
    this.#file.read(target, this.#offset);
  }
}

function lengthOf(stats: fs.Stats): number {
  if (stats.isFile()) return stats.size;
  throw new Error('it is not a file');
}
