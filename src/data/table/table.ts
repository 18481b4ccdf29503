// Tables as columns in memory: one or more files of equal columns, read as a stream, cell by cell.
// Rows are numbered across all files; `parts` tells which file a row came from.
import { MAX_BLOB_BYTES } from '../dataset/packed-dataset.ts';
import { ScratchFile } from '../dataset/scratch-file.ts';
import { displayPath, emptyFile } from '../dataset/source-file.ts';
import { range } from '../dataset/split.ts';
import { findColumnProblems, throwCellProblems, warnAboutColumns } from './column-problems.ts';
import { cellsOf, GrowingCells, SpilledCells, SpilledTable } from './cell-store.ts';
import { ColumnBuilder, MAX_CELL_LENGTH, type Column, type PlannedColumn } from './column.ts';
import { CellReader, type TableFormat } from './format.ts';
import { requireSameHeader } from './header.ts';
import { openRows, openTable } from './open-table.ts';
import type { RowSet } from './row-set.ts';
import { locateIn, type Cell, type TableFile, type TableReader } from './table-file.ts';
import { quoteName, quoteValue, type SourceLocation, dataError } from '../../errors.ts';
import { countOf, formatCount } from '../../printable.ts';

const BYTES_PER_VALUE = 4;
const MAX_SHOWN_COLUMNS = 10;

/** The rows of a table that came from one file, or one argument of a call. */
export interface TablePart {
  /** The name that messages show. */
  readonly file: string;
  readonly firstRow: number;
  readonly numRows: number;
  /** True where places are lines of a text; else they are numbers of rows, from 0. */
  readonly hasLines: boolean;
  /** Positions of a sample, where each row is one of them. */
  readonly positions?: number | undefined;
}

/** The columns that are kept, and the place of each row. */
export interface Table {
  readonly parts: readonly TablePart[];
  readonly numRows: number;
  readonly columns: ReadonlyMap<string, Column>;
  /** The place of each row in its file: its line, or its number. */
  readonly places: Uint32Array;
}

/** The files to read, and how to read them. */
export interface TableRequest {
  /** Paths, or rows in memory. */
  readonly files: readonly (string | RowSet)[];
  readonly format: TableFormat;
  /** Chooses the columns to keep once the header of the first file is known. */
  readonly plan: (header: readonly string[]) => readonly PlannedColumn[];
  /** Keeps features in a file, for a table that may be larger than memory; default false. */
  readonly isStreamed?: boolean | undefined;
  readonly warn: (message: string) => void;
}

/**
 * Reads the files of a table.
 *
 * @throws LockstepError naming file, line and column of what is wrong, up to ten problems at once.
 */
export async function readTable(request: TableRequest): Promise<Table> {
  const file = request.isStreamed ? await ScratchFile.create() : undefined;
  const builder = new TableBuilder(request, file);
  const files = await Promise.all(request.files.map((file) => openFile(file, request)));
  for (const file of files) {
    builder.beginPart(file);
    await file.read(builder);
    builder.endPart();
  }
  const { builders: columns } = builder;
  for (const column of columns) column.close();
  const problems = findColumnProblems(columns, request.format);
  if (problems.length > 0) await throwCellProblems(problems, files, builder.header);
  warnAboutColumns(columns, files, request);
  return builder.finish();
}

async function openFile(file: string | RowSet, request: TableRequest): Promise<TableFile> {
  return typeof file === 'string' ? openTable(file, request) : openRows(file, request.format);
}

/** The column of that name, which must be planned. */
export function columnOf(table: Table, name: string): Column {
  const column = table.columns.get(name);
  if (column === undefined) throw new Error(`column ${name} was not planned`);
  return column;
}

/** Rows [from, to) of a table, as a table. */
export function sliceTable({ columns, parts, places }: Table, from: number, to: number): Table {
  const sliced = [...columns.values()].map(({ name, kind, categories, slice }) => ({
    name,
    kind,
    categories,
    ...cellsOf(slice(from, to)),
  }));
  return {
    parts: parts.map((part) => ({ ...part, firstRow: part.firstRow - from })),
    numRows: to - from,
    columns: new Map(sliced.map((column) => [column.name, column])),
    places: places.subarray(from, to),
  };
}

/** File and line of a row, or file or argument and row, from 0. */
export function locateRow({ parts, places }: Table, row: number): SourceLocation {
  const { file, hasLines, positions } = parts.findLast(({ firstRow }) => firstRow <= row) as TablePart;
  const place = places[row] as number;
  if (positions === undefined) return locateIn(file, place, hasLines);
  const sample = locateIn(file, Math.floor(place / positions), hasLines);
  return { file: `${sample.file}, position ${place % positions}` };
}

/** The places of rows that no file holds: their numbers in their part. */
export function numberRows(parts: readonly Pick<TablePart, 'firstRow' | 'numRows'>[]): Uint32Array {
  const places = new Uint32Array(parts.reduce((sum, { numRows }) => sum + numRows, 0));
  for (const { firstRow, numRows } of parts) {
    for (let row = 0; row < numRows; row++) places[firstRow + row] = row;
  }
  return places;
}

/** Takes rows and grows columns. */
class TableBuilder implements TableReader {
  header: readonly string[] = [];
  builders: readonly ColumnBuilder[] = [];
  readonly #request: TableRequest;
  readonly #scratch: ScratchFile | undefined;
  readonly #parts: TablePart[] = [];
  readonly #places: number[] = [];
  /** The place of each kept column in a row; undefined where the file lacks it. */
  #indices: readonly (number | undefined)[] = [];
  #file: TableFile | undefined;
  #hasColumns = false;
  #firstRow = 0;
  /** Tells whether a cell of the row that is being added is quoted. */
  #isQuoted: (index: number) => boolean = () => false;

