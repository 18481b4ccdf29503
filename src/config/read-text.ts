// Reads a config file as UTF-8 text, or says in words why it cannot: missing, a directory, forbidden, empty,
// too large, of another kind or in another encoding. What the text means is not known here.
import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { LockstepError, systemErrorCode } from '../errors.ts';
import { shellWord } from '../printable.ts';
import { readRegularFile, unreadable as reasonOf } from '../regular-file.ts';
import { suggestFile } from './suggest.ts';

/** Of a config file, that beside a run's results included. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
const EXTENSIONS = ['.yaml', '.yml', '.json'];

/**
 * The text of the config file at `path`, relative to `cwd`; a byte order mark is dropped.
 * @throws LockstepError E_CONFIG_NOT_FOUND or E_CONFIG_UNREADABLE
 */
export async function readConfigText(path: string, cwd: string): Promise<string> {
  const file = resolve(cwd, path);
  const stats = await stat(file).catch(async (error: unknown) => {
    throw await cannotRead(path, cwd, error);
  });
  checkKind(path, stats);
  const bytes = await readRegularFile(file, MAX_CONFIG_BYTES).catch(async (error: unknown) => {
    throw await cannotRead(path, cwd, error, stats);
  });
  return decodeText(path, bytes);
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isDirectory()) {
    throw unreadable(`cannot read ${path}: it is a directory`, 'name the config file inside it');
  }
  if (!EXTENSIONS.includes(extname(path).toLowerCase())) {
    throw unreadable(`${path} is not a config file`, `its name must end in ${EXTENSIONS.join(', ')}`);
  }
  if (!stats.isFile()) throw unreadable(`cannot read ${path}: it is not a regular file`);
  if (stats.size === 0) {
    throw unreadable(`${path} is empty (0 bytes)`, 'a config needs at least name, data, model and loss');
  }
  if (stats.size > MAX_CONFIG_BYTES) {
    throw unreadable(`${path} has ${stats.size} bytes; a config may have ${MAX_CONFIG_BYTES}`);
  }
}

async function cannotRead(path: string, cwd: string, error: unknown, stats?: Stats): Promise<LockstepError> {
  const code = systemErrorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    const similar = await similarFile(path, cwd);
    return new LockstepError({
      category: 'usage',
      code: 'E_CONFIG_NOT_FOUND',
      message: `cannot read ${path}: no such file (cwd ${cwd})`,
      help: similar === undefined ? 'check the path' : `did you mean ${similar}?`,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    const owner =
      stats && ` (owner uid ${stats.uid}, mode ${(stats.mode & 0o777).toString(8).padStart(4, '0')})`;
    return unreadable(`cannot read ${path}: permission denied${owner ?? ''}`);
  }
  return unreadable(`cannot read ${path}: ${reasonOf(error).message}`);
}

/** A config file beside the missing one with nearly its name, or with its name and another extension. */
async function similarFile(path: string, cwd: string): Promise<string | undefined> {
  const neighbours = await readdir(resolve(cwd, dirname(path))).catch(() => []);
  const configs = neighbours.filter((name) => EXTENSIONS.includes(extname(name).toLowerCase()));
  const name = suggestFile(basename(path), configs);
  return name && join(dirname(path), name);
}

function decodeText(path: string, bytes: Buffer): string {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    const mark = first === 0xff ? 'FF FE' : 'FE FF';
    throw unreadable(`${path} starts with bytes ${mark}: UTF-16, expected UTF-8`, iconvHelp(path));
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0)
    throw unreadable(`${path} has a NUL byte at offset ${nul}, expected UTF-8 text`, iconvHelp(path));
  const text = bytes.toString('utf8');
  const bad = firstInvalidByte(bytes, text);
  if (bad !== undefined) {
    const hex = bytes.readUInt8(bad).toString(16).toUpperCase();
    throw unreadable(`${path} has byte ${hex} at offset ${bad}: not UTF-8`, 'save the file as UTF-8');
  }
  return text.replace(/^\uFEFF/, '');
}

/** Decoding replaces an invalid byte by U+FFFD, so encoding again first differs there. */
function firstInvalidByte(bytes: Buffer, decoded: string): number | undefined {
  const encoded = Buffer.from(decoded, 'utf8');
  if (encoded.equals(bytes)) return undefined;
  return bytes.findIndex((byte, i) => byte !== encoded[i]);
}

function iconvHelp(path: string): string {
  return `iconv -f utf-16 -t utf-8 ${shellWord(path)}`;
}

function unreadable(message: string, help?: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_CONFIG_UNREADABLE', message, help });
}
