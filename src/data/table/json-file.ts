// Tables of JSON: a row on each line (JSON Lines), or a list of rows in one document. A row is a mapping
// from columns to values; columns that a row leaves out have no value there.
import { StringDecoder } from 'node:string_decoder';
import { displayPath, emptyFile } from '../dataset/source-file.ts';
import { dataError, quoteValue, type SourceLocation } from '../../errors.ts';
import { readUtf8 } from './csv-file.ts';
import { refuseTooManyColumns } from './header.ts';
import { cellOf, locateIn, nestedValue, ALWAYS_QUOTED } from './table-file.ts';
import type { ByteStream, Cell, Pause, TableFile, TableReader } from './table-file.ts';

const MAX_LINE_LENGTH = 16 * 2 ** 20;
/** A document is read as a whole, and V8 has no longer text. */
const MAX_DOCUMENT_BYTES = 500 * 2 ** 20;

/** A row by the names of its columns. */
export type Row = Readonly<Record<string, unknown>>;

/** A row, and its line or, in a document, its number. */
interface PlacedRow {
  readonly row: Row;
  readonly place: number;
}

/** Opens a file with a row on each line, or a document, told apart by the first line. */
export async function openJson(path: string): Promise<TableFile> {
  const hasLines = /\.(jsonl|ndjson)(\.gz)?$/i.test(path) || (await startsWithRow(path));
  const rows = hasLines
    ? (pause?: Pause): AsyncIterable<PlacedRow> => readLines(path, readUtf8(path), pause)
    : await documentRows(path);
  const locate = (place: number): SourceLocation => locateIn(displayPath(path), place, hasLines);
  return {
    path,
    hasLines,
    namesEachCell: true,
    read: (reader, pause) => readRows(rows, reader, locate, pause),
    locate: (place) => Promise.resolve(locate(place)),
  };
}

/** The table of rows in memory. */
export function rowsTable(name: string, rows: readonly Row[]): TableFile {
  const locate = (place: number): SourceLocation => locateIn(name, place, false);
  const placed = function* (): Generator<PlacedRow, void, undefined> {
    for (const [place, row] of rows.entries()) yield { row, place };
  };
  return {
    path: name,
    hasLines: false,
    namesEachCell: true,
    read: (reader, pause) => readRows(placed, reader, locate, pause),
    locate: (place) => Promise.resolve(locate(place)),
  };
}

/**
 * The table of a stream of rows, one on each line, whose columns must be known: it cannot be read twice to
 * find them.
 */
export function jsonStream(stream: ByteStream, name: string, columns: readonly string[]): TableFile {
  const locate = (place: number): SourceLocation => locateIn(name, place, true);
  return {
    path: name,
    hasLines: true,
    namesEachCell: true,
    read: async (reader, pause) => {
      const rows = new CellRows(reader, columns, locate);
      for await (const { row, place } of readLines(name, stream, pause)) rows.take(row, place);
    },
    locate: (place) => Promise.resolve(locate(place)),
  };
}

/** Reads the rows twice: any of them may bring a column. */
async function readRows(
  rows: (pause?: Pause) => Iterable<PlacedRow> | AsyncIterable<PlacedRow>,
  reader: TableReader,
  locate: (place: number) => SourceLocation,
  pause?: Pause,
): Promise<void> {
  const found = new Set<string>();
  let first: number | undefined;
  for await (const { row, place } of rows()) {
    first ??= place;
    for (const name of Object.keys(row)) found.add(name);
    refuseTooManyColumns(found.size, locate(place));
  }
  if (first === undefined) return;
  const taker = new CellRows(reader, [...found], locate);
  for await (const { row, place } of rows(pause)) taker.take(row, place);
}

/** Hands rows over as the cells of their columns, which it announces with the first. */
class CellRows {
  readonly #reader: TableReader;
  readonly #names: readonly string[];
  readonly #locate: (place: number) => SourceLocation;
  readonly #cells: (Cell | undefined)[] = [];
  #wanted: readonly number[] | undefined;

  constructor(reader: TableReader, names: readonly string[], locate: (place: number) => SourceLocation) {
    this.#reader = reader;
    this.#names = names;
    this.#locate = locate;
  }

  take(row: Row, place: number): void {
    this.#wanted ??= this.#reader.columns(this.#names, this.#locate(place));
    for (const index of this.#wanted) {
      const name = this.#names[index] as string;
      const value = Object.hasOwn(row, name) ? row[name] : undefined;
      const cell = cellOf(value);
      if (cell === undefined) throw nestedValue(name, value, this.#locate(place));
      this.#cells[index] = cell;
    }
    this.#reader.row(this.#cells, place, ALWAYS_QUOTED);
  }
}

/** The lines of a file, without blank ones. */
async function* readLines(
  path: string,
  bytes: ByteStream,
  pause?: Pause,
): AsyncGenerator<PlacedRow, void, undefined> {
  for await (const { text, line } of textLines(path, bytes, pause)) {
    const location = { file: displayPath(path), line };
    const value = parseOrUndefined(text);
    if (value === undefined) {
      const message = `this line is no JSON: ${quoteValue(text)}`;
      throw dataError('E_DATA_JSON', message, { location, help: 'write one row on each line' });
    }
    if (!isRow(value)) throw noRow(value, location);
    yield { row: value, place: line };
  }
}

async function* textLines(
  path: string,
  bytes: ByteStream = readUtf8(path),
  pause?: Pause,
): AsyncGenerator<{ text: string; line: number }, void, undefined> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  let line = 0;
  for await (const chunk of bytes) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() as string;
    for (const text of lines) {
      line += 1;
      if (text.trim() !== '') yield { text: withoutMark(text), line };
    }
    if (rest.length > MAX_LINE_LENGTH) {
      const location = { file: displayPath(path), line: line + 1 };
      throw dataError('E_DATA_LONG_LINE', `the line is longer than ${MAX_LINE_LENGTH / 2 ** 20} MiB`, {
        location,
      });
    }
    await pause?.();
  }
  if (rest.trim() !== '') yield { text: withoutMark(rest), line: line + 1 };
}

