// Tables as columns in memory. Rows are numbered across all files; `parts` tells which file a row came
// from.
import { cellsOf } from './cell-store.ts';
import type { Column } from './column.ts';
import { locateIn } from './table-file.ts';
import type { SourceLocation } from '../../errors.ts';

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
