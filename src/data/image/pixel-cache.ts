// A folder of decoded images, so that the next run on the same files need not decode them again. What
// is wrong with it is never an error: the images are decoded once more.
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { makeDirectory, writeFileDurably } from '../../durable-write.ts';
import { updateHash } from '../../sha256.ts';
import type { Shape } from '../../shape.ts';
import { cacheFolder } from '../dataset/scratch-file.ts';

/** Raised whenever the same files are to be decoded otherwise. */
const FORMAT = 1;
const HASH_BYTES = 32;
/** Node.js reads less than 2 GiB at once, which is what images may take. */
const MAX_READ_BYTES = 2 ** 30;
/** The oldest entries beyond this are removed. */
const MAX_CACHE_BYTES = 8 * 2 ** 30;

/** The place of the pixels of some files, by their names, sizes and times. */
export class PixelCache {
  readonly #file: string | undefined;

  private constructor(file: string | undefined) {
    this.#file = file;
  }

  /** `decoder` names what decodes, whose pixels another version may not give. */
  static async of(files: readonly string[], shape: Shape, decoder: string): Promise<PixelCache> {
    const folder = cacheFolder('images');
    if (folder === undefined) return new PixelCache(undefined);
    const hash = createHash('sha256').update(JSON.stringify([FORMAT, shape, decoder]));
    for (const file of files) {
      const { ctimeMs, ino, mtimeMs, size } = await fs.stat(file);
      hash.update(JSON.stringify([file, size, mtimeMs, ctimeMs, ino]));
    }
    return new PixelCache(path.join(folder, `${hash.digest('hex')}.pixels`));
  }

  /** Fills `out`; returns false where there is no whole entry of that length. */
  async read(out: Uint8Array): Promise<boolean> {
    if (this.#file === undefined) return false;
    const handle = await fs.open(this.#file, 'r').catch(() => undefined);
    if (!handle) return false;
    try {
      const expected = Buffer.alloc(HASH_BYTES);
      const { size } = await handle.stat();
      if (size !== out.length + HASH_BYTES) return false;
      await readFully(handle, out, 0);
      await readFully(handle, expected, out.length);
      const now = new Date();
      await handle.utimes(now, now);
      return hashOf(out).equals(expected);
    } catch {
      return false;
    } finally {
      await handle.close();
    }
  }

  async write(pixels: Uint8Array): Promise<void> {
    if (this.#file === undefined) return;
    const folder = path.dirname(this.#file);
    try {
      await makeDirectory(folder);
      await removeOldest(folder, MAX_CACHE_BYTES - pixels.length);
      const parts = [
        { position: 0, bytes: pixels },
        { position: pixels.length, bytes: hashOf(pixels) },
      ];
      await writeFileDurably(this.#file, parts, { mode: 0o600 });
    } catch {
      // A full disk, or a folder that belongs to somebody else.
    }
  }
}

async function removeOldest(folder: string, bytesToKeep: number): Promise<void> {
  const names = (await fs.readdir(folder)).filter((name) => name.endsWith('.pixels'));
  const entries = await Promise.all(
    names.map(async (name) => {
      const { size, mtimeMs } = await fs.stat(path.join(folder, name));
      return { name, size, mtimeMs };
    }),
  );
  let total = 0;
  for (const { name, size } of entries.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
    total += size;
    if (total > bytesToKeep) await fs.rm(path.join(folder, name), { force: true });
  }
}

async function readFully(handle: fs.FileHandle, out: Uint8Array, position: number): Promise<void> {
  for (let filled = 0; filled < out.length;) {
    const length = Math.min(out.length - filled, MAX_READ_BYTES);
    const { bytesRead } = await handle.read(out, filled, length, position + filled);
    if (bytesRead === 0) throw new Error('the entry ends early');
    filled += bytesRead;
  }
}

function hashOf(bytes: Uint8Array): Buffer {
  return updateHash(createHash('sha256'), bytes).digest();
}
