// Packed datasets in a directory, each in a file that has the dataset's hash as its name. Nothing in it is
// trusted: what is read is hashed, and a file that is not what its name says is written anew.
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beginDatasetHash } from './hash-dataset.ts';
import { blobByteLength, type PackedDataset } from './packed-dataset.ts';
import { makeDirectory, sliceBytes, writeFileDurably, type FileSlice } from '../../durable-write.ts';
import { systemErrorCode } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { formatBytes } from '../../memory.ts';
import { openRegularFile } from '../../regular-file.ts';

/** Bytes read at once, so that pings are answered in between. */
const BLOCK_BYTES = 2 ** 20;
/** Time to read a file: half of what the coordinator grants a worker that asks for nothing. */
const READ_DEADLINE_MS = 60_000;
/** Time to write a file; a directory that takes longer is taken for one that hangs. */
const WRITE_DEADLINE_MS = 300_000;

/** The parts of a cache. */
export interface DatasetCacheOptions {
  readonly directory: string;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Aborting ends what is being written, and leaves nothing of it. */
  readonly signal: AbortSignal;
}

/** A dataset to be read. */
export interface WantedDataset extends Pick<PackedDataset, 'layout' | 'sha256'> {
  /** Takes the next bytes of the blob; returns false once no more are wanted. */
  readonly store: (offset: number, bytes: Uint8Array) => boolean;
}

/** A directory of datasets, which other processes may use at the same time. */
export class DatasetCache {
  readonly #options: DatasetCacheOptions;
  readonly #damaged = new Set<string>();
  #writing: Promise<void> = Promise.resolve();

  constructor(options: DatasetCacheOptions) {
    this.#options = options;
  }

  /** Reads a dataset; returns false where it is not there, or cannot be trusted, of which a warning tells. */
  async read(wanted: WantedDataset): Promise<boolean> {
    const { directory, log } = this.#options;
    const file = path.join(directory, wanted.sha256);
    try {
      const startMs = performance.now();
      if (!(await inTime(READ_DEADLINE_MS, (signal) => readChecked(file, wanted, signal)))) return false;
      const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
      log.info(`dataset of ${formatBytes(blobByteLength(wanted.layout))} read from ${file} in ${seconds} s`);
      // The time of the last use, by which users find old files. A cache may be one that only others write.
      await fs.utimes(file, new Date(), new Date()).catch(() => undefined);
      return true;
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return false;
      this.#damaged.add(wanted.sha256);
      log.warn(`dataset cache: ${file}: ${(error as Error).message}; the dataset is fetched instead`);
      return false;
    }
  }

  /** Writes a dataset unless it is there; resolves in any case, since no run depends on it. */
  keep(dataset: PackedDataset): Promise<void> {
    this.#writing = this.#writing.then(() => this.#keep(dataset));
    return this.#writing;
  }

  /** Resolves once nothing is being written. */
  close(): Promise<void> {
    return this.#writing;
  }

  async #keep({ blob, sha256 }: PackedDataset): Promise<void> {
    const { directory, log, signal } = this.#options;
    const file = path.join(directory, sha256);
    try {
      const isWritten = await inTime(WRITE_DEADLINE_MS, async (late) => {
        if (!this.#damaged.delete(sha256) && (await isThere(file, blob.byteLength))) return false;
        await makeDirectory(path.resolve(directory));
        await writeFileDurably(file, untilAborted(sliceBytes(blob), AbortSignal.any([signal, late])));
        return true;
      });
      if (isWritten) log.info(`dataset of ${formatBytes(blob.byteLength)} kept as ${file}`);
    } catch (error) {
      if (signal.aborted) return;
      log.warn(`dataset cache: ${file} is not written: ${(error as Error).message}`);
    }
  }
}

/** Rejects once the deadline is over, and lets `work` know, which the system may hold up for ever. */
async function inTime<T>(deadlineMs: number, work: (late: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const done = new AbortController();
  const timer = sleep(deadlineMs, undefined, { signal: done.signal }).then(() => {
    late.abort(new Error(`the file system took more than ${deadlineMs / 1000} s`));
    throw late.signal.reason;
  });
  timer.catch(() => undefined);
  try {
    return await Promise.race([work(late.signal), timer]);
  } finally {
    done.abort();
  }
}

/** @throws Error that says, after a colon, why the file is not the dataset */
async function readChecked(
  file: string,
  { layout, sha256, store }: WantedDataset,
  late: AbortSignal,
): Promise<boolean> {
  const { handle, stats } = await openRegularFile(file);
  try {
    const byteLength = blobByteLength(layout);
    if (stats.size !== byteLength) throw new Error(`it has ${stats.size} bytes, not ${byteLength}`);
    const hash = beginDatasetHash(layout);
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, byteLength));
    for (let offset = 0; offset < byteLength;) {
      const { bytesRead } = await handle.read(block, 0, Math.min(block.length, byteLength - offset), offset);
      if (bytesRead === 0) throw new Error(`it ends after ${offset} bytes of ${byteLength}`);
      const bytes = block.subarray(0, bytesRead);
      hash.update(bytes);
      if (late.aborted || !store(offset, bytes)) return false;
      offset += bytesRead;
    }
    if (hash.digest('hex') !== sha256) throw new Error('its bytes are not those of its name');
    return true;
  } finally {
    await handle.close();
  }
}

async function isThere(file: string, byteLength: number): Promise<boolean> {
  const stats = await fs.lstat(file).catch(() => undefined);
  return stats?.isFile() === true && stats.size === byteLength;
}

function* untilAborted(slices: Iterable<FileSlice>, signal: AbortSignal): Generator<FileSlice> {
  for (const slice of slices) {
    signal.throwIfAborted();
    yield slice;
  }
}
