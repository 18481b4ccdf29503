// A file for what does not fit in memory. It has no name once it is open, so that nothing of it stays
// behind, however the process ends.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { makeDirectory } from '../../durable-write.ts';
import { LockstepError, systemErrorCode } from '../../errors.ts';
import { formatBytes } from '../../memory.ts';

/** The user's folder for files that can be made again; undefined where `LOCKSTEP_CACHE_DIR` is empty. */
export function cacheFolder(name: string): string | undefined {
  const { LOCKSTEP_CACHE_DIR: own, XDG_CACHE_HOME: caches } = process.env;
  if (own === '') return undefined;
  return path.join(own ?? path.join(caches || path.join(os.homedir(), '.cache'), 'lockstep'), name);
}

/** Bytes that are written once and read at any place. Both block. */
export class ScratchFile {
  readonly #folder: string;
  readonly #descriptor: number;
  #byteLength = 0;

  private constructor(folder: string, descriptor: number) {
    this.#folder = folder;
    this.#descriptor = descriptor;
  }

  /** @throws LockstepError where the folder cannot be written to */
  static async create(): Promise<ScratchFile> {
    const folder = cacheFolder('rows') ?? os.tmpdir();
    try {
      // Not `recursive`: below /proc, Node.js would never return.
      await makeDirectory(folder);
      const own = fs.mkdtempSync(path.join(folder, 'run-'));
      const descriptor = fs.openSync(path.join(own, 'rows'), 'wx+', 0o600);
      removeNow(own, descriptor);
      return new ScratchFile(folder, descriptor);
    } catch (error) {
      throw cannot('open a file', folder, error);
    }
  }

  get byteLength(): number {
    return this.#byteLength;
  }

  append(bytes: ArrayBufferView): void {
    this.write(bytes, this.#byteLength);
  }

  /** Writes at `position`, which is at most the end. */
  write({ buffer, byteOffset, byteLength }: ArrayBufferView, position: number): void {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    try {
      for (let written = 0; written < byteLength;) {
        written += fs.writeSync(this.#descriptor, bytes, written, byteLength - written, position + written);
      }
    } catch (error) {
      throw cannot(`write ${formatBytes(position + byteLength)}`, this.#folder, error);
    }
    this.#byteLength = Math.max(this.#byteLength, position + byteLength);
  }

  /** Fills `out` with the bytes from `position` on. */
  read({ buffer, byteOffset, byteLength }: ArrayBufferView, position: number): void {
    const out = new Uint8Array(buffer, byteOffset, byteLength);
    try {
      for (let filled = 0; filled < byteLength;) {
        const count = fs.readSync(this.#descriptor, out, filled, byteLength - filled, position + filled);
        if (count === 0) throw new Error('the file is shorter than it was');
        filled += count;
      }
    } catch (error) {
      throw cannot('read', this.#folder, error);
    }
  }
}

/** Removes the name of an open file; NFS gives it another one, in the same folder, until it is closed. */
function removeNow(folder: string, descriptor: number): void {
  try {
    fs.rmSync(folder, { recursive: true });
  } catch (error) {
    if (!['ENOTEMPTY', 'EBUSY', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error;
    process.once('exit', () => {
      fs.closeSync(descriptor);
      fs.rmSync(folder, { recursive: true, force: true });
    });
  }
}

function cannot(what: string, folder: string, error: unknown): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_SCRATCH_FILE',
    message: `cannot ${what} in ${folder}, where streamed rows are kept: ${(error as Error).message}`,
    help: 'make room there, or name another folder by LOCKSTEP_CACHE_DIR',
    cause: error,
  });
}