  /** Columns are kept in `file`, or in memory. */
  constructor(request: TableRequest, file: ScratchFile | undefined) {
    this.#request = request;
    this.#scratch = file;
  }

  beginPart(file: TableFile): void {
    this.#file = file;
    this.#hasColumns = false;
    this.#firstRow = this.#places.length;
  }

  endPart(): void {
    const { path, hasLines } = this.#file as TableFile;
    if (!this.#hasColumns)
      throw emptyFile(path, 'holds no rows, only blank lines or a line that sets the delimiter');
    const file = displayPath(path);
    const numRows = this.#places.length - this.#firstRow;
    if (numRows === 0) throw dataError('E_DATA_NO_ROWS', `${file} has a header but no data rows`);
    this.#parts.push({ file, firstRow: this.#firstRow, numRows, hasLines });
  }

  /** The table without the rows that lack a value in a column whose rule is to leave them out. */
  finish(): Table {
    const deciding = this.builders.filter(({ plan }) => plan.missing === 'drop-row');
    const isKept = (row: number): boolean => !deciding.some((column) => column.lacksValue(row));
    const kept = range(0, this.#places.length).filter(isKept);
    const parts: TablePart[] = [];
    for (const [index, part] of this.#parts.entries()) {
      const numRows = kept.filter((row) => row >= part.firstRow && row < part.firstRow + part.numRows).length;
      if (numRows < part.numRows) this.#reportLeftOut(part, { index, numRows, deciding });
      const firstRow = parts.reduce((sum, earlier) => sum + earlier.numRows, 0);
      parts.push({ ...part, firstRow, numRows });
    }
    const isWhole = kept.length === this.#places.length;
    return {
      parts,
      numRows: kept.length,
      columns: new Map(
        this.builders.map((column) => [column.plan.name, column.finish(isWhole ? undefined : kept)]),
      ),
      places: Uint32Array.from(kept, (row) => this.#places[row] as number),
    };
  }

  /** Reports how many rows of a file are left out, and because of which columns. */
  #reportLeftOut(
    { file, firstRow, numRows }: TablePart,
    left: { readonly index: number; readonly numRows: number; readonly deciding: readonly ColumnBuilder[] },
  ): void {
    const reasons = left.deciding.flatMap((column) => {
      const count = range(firstRow, numRows).filter((row) => column.lacksValue(row)).length;
      const { firstMissing } = column;
      const isSample = firstMissing?.part === left.index && firstMissing.cell !== '';
      const sample = isSample ? `, such as ${quoteValue(firstMissing.cell)}` : '';
      return count === 0 ? [] : [`column ${quoteName(column.plan.name)} ${formatCount(count)}${sample}`];
    });
    const shown =
      reasons.slice(0, MAX_SHOWN_COLUMNS).join('; ') + (reasons.length > MAX_SHOWN_COLUMNS ? '; …' : '');
    if (left.numRows === 0)
      throw dataError('E_DATA_NO_ROWS', `${file}: every row has a missing cell (${shown})`);
    const counts = `${formatCount(numRows - left.numRows)} of ${countOf(numRows, 'row')}`;
    this.#request.warn(`${file}: ${counts} left out for missing cells (${shown})`);
  }

  columns(names: readonly string[], location: SourceLocation): readonly number[] {
    this.#hasColumns = true;
    if (this.#parts.length === 0) this.#plan(names);
    else if (!this.#file?.namesEachCell) requireSameHeader(this.header, names, location);
    const indices = new Map(names.map((name, index) => [name, index]));
    this.#indices = this.builders.map(({ plan }) => indices.get(plan.name));
    return this.#indices.filter((index) => index !== undefined);
  }

  #plan(names: readonly string[]): void {
    this.header = names;
    const { format, plan } = this.#request;
    const reader = new CellReader(format);
    const columns = plan(names);
    const spilled = this.#scratch && new SpilledTable(this.#scratch, columns.length);
    this.builders = columns.map((column, k) => {
      // Targets and sample weights are needed as a whole, time and again.
      const values = spilled && column.isFeature ? new SpilledCells(spilled, k) : new GrowingCells();
      return new ColumnBuilder(column, reader, () => this.#isQuoted(this.#indices[k] as number), values);
    });
  }

  row(cells: readonly (Cell | undefined)[], place: number, isQuoted: (index: number) => boolean): void {
    this.#isQuoted = isQuoted;
    const part = this.#parts.length;
    for (let k = 0; k < this.builders.length; k++) {
      const column = this.builders[k] as ColumnBuilder;
      const index = this.#indices[k];
      const cell = index === undefined ? '' : (cells[index] as Cell);
      if (!column.add(cell, part, place)) throw this.#tooLong(column, place);
    }
    this.#places.push(place);
    this.#checkSize();
  }

  /** Stops a hopeless load early; the exact size of the packed rows is checked before they are allocated. */
  #checkSize(): void {
    if (this.#request.isStreamed) return;
    if (this.#places.length * this.builders.length * BYTES_PER_VALUE <= MAX_BLOB_BYTES) return;
    const message = `more than ${MAX_BLOB_BYTES / 2 ** 30} GiB of values after ${countOf(this.#places.length, 'row')}`;
    throw dataError('E_DATA_TOO_LARGE', message, { location: { file: this.#name } });
  }

  get #name(): string {
    return displayPath((this.#file as TableFile).path);
  }

  #tooLong({ plan }: ColumnBuilder, place: number): Error {
    const message = `column ${quoteName(plan.name)}: cell is longer than ${MAX_CELL_LENGTH / 1024} KiB`;
    return dataError('E_DATA_LONG_CELL', message, {
      location: locateIn(this.#name, place, this.#file?.hasLines ?? true),
    });
  }
}
