// Replaces a file so that a crash or a power cut leaves the old bytes or the new ones, never a mixture.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';

const TEMPORARY = /^\..+\.[0-9a-f]{12}\.tmp$/;

/** How a durable write creates its file. */
export interface DurableWriteOptions {
  /** Default 0o644, less the process's umask. */
  readonly mode?: number | undefined;
}

/**
 * Writes `bytes` to `target` durably: a temporary file in the same directory, fsync, rename, fsync of the
 * directory. On failure the temporary file is removed, the old file is intact, and the system's error is thrown.
 */
export async function writeFileDurably(
  target: string,
  bytes: Uint8Array | string,
  options: DurableWriteOptions = {},
): Promise<void> {
  const directory = path.dirname(target);
  const temporary = path.join(directory, `.${path.basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  try {
    await writeSynced(temporary, data, options.mode ?? 0o644);
    await fs.rename(temporary, target);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(directory);
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

async function writeSynced(file: string, data: Uint8Array, mode: number): Promise<void> {
  const handle = await fs.open(file, 'wx', mode);
  try {
    // A write may be short, as when the disk is nearly full.
    for (let done = 0; done < data.byteLength;) {
      done += (await handle.write(data, done, data.byteLength - done)).bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the rename itself durable. */
async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory, and its journal orders renames by itself.
  if (process.platform === 'win32') return;
  const handle = await fs.open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
