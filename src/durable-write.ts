// Makes directories, and replaces a file so that a crash or a power cut leaves the old bytes or the
// new ones, never a mixture.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from './errors.ts';
import type { BeforeChange } from './line-file.ts';

const TEMPORARY = /^\..+\.[0-9a-f]{12}\.tmp$/;

/**
 * Big files are read and written in blocks of this size. Hashing one takes a fifth of a millisecond, or
 * one where the processor has no instructions for SHA-256; blocks of 1 MiB were no faster.
 */
export const SLICE_BYTES = 262_144;

/** Bytes of a file, and where in it they belong. */
export interface FileSlice {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** The stage of a durable write: about to write a slice, or to make one of the system calls. */
export type WriteStage = 'write' | 'fsync' | 'rename' | 'fsyncDirectory';

/** Options of a durable write. */
export interface DurableWriteOptions {
  /** Default 0o644, less the process's umask. */
  readonly mode?: number | undefined;
  /** Called before each stage; what it throws fails the write as the system's own error would. */
  readonly onStage?: ((stage: WriteStage) => void) | undefined;
  /** Called before the temporary file gets its name, and before that becomes the target's. */
  readonly beforeChange?: BeforeChange | undefined;
}

/**
 * Writes `target` durably: a temporary file in the same directory, fsync, rename, fsync of the directory.
 * Slices are asked for one by one, each when the one before it is written, so that other work of the
 * process goes on in between; they may overwrite what earlier ones wrote. On failure the temporary file
 * is removed and the system's error is thrown; the old file is intact, unless it was the directory that
 * could not be synced: then the new one is in its place. A descriptor whose fsync failed is never synced
 * again, since the second call may succeed without the data being on the disk: to try again is to call
 * this function again.
 */
export async function writeFileDurably(
  target: string,
  content: Uint8Array | string | Iterable<FileSlice> | AsyncIterable<FileSlice>,
  { beforeChange, mode = 0o644, onStage }: DurableWriteOptions = {},
): Promise<void> {
  const directory = path.dirname(target);
  const temporary = temporaryFor(target);
  const slices = typeof content === 'string' || content instanceof Uint8Array ? sliceBytes(content) : content;
  beforeChange?.();
  try {
    await writeSynced(temporary, slices, { mode, onStage });
    onStage?.('rename');
    beforeChange?.();
    await renameFile(temporary, target);
  } catch (error) {
    // A file that cannot be removed now is removed at the next start; the first error is the one to report.
    await fs.rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  onStage?.('fsyncDirectory');
  await syncDirectory(directory);
}

/** A new name beside a file for what is to replace it; a start of the run removes such files. */
export function temporaryFor(target: string): string {
  const { base, dir } = path.parse(target);
  return path.join(dir, `.${base}.${randomBytes(6).toString('hex')}.tmp`);
}

/** Cuts bytes, or text in UTF-8, into slices that begin at `start`. */
export function* sliceBytes(content: Uint8Array | string, start = 0): Generator<FileSlice, void, void> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  for (let done = 0; done < bytes.byteLength; done += SLICE_BYTES) {
    yield { position: start + done, bytes: bytes.subarray(done, done + SLICE_BYTES) };
  }
}

/** Removes the temporary files that a killed process left behind. */
export async function removeStaleTemporaries(directory: string): Promise<void> {
  const names = await fs.readdir(directory);
  await Promise.all(
    names
      .filter((name) => TEMPORARY.test(name))
      .map((name) => fs.rm(path.join(directory, name), { force: true })),
  );
}

async function writeSynced(
  file: string,
  slices: Iterable<FileSlice> | AsyncIterable<FileSlice>,
  { mode, onStage }: DurableWriteOptions,
): Promise<void> {
  const handle = await fs.open(file, 'wx', mode);
  try {
    for await (const { position, bytes } of slices) {
      onStage?.('write');
      // A write may be short, as when the disk is nearly full.
      for (let done = 0; done < bytes.byteLength;) {
        done += (await handle.write(bytes, done, bytes.byteLength - done, position + done)).bytesWritten;
      }
    }
    onStage?.('fsync');
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Renames a file. Over NFS an answer may be lost, and that to the request sent again says ENOENT: the
 * file's number tells whether it is where it should be.
 */
export async function renameFile(from: string, to: string): Promise<void> {
  const { dev, ino } = await fs.stat(from, { bigint: true });
  try {
    await fs.rename(from, to);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    const found = await fs.stat(to, { bigint: true }).catch(() => undefined);
    if (found?.ino !== ino || found.dev !== dev) throw error;
  }
}

/** Errors of file systems that have no sync of a directory, and need none or offer none. */
const NO_SYNC = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** Makes the names in a directory durable: what was renamed, linked or removed. */
export async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory, and its journal orders renames by itself.
  if (process.platform === 'win32') return;
  const handle = await fs.open(directory, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (!NO_SYNC.includes(systemErrorCode(error) ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Makes what is missing of a directory's path; returns what it made, the outermost first.
 * Throws the system's error.
 */
export async function makeDirectory(directory: string): Promise<string[]> {
  const parent = path.dirname(directory);
  try {
    return await makeOne(directory);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT' || parent === directory) throw error;
  }
  const above = await makeDirectory(parent);
  return [...above, ...(await makeOne(directory))];
}

/** Returns the directory, or nothing if it is there already. */
async function makeOne(directory: string): Promise<string[]> {
  try {
    await fs.mkdir(directory);
    return [directory];
  } catch (error) {
    const stats = await fs.stat(directory).catch(() => undefined);
    if (stats?.isDirectory()) return [];
    throw error;
  }
}
