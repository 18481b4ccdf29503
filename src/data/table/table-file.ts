// A file of a table, whatever its format: its columns and rows, and the words for a place in it.
import type { LockstepError, SourceLocation } from '../../errors.ts';
import { dataError, quoteName } from '../../errors.ts';

/** A cell: a number, a date, or a text that is still to be read. An empty text is no value. */
export type Cell = string | number | Date;

/** Takes the content of a file: the columns once, then the rows. */
export interface TableReader {
  /** Takes the names of all columns; returns the indices of those that are wanted. */
  columns(names: readonly string[], location: SourceLocation): readonly number[];
  /**
   * Takes the cells of a row by the index of their column; those of other columns may be absent.
   * `place` is the line that the row starts on, or its number from 0 where the file has no lines.
   * `isQuoted` tells of the cells, while the call lasts.
   */
  row(cells: readonly (Cell | undefined)[], place: number, isQuoted: (index: number) => boolean): void;
}

/** The bytes of a table that is no file and comes once, such as those of stdin; checked to be UTF-8. */
export type ByteStream = AsyncIterable<Buffer>;

/** Called where reading may wait before it goes on. */
export type Pause = () => Promise<void>;

/** A file that can be read. */
export interface TableFile {
  readonly path: string;
  /** True where places are lines of a text; else they are numbers of rows. */
  readonly hasLines: boolean;
  /** True where each row names its columns, so that other files may have others, in another order. */
  readonly namesEachCell?: boolean;
  /**
   * Reads all rows. `pause`, if given, is awaited now and then, before more of the file is read: the rows
   * so far can be used up, so that a file of any size takes little memory. Formats that are read as a
   * whole do not call it.
   * @throws LockstepError for the first thing that is malformed; what the reader throws passes through
   */
  read(reader: TableReader, pause?: Pause): Promise<void>;
  /** The place of a cell, for an error. */
  locate(place: number, column: number): Promise<SourceLocation>;
}

/** Formats with types have null for no value, so that each of their texts is a value. */
export const ALWAYS_QUOTED = (): boolean => true;

/** The place of a row in a file, whose name messages show. */
export function locateIn(file: string, place: number, hasLines: boolean): SourceLocation {
  return hasLines ? { file, line: place } : { file: `${file}, row ${place}` };
}

/** The cell for a value of a format that has types; undefined for lists, mappings and bytes. */
export function cellOf(value: unknown): Cell | undefined {
  switch (typeof value) {
    case 'number':
      return Number.isNaN(value) ? '' : value;
    case 'bigint':
      return Number(value);
    case 'string':
      return value.trim();
    case 'boolean':
      return String(value);
    case 'undefined':
      return '';
    default:
      if (value instanceof Date) return Number.isNaN(value.getTime()) ? '' : value;
      return value === null ? '' : undefined;
  }
}

/** The text of a cell; of a date `2024-02-29` for midnight, else with the time of day, in UTC. */
export function textOf(cell: Cell): string {
  if (!(cell instanceof Date)) return String(cell);
  return cell.toISOString().replace(/T00:00:00\.000Z$/, '');
}

/** The error of a value that no cell can hold. */
export function nestedValue(name: string, value: unknown, location: SourceLocation): LockstepError {
  const isBytes = ArrayBuffer.isView(value) && !(value instanceof Float64Array);
  const isList = typeof value === 'object' && value !== null && Symbol.iterator in value;
  const what = isBytes ? 'bytes' : isList ? 'a list' : 'a mapping';
  return dataError('E_DATA_NESTED', `column ${quoteName(name)} holds ${what}`, {
    location,
    help: 'give each of its values a column, or leave it out with data.drop',
  });
}
