// The bytes of a data file that the user named, plain or gzip (told apart by content, not by name).
import { readdir, type FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { suggestFile } from '../../config/suggest.ts';
import { LockstepError, systemErrorCode } from '../../errors.ts';
import { shellWord } from '../../printable.ts';
import { openRegularFile, UnreadableFile } from '../../regular-file.ts';

/** Size beyond which an expanded gzip file is taken for a bomb; gzip expands a thousandfold at most. */
const MAX_EXPANDED_BYTES = 16 * 2 ** 30;
const READ_BYTES = 256 * 1024;
const MAGIC_BYTES = 8;
/** Files that are often beside the data, and never the data. */
const CONFIG_FILE = /\.(ya?ml|json)$/i;

/** First bytes of Parquet files, in hexadecimal digits. */
export const PARQUET_MAGIC = '50415231';
/** First bytes of files in Arrow's format, also called Feather. */
export const ARROW_MAGIC = '4152524f5731';
/** First bytes of Arrow's format for streams. */
export const ARROW_STREAM_MAGIC = 'ffffffff';

interface RefusedFormat {
  readonly format: string;
  /** A pattern of hexadecimal digits. */
  readonly magic: string;
  readonly help: string;
}

const AS_CSV = 'export it as CSV, Parquet or JSON Lines';
const NO_TABLE = 'look at what was saved there: it is no data';

/** Formats that data are often kept in, by their first bytes, and how to turn each into one we read. */
const REFUSED_FORMATS: readonly RefusedFormat[] = [
  {
    format: 'a zip archive or an Excel workbook',
    magic: '504b0304',
    help: 'unpack it, or save the sheet as CSV',
  },
  { format: 'an Excel workbook', magic: 'd0cf11e0a1b11ae1', help: 'save the sheet as CSV' },
  { format: 'an SQLite database', magic: '53514c69746520666f', help: AS_CSV },
  { format: 'a web page', magic: '3c(21|68|48)(44|54|74|64)(4f|6f|4d|6d)', help: NO_TABLE },
  { format: 'a PDF document', magic: '25504446', help: NO_TABLE },
  { format: 'a pickle of Python', magic: '80(02|03|04|05)(95|7d|63|5d|28|8a)', help: AS_CSV },
  { format: 'an R data file', magic: '(5244(41|58)3[23]0a|580a000000)', help: AS_CSV },
  { format: 'a PNG picture', magic: '89504e470d0a1a0a', help: 'name the folder of the pictures' },
  { format: 'a JPEG picture', magic: 'ffd8ff', help: 'name the folder of the pictures' },
  { format: 'xz-compressed', magic: 'fd377a585a00', help: 'run xz -d, or compress with gzip' },
  { format: 'zstd-compressed', magic: '28b52ffd', help: 'run zstd -d, or compress with gzip' },
  { format: 'bzip2-compressed', magic: '425a68..31415926', help: 'run bunzip2, or compress with gzip' },
  { format: 'a Parquet file', magic: PARQUET_MAGIC, help: AS_CSV },
  { format: 'an Arrow file', magic: ARROW_MAGIC, help: AS_CSV },
  { format: 'an HDF5 file', magic: '894844460d0a1a0a', help: AS_CSV },
  { format: 'a NumPy file', magic: '934e554d5059', help: AS_CSV },
];

/** Gzip is expanded once. */
const REFUSED_INSIDE_GZIP = [
  ...REFUSED_FORMATS,
  { format: 'gzip', magic: '1f8b', help: 'expand it once with gunzip' },
].map((refused) => ({ ...refused, format: `${refused.format} inside gzip` }));

/** Addresses from which files were copied, by their paths here. */
const ORIGINS = new Map<string, string>();

/** Notes from where a file was copied: messages are to name that. */
export function noteOrigin(path: string, address: string): void {
  ORIGINS.set(path, address);
}

/** The address from which a file was copied; undefined where it was not. */
export function originOf(path: string): string | undefined {
  return ORIGINS.get(path);
}

/** A path as messages show it: relative to the working directory where it lies inside. */
export function displayPath(path: string): string {
  const origin = ORIGINS.get(path);
  if (origin !== undefined) return origin;
  const fromHere = relative(process.cwd(), path);
  return fromHere === '' || fromHere.startsWith('..') || isAbsolute(fromHere) ? path : fromHere;
}

/**
 * Streams the bytes of a file, expanded where it is gzip.
 *
 * @throws LockstepError if the file is missing, unreadable, empty, damaged or of a format that is not read.
 */
export async function* readBytes(path: string): AsyncGenerator<Buffer, void, undefined> {
  const handle = await openForReading(path);
  try {
    const magic = await readMagic(handle);
    // The system may report a size of 0 for a file that has content, as in /proc.
    if (magic === '') throw emptyFile(path);
    refuseOtherFormats(path, magic);
    const stream = handle.createReadStream({ start: 0, highWaterMark: READ_BYTES, autoClose: false });
    if (magic.startsWith('1f8b')) yield* expandGzip(path, stream);
    else yield* stream as AsyncIterable<Buffer>;
  } finally {
    await handle.close();
  }
}

async function* expandGzip(path: string, stream: Readable): AsyncGenerator<Buffer, void, undefined> {
  const gunzip = createGunzip({ chunkSize: READ_BYTES });
  // A failure on either side reaches the loop below through `gunzip`, which pipeline() destroys with it.
  pipeline(stream, gunzip, () => undefined);
  let expandedBytes = 0;
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      if (expandedBytes === 0)
        refuseOtherFormats(path, chunk.toString('hex', 0, MAGIC_BYTES), REFUSED_INSIDE_GZIP);
      expandedBytes += chunk.length;
      if (expandedBytes > MAX_EXPANDED_BYTES) throw expandsTooFar(path);
      yield chunk;
    }
    if (expandedBytes === 0) throw emptyFile(path, 'is gzip of an empty file');
  } catch (error) {
    if (!systemErrorCode(error)?.startsWith('Z_')) throw error;
    throw damagedGzip(path, error as Error);
  }
}

