// The bytes of a data file the user named, plain or gzip (told apart by content, not by name).
// What stands in the bytes is not known here.
import { createReadStream } from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { suggestFile } from '../config/suggest.ts';
import { LockstepError, systemErrorCode } from '../errors.ts';

/** Gzip expands a thousandfold at most; a file that grows beyond this is taken for a bomb. */
const MAX_EXPANDED_BYTES = 16 * 2 ** 30;
const READ_BYTES = 256 * 1024;
const MAGIC_BYTES = 8;
/** Often beside the data, and never meant. */
const CONFIG_FILE = /\.(ya?ml|json)$/i;

/** Formats that tables are often kept in, by their first bytes, and how to turn each into one we read. */
const REFUSED_FORMATS = [
  { format: 'a zip archive', magic: '504b0304', help: 'unpack it, or compress with gzip' },
  { format: 'xz-compressed', magic: 'fd377a585a00', help: 'run xz -d, or compress with gzip' },
  { format: 'zstd-compressed', magic: '28b52ffd', help: 'run zstd -d, or compress with gzip' },
  { format: 'bzip2-compressed', magic: '425a68..31415926', help: 'run bunzip2, or compress with gzip' },
  { format: 'a Parquet file', magic: '50415231', help: 'export it as CSV' },
  { format: 'an Arrow file', magic: '4152524f5731', help: 'export it as CSV' },
  { format: 'an HDF5 file', magic: '894844460d0a1a0a', help: 'export it as CSV' },
  { format: 'a NumPy file', magic: '934e554d5059', help: 'export it as CSV' },
] as const;

/** A path as messages show it: relative to the working directory where it lies inside. */
export function displayPath(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere === '' || fromHere.startsWith('..') || isAbsolute(fromHere) ? path : fromHere;
}

/**
 * Streams the bytes of a file, expanded where it is gzip.
 *
 * @throws LockstepError if the file is missing, unreadable, empty, damaged or of a format that is not read.
 */
export async function* readBytes(path: string): AsyncGenerator<Buffer, void, undefined> {
  const magic = await readMagic(path);
  refuseOtherFormats(path, magic);
  if (magic.startsWith('1f8b')) yield* expandGzip(path);
  else yield* createReadStream(path, { highWaterMark: READ_BYTES });
}

async function* expandGzip(path: string): AsyncGenerator<Buffer, void, undefined> {
  const gunzip = createGunzip({ chunkSize: READ_BYTES });
  // A failure on either side reaches the loop below through `gunzip`, which pipeline() destroys with it.
  pipeline(createReadStream(path, { highWaterMark: READ_BYTES }), gunzip, () => undefined);
  let expandedBytes = 0;
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      expandedBytes += chunk.length;
      if (expandedBytes > MAX_EXPANDED_BYTES) throw expandsTooFar(path);
      yield chunk;
    }
  } catch (error) {
    if (!systemErrorCode(error)?.startsWith('Z_')) throw error;
    throw damagedGzip(path, error as Error);
  }
}

/** The first bytes as hexadecimal digits; opening the file here gives every access error its words. */
async function readMagic(path: string): Promise<string> {
  const handle = await openForReading(path);
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw unreadable(path, 'it is a directory');
    if (!stat.isFile()) throw unreadable(path, 'it is not a regular file');
    if (stat.size === 0) throw emptyFile(path);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0);
    return buffer.toString('hex', 0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    switch (systemErrorCode(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw unreadable(path, `no such file (cwd ${process.cwd()})`, await suggestSibling(path));
      case 'EACCES':
        throw unreadable(path, 'permission denied', `run chmod +r ${displayPath(path)} as its owner`);
      default:
        throw unreadable(path, error instanceof Error ? error.message : String(error));
    }
  }
}

/** The name in the same directory that a mistyped one may have meant. */
async function suggestSibling(path: string): Promise<string | undefined> {
  const siblings = await readdir(dirname(path), { withFileTypes: true }).catch(() => []);
  const files = siblings.filter((entry) => !entry.isDirectory() && !CONFIG_FILE.test(entry.name));
  const name = suggestFile(
    basename(path),
    files.map((entry) => entry.name),
  );
  return name && `did you mean ${displayPath(join(dirname(path), name))}?`;
}

function refuseOtherFormats(path: string, magic: string): void {
  for (const { format, magic: pattern, help } of REFUSED_FORMATS) {
    if (!new RegExp(`^${pattern}`).test(magic)) continue;
    const message = `${displayPath(path)} is ${format}; only plain and gzip files are read`;
    throw new LockstepError({ category: 'data', code: 'E_DATA_FORMAT', message, help });
  }
}

/** The error of a file without content; also used where a gzip file expands to nothing. */
export function emptyFile(path: string): LockstepError {
  const message = `${displayPath(path)} is empty (0 bytes)`;
  return new LockstepError({ category: 'data', code: 'E_DATA_EMPTY', message });
}

function unreadable(path: string, reason: string, help?: string): LockstepError {
  const message = `cannot read ${displayPath(path)}: ${reason}`;
  return new LockstepError({ category: 'data', code: 'E_DATA_UNREADABLE', message, help });
}

function damagedGzip(path: string, cause: Error): LockstepError {
  const message = `${displayPath(path)} is damaged gzip: ${cause.message}`;
  const help = `run gzip -t ${displayPath(path)}, or fetch the file again`;
  return new LockstepError({ category: 'data', code: 'E_DATA_GZIP', message, help, cause });
}

function expandsTooFar(path: string): LockstepError {
  const message = `${displayPath(path)} expands beyond ${MAX_EXPANDED_BYTES / 2 ** 30} GiB`;
  return new LockstepError({ category: 'data', code: 'E_DATA_TOO_LARGE', message });
}
