// Tables as columns in memory: one or more files of equal columns, read as a stream, cell by cell.
// Rows of all files are counted through; `parts` tells which file a row came from.
import type { SourceLocation } from '../errors.ts';
import {
  ColumnBuilder,
  MAX_CELL_LENGTH,
  type CellRejection,
  type Column,
  type PlannedColumn,
} from './column.ts';
import { findColumnProblems, throwCellProblems, warnAboutColumns } from './column-problems.ts';
import { readRecords } from './csv.ts';
import { countOf, dataError, formatCount } from './data-error.ts';
import { MAX_BLOB_BYTES } from './dataset.ts';
import { readHeader, requireSameHeader, suspectHeader } from './header.ts';
import type { CsvFile } from './locate-field.ts';
import { displayPath, emptyFile } from './source-file.ts';
import type { TableFormat } from './table-format.ts';

const BYTES_PER_VALUE = 4;

/** The rows of a table that came from one file, or one argument of a call. */
export interface TablePart {
  /** As messages show it. */
  readonly file: string;
  readonly firstRow: number;
  readonly numRows: number;
}

/** The columns that are kept, and where each row stood. */
export interface Table {
  readonly parts: readonly TablePart[];
  readonly numRows: number;
  readonly columns: ReadonlyMap<string, Column>;
  /** Line of each row in its file; undefined where rows came from memory. */
  readonly lines: Uint32Array | undefined;
}

/** What to read. */
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
  const files = request.paths.map((path) => csvFile(path, request.format.delimiter));
  for (const file of files) {
    builder.beginPart(file);
    await readRecords(file, (fields, line) => builder.addRecord(fields, line));
    builder.endPart();
  }
  const { columns } = builder;
  const problems = findColumnProblems(columns, request.format);
  if (problems.length > 0) await throwCellProblems(problems, files, builder.header);
  warnAboutColumns(columns, files, request.warn);
  return builder.finish();
}

/** The column of that name; it is one the plan asked for. */
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

function csvFile(path: string, delimiter: string | undefined): CsvFile {
  const isTabbed = /\.(tsv|tab)(\.gz)?$/i.test(path);
  return { path, delimiter: delimiter ?? (isTabbed ? '\t' : ',') };
}

/** Takes records and grows columns. */
class TableBuilder {
  header: readonly string[] = [];
  columns: readonly ColumnBuilder[] = [];
  readonly #request: TableRequest;
  readonly #parts: TablePart[] = [];
  readonly #lines: number[] = [];
  /** Where each kept column stands in a record. */
  #fieldIndices: readonly number[] = [];
  #path = '';
  #numRecords = 0;
  #numDropped = 0;
  #firstRow = 0;

  constructor(request: TableRequest) {
    this.#request = request;
  }

  beginPart(file: CsvFile): void {
    this.#path = file.path;
    this.#numRecords = 0;
    this.#numDropped = 0;
    this.#firstRow = this.#lines.length;
  }

  addRecord(fields: readonly string[], line: number): void {
    if (this.#numRecords === 0) this.#takeHeader(fields, line);
    this.#numRecords += 1;
    if (this.#numRecords > 1 || !this.#request.format.header) this.#addRow(fields, line);
  }

  endPart(): void {
    if (this.#numRecords === 0) throw emptyFile(this.#path);
    const { format, warn } = this.#request;
    const file = displayPath(this.#path);
    const numRead = this.#numRecords - (format.header ? 1 : 0);
    if (numRead === 0) throw dataError('E_DATA_NO_ROWS', `${file} has a header but no data rows`);
    const numRows = this.#lines.length - this.#firstRow;
    if (this.#numDropped > 0) {
      const counts = `${formatCount(this.#numDropped)} of ${countOf(numRead, 'row')}`;
      if (numRows === 0) throw dataError('E_DATA_NO_ROWS', `${file}: every row has a missing cell`);
      warn(`${file}: ${counts} left out for missing cells (data.missing: drop-row)`);
    }
    this.#parts.push({ file, firstRow: this.#firstRow, numRows });
  }

  finish(): Table {
    return {
      parts: this.#parts,
      numRows: this.#lines.length,
      columns: new Map(this.columns.map((column) => [column.plan.name, column.finish()])),
      lines: Uint32Array.from(this.#lines),
    };
  }

  #takeHeader(fields: readonly string[], line: number): void {
    const { format, plan, warn } = this.#request;
    const location = { file: displayPath(this.#path), line };
    const names = readHeader(fields, format, location);
    const suspicion = format.header ? suspectHeader(names, location) : undefined;
    if (suspicion !== undefined) warn(suspicion);
    if (this.#parts.length > 0) return requireSameHeader(this.header, names, location);
    this.header = names;
    const indices = new Map(names.map((name, index) => [name, index]));
    const planned = plan(names);
    this.columns = planned.map((column) => new ColumnBuilder(column, format.decimal));
    this.#fieldIndices = planned.map(({ name }) => indices.get(name) as number);
  }

  #addRow(fields: readonly string[], line: number): void {
    const part = this.#parts.length;
    let isComplete = true;
    for (let k = 0; k < this.columns.length; k++) {
      const column = this.columns[k] as ColumnBuilder;
      const rejection = column.add(fields[this.#fieldIndices[k] as number] as string, part, line);
      if (rejection !== undefined) throw this.#rejected(column, rejection, line);
      isComplete &&= !column.endsWithoutValue;
    }
    if (isComplete || this.#request.format.missing !== 'drop-row') {
      this.#lines.push(line);
      this.#checkSize();
      return;
    }
    for (const column of this.columns) column.removeLast();
    this.#numDropped += 1;
  }

  /** Stops a hopeless load early; the exact size of the packed rows is checked before they are allocated. */
  #checkSize(): void {
    if (this.#lines.length * this.columns.length * BYTES_PER_VALUE <= MAX_BLOB_BYTES) return;
    const message = `more than ${MAX_BLOB_BYTES / 2 ** 30} GiB of values after ${countOf(this.#lines.length, 'row')}`;
    throw dataError('E_DATA_TOO_LARGE', message, { location: { file: displayPath(this.#path) } });
  }

  #rejected(column: ColumnBuilder, rejection: CellRejection, line: number): Error {
    const { name, maxCategories } = column.plan;
    const location = { file: displayPath(this.#path), line };
    if (rejection === 'too-long') {
      return dataError(
        'E_DATA_LONG_CELL',
        `column "${name}": cell is longer than ${MAX_CELL_LENGTH / 1024} KiB`,
        {
          location,
        },
      );
    }
    const message = `column "${name}" has more than ${formatCount(maxCategories)} distinct texts`;
    const help = 'an identifier teaches nothing: list it under data.drop';
    return dataError('E_DATA_CATEGORIES', message, { location, help });
  }
}