/**
 * The first bytes of a file, in hexadecimal digits.
 *
 * @throws LockstepError if it cannot be read
 */
export async function magicOf(path: string): Promise<string> {
  const handle = await openForReading(path);
  try {
    return await readMagic(handle);
  } finally {
    await handle.close();
  }
}

/** The first bytes as hexadecimal digits. */
async function readMagic(handle: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0);
  return buffer.toString('hex', 0, bytesRead);
}

/** Opens a regular file; every access error gets its words here. */
async function openForReading(path: string): Promise<FileHandle> {
  try {
    return (await openRegularFile(path)).handle;
  } catch (error) {
    throw await unreadableFile(path, error);
  }
}

/** The error for a file of data that could not be opened or read; any other error is returned as it is. */
export async function unreadableFile(path: string, error: unknown): Promise<unknown> {
  if (!(error instanceof UnreadableFile)) return error;
  const { message, code } = error;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return unreadable(path, `${message} (cwd ${process.cwd()})`, await suggestSibling(path));
    case 'EACCES':
      return unreadable(path, message, `run chmod +r ${shellWord(displayPath(path))} as its owner`);
    case undefined:
      return unreadable(path, message, 'data are read more than once: write them to a file, and name that');
    default:
      return unreadable(path, message);
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

function refuseOtherFormats(path: string, magic: string, formats = REFUSED_FORMATS): void {
  for (const { format, magic: pattern, help } of formats) {
    if (!new RegExp(`^${pattern}`).test(magic)) continue;
    const message = `${displayPath(path)} is ${format}, which is not read`;
    throw new LockstepError({ category: 'data', code: 'E_DATA_FORMAT', message, help });
  }
}

/** The error of a file without content. */
export function emptyFile(path: string, what = 'is empty (0 bytes)'): LockstepError {
  const message = `${displayPath(path)} ${what}`;
  return new LockstepError({ category: 'data', code: 'E_DATA_EMPTY', message });
}

function unreadable(path: string, reason: string, help?: string): LockstepError {
  const message = `cannot read ${displayPath(path)}: ${reason}`;
  return new LockstepError({ category: 'data', code: 'E_DATA_UNREADABLE', message, help });
}

function damagedGzip(path: string, cause: Error): LockstepError {
  const message = `${displayPath(path)} is damaged gzip: ${cause.message}`;
  const help = `run gzip -t ${shellWord(displayPath(path))}, or fetch the file again`;
  return new LockstepError({ category: 'data', code: 'E_DATA_GZIP', message, help, cause });
}

function expandsTooFar(path: string): LockstepError {
  const message = `${displayPath(path)} expands beyond ${MAX_EXPANDED_BYTES / 2 ** 30} GiB`;
  return new LockstepError({ category: 'data', code: 'E_DATA_TOO_LARGE', message });
}
