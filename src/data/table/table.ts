// Tables as columns in memory: one or more files of equal columns, read as a stream, cell by cell.
// Rows are numbered across all files; `parts` tells which file a row came from.
import { MAX_BLOB_BYTES } from '../dataset/packed-dataset.ts';
import { displayPath, emptyFile } from '../dataset/source-file.ts';
import { range } from '../dataset/split.ts';
import { findColumnProblems, throwCellProblems, warnAboutColumns } from './column-problems.ts';
import { ColumnBuilder, MAX_CELL_LENGTH, type Column, type PlannedColumn } from './column.ts';
import type { CsvFile } from './csv-file.ts';
import { readRecords } from './csv.ts';
import { CellReader, type TableFormat } from './format.ts';
import { chooseDelimiter, readHeader, refuseOneColumn, requireSameHeader, suspectHeader } from './header.ts';
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
}

/** The columns that are kept, and the place of each row. */
export interface Table {
  readonly parts: readonly TablePart[];
  readonly numRows: number;
  readonly columns: ReadonlyMap<string, Column>;
  /** Line of each row in its file; undefined where rows came from memory. */
  readonly lines: Uint32Array | undefined;
}

/** The files to read, and how to read them. */
export interface TableRequest {
  readonly paths: readonly string[];
  readonly format: TableFormat;
  /** Chooses the columns to keep once the header of the first file is known. */
  readonly plan: (header: readonly string[]) => readonly PlannedColumn[];
  readonly warn: (message: string) => void;
}

/**
 * Reads the files of a table.
 *
 * @throws LockstepError naming file, line and column of what is wrong, up to ten problems at once.
 */
export async function readTable(request: TableRequest): Promise<Table> {
  const builder = new TableBuilder(request);
  const files = await Promise.all(request.paths.map((path) => chooseDelimiter(path, request.format)));
  for (const file of files) {
    builder.beginPart(file);
    await readRecords(file, (fields, line, isQuoted) => builder.addRecord(fields, line, isQuoted));
    builder.endPart();
  }
  const { columns } = builder;
  for (const column of columns) column.close();
  const problems = findColumnProblems(columns, request.format);
  if (problems.length > 0) await throwCellProblems(problems, files, builder.header);
  warnAboutColumns(columns, files, request);
  return builder.finish();
}

/** The column of that name, which must be planned. */
export function columnOf(table: Table, name: string): Column {
  const column = table.columns.get(name);
  if (column === undefined) throw new Error(`column ${name} was not planned`);
  return column;
}

/** File and line of a row, or argument and row, from 0. */
export function locateRow({ parts, lines }: Table, row: number): SourceLocation {
  const part = parts.findLast(({ firstRow }) => firstRow <= row) as TablePart;
  return lines ? { file: part.file, line: lines[row] } : { file: `${part.file}, row ${row - part.firstRow}` };
}

/** Takes records and grows columns. */
class TableBuilder {
  header: readonly string[] = [];
  columns: readonly ColumnBuilder[] = [];
  readonly #request: TableRequest;
  readonly #parts: TablePart[] = [];
  readonly #lines: number[] = [];
  /** The place of each kept column in a record. */
  #fieldIndices: readonly number[] = [];
  #file: CsvFile = { path: '', delimiter: ',' };
  #numRecords = 0;
  #firstRow = 0;
  /** Tells whether a field of the record that is being added is quoted. */
  #isQuoted: (index: number) => boolean = () => false;

  constructor(request: TableRequest) {
    this.#request = request;
  }

  beginPart(file: CsvFile): void {
    this.#file = file;
    this.#numRecords = 0;
    this.#firstRow = this.#lines.length;
  }

  addRecord(fields: readonly string[], line: number, isQuoted: (index: number) => boolean): void {
    this.#isQuoted = isQuoted;
    if (this.#numRecords === 0) this.#takeHeader(fields, line);
    this.#numRecords += 1;
    if (this.#numRecords > 1 || !this.#request.format.header) this.#addRow(fields, line);
  }

  endPart(): void {
    const { path } = this.#file;
    if (this.#numRecords === 0)
      throw emptyFile(path, 'holds no rows, only blank lines or a line that sets the delimiter');
    const file = displayPath(path);
    const numRows = this.#lines.length - this.#firstRow;
    if (numRows === 0) throw dataError('E_DATA_NO_ROWS', `${file} has a header but no data rows`);
    this.#parts.push({ file, firstRow: this.#firstRow, numRows });
  }

  /** The table without the rows that lack a value in a column whose rule is to leave them out. */
  finish(): Table {
    const deciding = this.columns.filter(({ plan }) => plan.missing === 'drop-row');
    const isKept = (row: number): boolean => !deciding.some((column) => column.lacksValue(row));
    const kept = range(0, this.#lines.length).filter(isKept);
    const parts: TablePart[] = [];
    for (const [index, part] of this.#parts.entries()) {
      const numRows = kept.filter((row) => row >= part.firstRow && row < part.firstRow + part.numRows).length;
      if (numRows < part.numRows) this.#reportLeftOut(part, { index, numRows, deciding });
      const firstRow = parts.reduce((sum, earlier) => sum + earlier.numRows, 0);
      parts.push({ file: part.file, firstRow, numRows });
    }
    const isWhole = kept.length === this.#lines.length;
    return {
      parts,
      numRows: kept.length,
      columns: new Map(
        this.columns.map((column) => [column.plan.name, column.finish(isWhole ? undefined : kept)]),
      ),
      lines: Uint32Array.from(kept, (row) => this.#lines[row] as number),
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

  #takeHeader(fields: readonly string[], line: number): void {
    const { format, plan, warn } = this.#request;
    const location = { file: displayPath(this.#file.path), line };
    refuseOneColumn(fields, this.#file, line);
    const names = readHeader(fields, format, location);
    const suspicion = format.header ? suspectHeader(names, format, location) : undefined;
    if (suspicion !== undefined) warn(suspicion);
    if (this.#parts.length > 0) return requireSameHeader(this.header, names, location);
    this.header = names;
    const indices = new Map(names.map((name, index) => [name, index]));
    const planned = plan(names);
    const cells = new CellReader(format);
    this.#fieldIndices = planned.map(({ name }) => indices.get(name) as number);
    this.columns = planned.map((column, k) => {
      const index = this.#fieldIndices[k] as number;
      return new ColumnBuilder(column, cells, () => this.#isQuoted(index));
    });
  }

  #addRow(fields: readonly string[], line: number): void {
    const part = this.#parts.length;
    for (let k = 0; k < this.columns.length; k++) {
      const column = this.columns[k] as ColumnBuilder;
      const cell = fields[this.#fieldIndices[k] as number] as string;
      if (!column.add(cell, part, line)) throw this.#tooLong(column, line);
    }
    this.#lines.push(line);
    this.#checkSize();
  }

  /** Stops a hopeless load early; the exact size of the packed rows is checked before they are allocated. */
  #checkSize(): void {
    if (this.#lines.length * this.columns.length * BYTES_PER_VALUE <= MAX_BLOB_BYTES) return;
    const message = `more than ${MAX_BLOB_BYTES / 2 ** 30} GiB of values after ${countOf(this.#lines.length, 'row')}`;
    throw dataError('E_DATA_TOO_LARGE', message, { location: { file: displayPath(this.#file.path) } });
  }

  #tooLong({ plan }: ColumnBuilder, line: number): Error {
    const message = `column ${quoteName(plan.name)}: cell is longer than ${MAX_CELL_LENGTH / 1024} KiB`;
    return dataError('E_DATA_LONG_CELL', message, { location: { file: displayPath(this.#file.path), line } });
  }
}
