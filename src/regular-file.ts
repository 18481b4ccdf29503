// Opens files that a user named, or that have the names of ours. Reading a pipe, a terminal or a device
// could block for ever, so only regular files are opened, and no more of them is read than they announce.
import fs from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { systemErrorCode } from './errors.ts';
import { shellWord } from './printable.ts';

/** A file that cannot be read. The message says why, in words that follow a colon. */
export class UnreadableFile extends Error {
  /** The system's, such as `ENOENT`; undefined for a file that is refused. */
  readonly code: string | undefined;

  constructor(message: string, code?: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'UnreadableFile';
    this.code = code;
  }
}

/**
 * A pipe without a writer is not waited for, and no terminal becomes that of this process. Windows has
 * neither flag.
 */
const FLAGS = fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0) | (fs.constants.O_NOCTTY ?? 0);

const SLICE_BYTES = 16 * 2 ** 20;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ERR_FS_EISDIR: 'it is a directory',
  ELOOP: 'a link leads back to itself',
  ENAMETOOLONG: 'its name is too long',
  ESTALE: 'it was replaced or removed on the file server while it was read',
  EIO: 'the disk or the file server has failed',
  ETIMEDOUT: 'the file server does not answer',
  ENXIO: 'it is a socket, or a device that is not there',
  ERR_INVALID_ARG_VALUE: 'its name holds a NUL',
};

/**
 * Opens a regular file for reading. The caller closes it.
 *
 * @throws UnreadableFile if that is not possible
 */
export function openRegularFile(path: string): Promise<{ handle: FileHandle; stats: fs.Stats }> {
  return unlessStale(() => openOnce(path));
}

/** Tries again where the name leads to another file by now: a server has removed that which it led to. */
async function unlessStale<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (systemErrorCode(error) !== 'ESTALE') throw error;
    return work();
  }
}

async function openOnce(path: string): Promise<{ handle: FileHandle; stats: fs.Stats }> {
  const handle = await open(path, FLAGS).catch((error: unknown) => {
    throw unreadable(error);
  });
  try {
    const stats = await handle.stat();
    refuseIrregular(stats);
    return { handle, stats };
  } catch (error) {
    await handle.close();
    throw unreadable(error);
  }
}

/**
 * Reads the bytes of a regular file that has at most `maxBytes`.
 *
 * @throws UnreadableFile if that is not possible
 */
export function readRegularFile(path: string, maxBytes: number): Promise<Buffer> {
  return unlessStale(() => readOnce(path, maxBytes));
}

async function readOnce(path: string, maxBytes: number): Promise<Buffer> {
  const { handle, stats } = await openRegularFile(path);
  try {
    const bytes = allocate(stats, maxBytes);
    let length = 0;
    for (let bytesRead = -1; bytesRead !== 0 && length < bytes.length; length += bytesRead) {
      ({ bytesRead } = await handle.read(
        bytes,
        length,
        Math.min(SLICE_BYTES, bytes.length - length),
        length,
      ));
    }
    return bytes.subarray(0, length);
  } catch (error) {
    throw unreadable(error);
  } finally {
    await handle.close();
  }
}

/** Opens like `openRegularFile`, synchronously; returns the descriptor. */
export function openRegularFileSync(path: string): { descriptor: number; stats: fs.Stats } {
  let descriptor: number | undefined;
  try {
    descriptor = fs.openSync(path, FLAGS);
    const stats = fs.fstatSync(descriptor);
    refuseIrregular(stats);
    return { descriptor, stats };
  } catch (error) {
    if (descriptor !== undefined) fs.closeSync(descriptor);
    throw unreadable(error);
  }
}

/**
 * Reads like `readRegularFile`, synchronously: for small files, and locks that are looked at between
 * two other calls.
 */
export function readRegularFileSync(path: string, maxBytes: number): Buffer {
  try {
    return readOnceSync(path, maxBytes);
  } catch (error) {
    if (systemErrorCode(error) !== 'ESTALE') throw error;
    return readOnceSync(path, maxBytes);
  }
}

function readOnceSync(path: string, maxBytes: number): Buffer {
  const { descriptor, stats } = openRegularFileSync(path);
  try {
    const bytes = allocate(stats, maxBytes);
    let length = 0;
    for (let bytesRead = -1; bytesRead !== 0 && length < bytes.length; length += bytesRead) {
      bytesRead = fs.readSync(descriptor, bytes, length, bytes.length - length, length);
    }
    return bytes.subarray(0, length);
  } catch (error) {
    throw unreadable(error);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Time between two looks at files that are followed. */
const FOLLOW_MS = 10_000;

/** Calls `onChange` within ten seconds of a change of any of the files; returns the function that ends this. */
export function followFiles(files: readonly string[], onChange: () => void): () => void {
  const stateOf = (): string =>
    files
      .map((file) => fs.statSync(file, { throwIfNoEntry: false }))
      .map((stats) => stats && [stats.ino, stats.mtimeMs, stats.size].join())
      .join();
  let known = stateOf();
  const timer = setInterval(() => {
    const state = stateOf();
    if (state === known) return;
    known = state;
    onChange();
  }, FOLLOW_MS).unref();
  return () => clearInterval(timer);
}

/** Permission bits of group and others. */
const SHARED_MODE = 0o077;
/** The bit that lets a group read. */
const GROUP_READ = 0o040;

/**
 * Warns if users other than the one who asks may open a file that holds a secret; `what` names that. A file
 * that root hands over, as Kubernetes and systemd do, is read by the bit of a group.
 */
export function warnIfShared(
  file: string,
  what: string,
  warn: (message: string) => void,
  user = process.geteuid?.(),
): void {
  const { mode, uid } = fs.statSync(file);
  const isHandedOver = uid === 0 && user !== 0;
  const shared = isHandedOver ? SHARED_MODE & ~GROUP_READ : SHARED_MODE;
  if (process.platform === 'win32' || (mode & shared) === 0) return;
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  warn(`${what} ${file} is open to other users (mode ${octal}): chmod 600 ${shellWord(file)}`);
}

function refuseIrregular(stats: fs.Stats): void {
  if (stats.isFile()) return;
  if (stats.isDirectory()) throw new UnreadableFile(REASONS['EISDIR'] as string, 'EISDIR');
  const kind = stats.isFIFO() ? 'a pipe' : stats.isSocket() ? 'a socket' : 'a device';
  throw new UnreadableFile(`it is ${kind}, not a regular file`);
}

function allocate({ size }: fs.Stats, maxBytes: number): Buffer {
  if (size > maxBytes) throw new UnreadableFile(`it has ${size} bytes; at most ${maxBytes} are read`);
  try {
    return Buffer.allocUnsafeSlow(size);
  } catch (error) {
    throw new UnreadableFile(`this machine has no memory for its ${size} bytes`, undefined, error);
  }
}

/** The reason why a file cannot be read, in our words. */
export function unreadable(error: unknown): UnreadableFile {
  if (error instanceof UnreadableFile) return error;
  const code = systemErrorCode(error);
  const reason = REASONS[code ?? ''] ?? (error instanceof Error ? error.message : String(error));
  return new UnreadableFile(reason, code, error);
}
