// Opens a file of a table in whichever format it is: CSV and TSV, JSON, Parquet or Arrow.
import { realpath, stat } from 'node:fs/promises';
import { join, parse, sep } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import type { TableSource } from '../../config/data-sources.ts';
import { configError, dataError } from '../../errors.ts';
import {
  ARROW_MAGIC,
  ARROW_STREAM_MAGIC,
  displayPath,
  magicOf,
  PARQUET_MAGIC,
} from '../dataset/source-file.ts';
import { openCsv } from './csv.ts';
import type { TableFormat } from './format.ts';
import { openJson, rowsTable, startsWithJson } from './json-file.ts';
import { openArrow, openParquet } from './column-file.ts';
import type { RowSet } from './row-set.ts';
import type { TableFile } from './table-file.ts';

/**
 * The files that a config names by paths and patterns, such as `part-*.csv`; those of a pattern in the
 * order of their names.
 *
 * @throws LockstepError for a pattern without a file, a directory, and a file that is named twice
 */
export async function findTableFiles(source: TableSource): Promise<string[]> {
  const named = typeof source === 'string' ? [source] : source;
  const found = (await Promise.all(named.map(findFiles))).flat();
  const real = await Promise.all(found.map((path) => realpath(path).catch(() => path)));
  const seen = new Set<string>();
  const repeated = found.find((_, index) => seen.size === seen.add(real[index] as string).size);
  if (repeated === undefined) return found;
  throw configError('E_CONFIG_FILES', `${displayPath(repeated)} is named twice`, 'name each file once');
}

async function findFiles(pattern: string): Promise<string[]> {
  const { directory, rest } = await splitPattern(pattern);
  if (rest === '') {
    const message = `cannot read ${displayPath(pattern)}: it is a directory`;
    const help = `name the files of a table: ${displayPath(pattern)}/*.csv`;
    throw dataError('E_DATA_UNREADABLE', message, { help });
  }
  const isFile = (await stat(join(directory, rest)).catch(() => undefined)) !== undefined;
  if (isFile || !isDynamicPattern(rest)) return [pattern];
  const paths = await glob(rest, { cwd: directory, absolute: true, expandDirectories: false });
  if (paths.length > 0) return paths.sort();
  throw dataError('E_DATA_UNREADABLE', `no file matches ${displayPath(pattern)} (cwd ${process.cwd()})`);
}

/** Splits a path where its directories end: what exists by that name is no pattern. */
async function splitPattern(pattern: string): Promise<{ directory: string; rest: string }> {
  let directory = parse(pattern).root;
  const names = pattern.slice(directory.length).split(sep).filter(Boolean);
  for (let at = 0; at < names.length; at++) {
    const next = join(directory, names[at] as string);
    const stats = await stat(next).catch(() => undefined);
    if (!stats?.isDirectory()) return { directory, rest: names.slice(at).join('/') };
    directory = next;
  }
  return { directory, rest: '' };
}

const JSON_NAME = /\.(json|jsonl|ndjson)(\.gz)?$/i;

/**
 * Opens a file: Parquet and Arrow are told by its first bytes, JSON by its name; all else is CSV.
 *
 * @throws LockstepError if it cannot be read, or if the format has a setting that is for CSV alone
 */
export async function openTable(
  path: string,
  { format, warn }: { readonly format: TableFormat; readonly warn: (message: string) => void },
): Promise<TableFile> {
  const magic = await magicOf(path);
  if (magic.startsWith(PARQUET_MAGIC)) return openTyped('Parquet', openParquet);
  if (magic.startsWith(ARROW_MAGIC) || magic.startsWith(ARROW_STREAM_MAGIC))
    return openTyped('Arrow', openArrow);
  if (JSON_NAME.test(path)) return openTyped('JSON', openJson);
  if (/^(?:efbbbf)?(?:7b|5b)/.test(magic)) await refuseJson(path);
  return openCsv(path, format, warn);

  function openTyped(kind: string, open: (path: string) => Promise<TableFile>): Promise<TableFile> {
    // A trained model has the format of its own table.
    if (!format.isSaved) refuseCsvSettings(kind, path, format);
    return open(path);
  }
}

/**
 * Opens rows in memory.
 *
 * @throws LockstepError if the format has a setting that is for CSV alone
 */
export function openRows({ name, rows }: RowSet, format: TableFormat): TableFile {
  if (!format.isSaved) refuseCsvSettings('rows of a program', name, format);
  return rowsTable(name, rows);
}

/** Refuses rows of JSON in a file whose name says otherwise. */
async function refuseJson(path: string): Promise<void> {
  if (!(await startsWithJson(path))) return;
  const message = `${displayPath(path)} looks like JSON, not like CSV`;
  throw dataError('E_DATA_FORMAT', message, {
    help: 'give it a name that ends in .json, or .jsonl for a row on each line',
  });
}

function refuseCsvSettings(kind: string, path: string, { delimiter, header }: TableFormat): void {
  const field = delimiter !== undefined ? 'delimiter' : header ? undefined : 'header';
  if (field === undefined) return;
  const message = `data.${field} is for CSV, and ${displayPath(path)} is ${kind}`;
  throw configError('E_CONFIG_FORMAT', message, 'remove it');
}