function withoutMark(text: string): string {
  return text.startsWith('\uFEFF') ? text.slice(1) : text;
}

/** Tells whether the first line is a row; a mapping of nothing but lists is a document of columns. */
async function startsWithRow(path: string): Promise<boolean> {
  // A list is a document, which may be a single line of any length.
  for await (const chunk of readUtf8(path))
    if (/^\uFEFF?\s*\[/.test(chunk.toString('utf8'))) return false;
    else break;
  for await (const { text } of textLines(path)) {
    const value = parseOrUndefined(text);
    return isRow(value) && !isTable(value);
  }
  return false;
}

/** Tells whether the first line is a row, or begins a list. */
export async function startsWithJson(path: string): Promise<boolean> {
  for await (const { text } of textLines(path))
    return isRow(parseOrUndefined(text)) || /^\s*\[\s*(\{|$)/.test(text);
  return false;
}

/** A mapping of nothing but lists, or of nothing but mappings, as pandas writes it by default. */
function isTable(value: Row): boolean {
  const columns = Object.values(value);
  return columns.length > 0 && (columns.every(Array.isArray) || columns.every(isRow));
}

/** The rows of a document: a list of them, or a mapping from columns to lists of equal length. */
async function documentRows(path: string): Promise<() => Iterable<PlacedRow>> {
  const value = await readDocument(path);
  const file = displayPath(path);
  if (isRow(value)) return rowsOfColumns(value, file);
  if (!Array.isArray(value)) throw noTable(value, file);
  const rows = value.map((row: unknown, place): PlacedRow => {
    if (!isRow(row)) throw noRow(row, locateIn(file, place, false));
    return { row, place };
  });
  if (rows.length === 0) throw dataError('E_DATA_NO_ROWS', `${file} is an empty list: it has no rows`);
  return () => rows;
}

function rowsOfColumns(columns: Row, file: string): () => Iterable<PlacedRow> {
  const lists = Object.entries(columns);
  const [first] = lists;
  const length = Array.isArray(first?.[1]) ? first[1].length : undefined;
  const isTable = lists.every(([, list]) => Array.isArray(list) && list.length === length);
  if (!isTable || length === undefined) throw noTable(columns, file);
  return function* () {
    for (let place = 0; place < length; place++) {
      const row = Object.fromEntries(lists.map(([name, list]) => [name, (list as unknown[])[place]]));
      yield { row, place };
    }
  };
}

async function readDocument(path: string): Promise<unknown> {
  const chunks: Buffer[] = [];
  let numBytes = 0;
  const file = displayPath(path);
  for await (const chunk of readUtf8(path)) {
    chunks.push(chunk);
    numBytes += chunk.length;
    if (numBytes <= MAX_DOCUMENT_BYTES) continue;
    const message = `${file} is one JSON document of more than ${MAX_DOCUMENT_BYTES / 2 ** 20} MiB`;
    const help = 'write one row on each line (JSON Lines), which is read line by line';
    throw dataError('E_DATA_TOO_LARGE', message, { help });
  }
  const text = withoutMark(Buffer.concat(chunks).toString('utf8'));
  if (text.trim() === '') throw emptyFile(path, 'holds nothing but blanks');
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const { message } = error as Error;
    const at = /position (\d+)/.exec(message)?.[1] ?? (/end of JSON/.test(message) ? text.length : undefined);
    const before = text.slice(0, Number(at)).split('\n');
    const place = { line: before.length, column: (before.at(-1) ?? '').length + 1 };
    const location = at === undefined ? { file } : { file, ...place };
    throw dataError('E_DATA_JSON', `not valid JSON: ${message}`, { location });
  }
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Tells whether a value is a row; what its columns hold is another question. */
export function isRow(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function noRow(value: unknown, location: SourceLocation): Error {
  const message = `a row is a mapping such as {"a": 1, "b": 2}, this is ${quoteValue(value)}`;
  return dataError('E_DATA_JSON', message, { location });
}

function noTable(value: unknown, file: string): Error {
  const message = `${file} is ${quoteValue(value)}, not a list of rows`;
  const help =
    'write a list of mappings such as [{"a": 1, "b": 2}], or one on each line: in pandas, to_json(FILE, orient="records")';
  return dataError('E_DATA_JSON', message, { help });
}
