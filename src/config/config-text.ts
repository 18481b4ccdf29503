// The text of a config file: read as UTF-8, or refused in words; parsed to a plain value whose places are
// known; and printed from a resolved config.
import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { Document, isAlias, isCollection, isMap, isScalar, isSeq, LineCounter, visit, type Pair } from 'yaml';
import { problemsError, type KeyPath, type SyntaxFlaw } from './problem.ts';
import type { Config } from './schema.ts';
import { suggestFile } from './suggest.ts';
import { parseYaml } from './yaml.ts';
import { LockstepError, systemErrorCode, type SourceLocation } from '../errors.ts';
import { shellWord } from '../printable.ts';
import { readRegularFile, unreadable as reasonOf } from '../regular-file.ts';

/** Maximum size of a config file, also of the one that is saved with a run. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
const EXTENSIONS = ['.yaml', '.yml', '.json'];

/**
 * The text of the config file at `path`, relative to `cwd`; a byte order mark is dropped.
 *
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

/**
 * Finds the first invalid byte: decoding replaces it by U+FFFD, so encoding the result first differs
 * there.
 */
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

/** A place in the file; `isWhole` tells whether the file has the whole key path, or only its beginning. */
interface FoundPlace {
  readonly location: SourceLocation;
  readonly isWhole: boolean;
}

/** A config file without syntax errors; nothing is known yet of its meaning. */
export interface ParsedConfig {
  /** Plain objects, lists and scalars, before defaults. */
  readonly value: unknown;
  /** The place of the key or the value at `path`, or of the nearest enclosing one that the file holds. */
  readonly find: (path: KeyPath, at: 'key' | 'value') => FoundPlace;
}

/**
 * Parses YAML, or strict JSON if `file` ends in `.json`. `file` is what errors call it.
 *
 * @throws LockstepError E_CONFIG_SYNTAX with every flaw found
 */
export function parseConfigText(text: string, file: string): ParsedConfig {
  const lineCounter = countLines(text);
  const isJson = extname(file).toLowerCase() === '.json';
  const { value, document, flaws } = parseYaml(text, { lineCounter, isJson });
  if (flaws.length > 0) throw syntaxError(lineCounter, file, flaws);
  return {
    value,
    find(path, at) {
      const { offset, isWhole } = findOffset(document, path, at);
      const { line, col } = lineCounter.linePos(offset);
      return { location: { file, line, column: col }, isWhole };
    },
  };
}

/**
 * Counts the lines of a text. The YAML parser could do so, but does not see a text that is refused
 * earlier.
 */
function countLines(text: string): LineCounter {
  const lineCounter = new LineCounter();
  lineCounter.addNewLine(0);
  for (const { index } of text.matchAll(/\n/g)) lineCounter.addNewLine(index + 1);
  return lineCounter;
}

function syntaxError(lineCounter: LineCounter, file: string, flaws: readonly SyntaxFlaw[]): LockstepError {
  const problems = flaws.map(({ offset, message, help }) => {
    const { line, col } = lineCounter.linePos(offset);
    return { message, help, location: { file, line, column: col } };
  });
  return problemsError('E_CONFIG_SYNTAX', file, problems);
}

function findOffset(document: Document, path: KeyPath, at: 'key' | 'value') {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [i, key] of path.entries()) {
    const container = isAlias(node) ? node.resolve(document) : node;
    const isLast = i === path.length - 1;
    if (isMap(container)) {
      const pair = container.items.find((entry) => isScalar(entry.key) && entry.key.value === key);
      if (!pair) return { offset, isWhole: false };
      node = pair.value;
      offset = (isLast && at === 'key' ? startOf(pair.key) : startOfValue(pair)) ?? offset;
    } else if (isSeq(container) && typeof key === 'number' && key < container.items.length) {
      node = container.items[key];
      offset = startOf(node) ?? offset;
    } else {
      return { offset, isWhole: false };
    }
  }
  return { offset, isWhole: true };
}

/**
 * The start of a value; that of its key for a block collection, which starts on the next line, where
 * no reader looks for it.
 */
function startOfValue({ key, value }: Pair): number | undefined {
  return startOf(isCollection(value) && !value.flow ? key : value);
}

function startOf(node: unknown): number | undefined {
  return isScalar(node) || isCollection(node) || isAlias(node) ? node.range?.[0] : undefined;
}

/** The config as YAML, one layer to a line; it loads back to the same config. */
export function formatConfigYaml(config: Config): string {
  const document = new Document(config, { aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_, list) => {
      list.flow = list.items.every((item) => isScalar(item));
      for (const item of list.items) if (isCollection(item)) item.flow = true;
    },
  });
  return document.toString({ lineWidth: 0 });
}
