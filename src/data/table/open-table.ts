// Opens a file of a table in whichever format it is: CSV and TSV, JSON, Parquet or Arrow.
import { stat } from 'node:fs/promises';
import { glob, isDynamicPattern } from 'tinyglobby';
import type { TableSource } from '../../config/data-sources.ts';
import { configError, dataError } from '../../errors.ts';
import { ARROW_MAGIC, displayPath, magicOf, PARQUET_MAGIC } from '../dataset/source-file.ts';
import { openCsv } from './csv.ts';
import type { TableFormat } from './format.ts';
import { openJson } from './json-file.ts';
import { openArrow, openParquet } from './column-file.ts';
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
  const repeated = found.find((path, index) => found.indexOf(path) < index);
  if (repeated === undefined) return found;
  throw configError('E_CONFIG_FILES', `${displayPath(repeated)} is named twice`, 'name each file once');
}

async function findFiles(pattern: string): Promise<string[]> {
  const stats = await stat(pattern).catch(() => undefined);
  if (stats?.isDirectory()) {
    const message = `cannot read ${displayPath(pattern)}: it is a directory`;
    throw dataError('E_DATA_UNREADABLE', message, {
      help: `name the files of a table: ${displayPath(pattern)}/*.csv`,
    });
  }
  // A file may have a name that is a pattern too.
  if (stats || !isDynamicPattern(pattern)) return [pattern];
  const paths = await glob(pattern, { absolute: true, expandDirectories: false, dot: false });
  if (paths.length > 0) return paths.sort();
  throw dataError('E_DATA_UNREADABLE', `no file matches ${displayPath(pattern)} (cwd ${process.cwd()})`);
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
  if (magic.startsWith(ARROW_MAGIC)) return openTyped('Arrow', openArrow);
  if (JSON_NAME.test(path)) return openTyped('JSON', openJson);
  return openCsv(path, format, warn);

  function openTyped(kind: string, open: (path: string) => Promise<TableFile>): Promise<TableFile> {
    // A trained model has the format of its own table.
    if (!format.isSaved) refuseCsvSettings(kind, path, format);
    return open(path);
  }
}

function refuseCsvSettings(kind: string, path: string, { delimiter, header }: TableFormat): void {
  const field = delimiter !== undefined ? 'delimiter' : header ? undefined : 'header';
  if (field === undefined) return;
  const message = `data.${field} is for CSV, and ${displayPath(path)} is ${kind}`;
  throw configError('E_CONFIG_FORMAT', message, 'remove it');
}
