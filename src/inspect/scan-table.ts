// Reads a table to find out what it holds, before any config says how: its delimiter, whether it has a
// header, how its numbers are written, and the facts of every column. A table that training would refuse
// for its cells is read all the same.
import type { TableSource } from '../config/data-sources.ts';
import { THOUSANDS } from '../config/schema.ts';
import type { DataConfig } from '../config/schema.ts';
import { dataError, LockstepError } from '../errors.ts';
import type { SourceLocation } from '../errors.ts';
import { displayPath } from '../data/dataset/source-file.ts';
import { ColumnBuilder, MAX_CELL_LENGTH } from '../data/table/column.ts';
import { SPACES } from '../data/table/csv-file.ts';
import { CellReader, MISSING_TOKENS } from '../data/table/format.ts';
import type { TableFormat } from '../data/table/format.ts';
import { requireSameHeader } from '../data/table/header.ts';
import { areLikelyTokens } from '../data/table/marked-numbers.ts';
import { findTableFiles, openTable } from '../data/table/open-table.ts';
import type { Cell, TableReader } from '../data/table/table-file.ts';
import { describeColumn } from './column-facts.ts';
import type { ColumnFacts } from './column-facts.ts';

/** The settings of a table that its files show. */
export type TableSettings = Pick<
  DataConfig,
  'delimiter' | 'decimal' | 'thousands' | 'header' | 'missingTokens'
>;

/** A table that has been read. */
export interface ScannedTable {
  readonly files: readonly string[];
  readonly numRows: number;
  readonly columns: readonly ColumnFacts[];
  readonly settings: TableSettings;
  /** Columns of numbers and texts that are read as texts. */
  readonly asText: ReadonlySet<string>;
}

/** The settings by which a table is read, and columns whose numbers are texts. */
type Reading = Pick<ScannedTable, 'settings' | 'asText'>;

const DEFAULTS: TableSettings = {
  delimiter: undefined,
  decimal: '.',
  thousands: undefined,
  header: true,
  missingTokens: undefined,
};
const DELIMITERS = [';', '\t', '|', ' ', SPACES] as const;
/** Values are held in memory at 8 bytes each. */
const MAX_VALUES = 2 ** 28;

/**
 * Reads a table by settings that fit it; by this delimiter, if it is known.
 *
 * @throws LockstepError for a file that no settings make a table
 */
export async function scanTable(source: TableSource, delimiter?: string): Promise<ScannedTable> {
  const files = await findTableFiles(source);
  let reading: Reading = { settings: { ...DEFAULTS, delimiter }, asText: new Set() };
  let columns: readonly ColumnFacts[];
  [reading, columns] = await readFirst(files, reading);
  if (columns.every(({ name }) => NUMBER.test(name)) || columns.some(isNamedByFraction)) {
    const headless = { ...reading, settings: { ...reading.settings, header: false } };
    // A format with types has names of its own, and refuses the setting.
    const all = await readColumns(files, headless).catch(() => undefined);
    if (all) [reading, columns] = [headless, all];
  }
  for (const adjust of [adjustNumbers, adjustTokens, adjustMixtures]) {
    const adjusted = adjust(columns, reading);
    if (adjusted === reading) continue;
    reading = adjusted;
    columns = await readColumns(files, reading);
  }
  return { ...reading, files, numRows: columns[0]?.numRows ?? 0, columns };
}

/** Reads a table by settings that are known, such as those of a config. */
export async function scanTableAs(source: TableSource, settings: TableSettings): Promise<ScannedTable> {
  const files = await findTableFiles(source);
  const reading = { settings, asText: new Set<string>() };
  const columns = await readColumns(files, reading);
  return { ...reading, files, numRows: columns[0]?.numRows ?? 0, columns };
}

const NUMBER = /^[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?$/;

/** Tells whether a column of numbers is called by a number with decimals: such a name is a value. */
function isNamedByFraction({ kind, name }: ColumnFacts): boolean {
  return kind === 'number' && NUMBER.test(name) && /[.,]/.test(name);
}

/** Tells whether a column of texts is several columns, which stand below each other. */
function isDividedBySpaces({ kind, counts }: ColumnFacts): boolean {
  return kind === 'text' && counts.every(({ value }) => /\S {2,}\S/.test(value));
}

/** Reads a table as it is; where its first line shows another delimiter, or no names, by these. */
async function readFirst(
  files: readonly string[],
  reading: Reading,
): Promise<[Reading, readonly ColumnFacts[]]> {
  try {
    return [reading, await readColumns(files, reading)];
  } catch (error) {
    const { settings } = reading;
    let second: [Reading, readonly ColumnFacts[]] | undefined;
    for (const change of changesFor(error, settings)) {
      const other = { ...reading, settings: { ...settings, ...change } };
      const found = await readFirst(files, other).catch(() => undefined);
      const columns = found?.[1] ?? [];
      // A first row of names would make mixtures of the columns of numbers.
      const isRow = change.header === undefined || columns.some(({ kind }) => kind === 'number');
      if (!found || columns.length < 2 || !isRow) continue;
      if (!columns.some(isDividedBySpaces)) return found;
      second ??= found;
    }
    if (second) return second;
    throw error;
  }
}

/** The settings to try instead of those by which a table could not be read. */
function changesFor(error: unknown, { delimiter, header }: TableSettings): Partial<TableSettings>[] {
  const code = error instanceof LockstepError ? error.code : '';
  if (code === 'E_DATA_DELIMITER' && delimiter === undefined) {
    return DELIMITERS.map((candidate) => ({ delimiter: candidate }));
  }
  return code === 'E_DATA_COLUMNS' && header ? [{ header: false }] : [];
}

/** Ways to write numbers, the likeliest first: a comma in a table that commas divide is one of thousands. */
function writings({ delimiter }: TableSettings): Pick<TableSettings, 'decimal' | 'thousands'>[] {
  const grouped = THOUSANDS.filter((separator) => separator !== '.').map((thousands) => ({
    decimal: '.' as const,
    thousands,
  }));
  const decimalComma = [undefined, '.' as const, ' ' as const].map((thousands) => ({
    decimal: ',' as const,
    thousands,
  }));
  return delimiter === ';' ? [...decimalComma, ...grouped] : [...grouped, ...decimalComma];
}

/** Finds the way of writing numbers that makes numbers of columns of texts, and texts of no numbers. */
function adjustNumbers(columns: readonly ColumnFacts[], reading: Reading): Reading {
  const { settings } = reading;
  const texts = columns.filter(({ kind }) => kind === 'text' || kind === 'mixed');
  const fractions = columns.flatMap(({ column, numbers }) =>
    column.kind === 'number' && numbers
      ? (column.values.find((value) => !Number.isInteger(value)) ?? [])
      : [],
  );
  for (const writing of writings(settings)) {
    const reader = new CellReader(writing);
    const isNumeric = ({ counts, strays, column }: ColumnFacts): boolean => {
      const found = column.kind === 'text' ? counts.map(({ value }) => value) : strays;
      return found.length > 0 && found.every((text) => reader.number(text) !== undefined);
    };
    const breaks = writing.decimal === ',' && fractions.some((value) => !Number.isNaN(value));
    if (!breaks && texts.some(isNumeric)) return { ...reading, settings: { ...settings, ...writing } };
  }
  return reading;
}

/** Share of the cells that a few odd texts among numbers may take to be read as no value. */
const MAX_STRAY_SHARE = 0.05;
const MAX_STRAYS = 5;

/** Adds texts among numbers that stand for no value. */
function adjustTokens(columns: readonly ColumnFacts[], reading: Reading): Reading {
  const found = columns.flatMap(({ kind, column, counts, strays, numStrays, numNumbers, numRows }) => {
    if (kind !== 'mixed' || column.kind === 'date') return [];
    const texts = column.kind === 'text' ? counts.map(({ value }) => value) : strays;
    const numTexts = column.kind === 'text' ? numRows - numNumbers : numStrays;
    const areFew = texts.length <= MAX_STRAYS && numTexts <= MAX_STRAY_SHARE * numRows;
    return areLikelyTokens(texts) || areFew ? texts : [];
  });
  if (found.length === 0) return reading;
  const missingTokens = [...new Set([...MISSING_TOKENS, ...found])];
  return { ...reading, settings: { ...reading.settings, missingTokens } };
}

/** Reads what is still a mixture as texts, and whole numbers that would be rounded. */
function adjustMixtures(columns: readonly ColumnFacts[], reading: Reading): Reading {
  const texts = columns.filter(({ kind, areTooLong }) => kind === 'mixed' || areTooLong);
  return texts.length === 0 ? reading : { ...reading, asText: new Set(texts.map(({ name }) => name)) };
}

async function readColumns(files: readonly string[], reading: Reading): Promise<readonly ColumnFacts[]> {
  const format = { ...reading.settings, isSaved: false };
  const scan = new Scan(format, reading.asText);
  for (const path of files) {
    const file = await openTable(path, { format, warn: () => undefined });
    scan.begin(path);
    await file.read(scan);
    scan.end();
  }
  return scan.builders.map((builder) => {
    builder.close();
    return describeColumn(builder);
  });
}

/** Takes every column of every file, whatever is in it. */
class Scan implements TableReader {
  builders: ColumnBuilder[] = [];
  readonly #cells: CellReader;
  readonly #asText: ReadonlySet<string>;
  #header: readonly string[] = [];
  #places: readonly (number | undefined)[] = [];
  #path = '';
  #part = -1;
  #numRows = 0;
  #firstRow = 0;
  #isQuoted: (index: number) => boolean = () => false;

  constructor(format: TableFormat, asText: ReadonlySet<string>) {
    this.#cells = new CellReader(format);
    this.#asText = asText;
  }

  begin(path: string): void {
    this.#path = path;
    this.#part += 1;
    this.#firstRow = this.#numRows;
  }

  end(): void {
    if (this.#numRows > this.#firstRow) return;
    throw dataError('E_DATA_NO_ROWS', `${displayPath(this.#path)} has a header but no data rows`);
  }

  columns(names: readonly string[], location: SourceLocation): readonly number[] {
    if (this.#header.length === 0) {
      this.#header = names;
      this.builders = names.map(
        (name, k) =>
          new ColumnBuilder(
            {
              name,
              isFeature: true,
              kind: this.#asText.has(name) ? 'text' : undefined,
              maxCategories: Number.POSITIVE_INFINITY,
              missing: 'error',
            },
            this.#cells,
            () => this.#isQuoted(this.#places[k] as number),
          ),
      );
    } else if (names.length !== this.#header.length) {
      requireSameHeader(this.#header, names, location);
    }
    const places = new Map(names.map((name, index) => [name, index]));
    this.#places = this.#header.map((name) => places.get(name));
    return this.#places.filter((place) => place !== undefined);
  }

  row(cells: readonly (Cell | undefined)[], place: number, isQuoted: (index: number) => boolean): void {
    this.#isQuoted = isQuoted;
    for (const [k, builder] of this.builders.entries()) {
      const index = this.#places[k];
      const cell = index === undefined ? '' : (cells[index] ?? '');
      if (builder.add(cell, this.#part, place)) continue;
      const message = `column "${builder.plan.name}": cell is longer than ${MAX_CELL_LENGTH / 1024} KiB`;
      throw dataError('E_DATA_LONG_CELL', message, {
        location: { file: displayPath(this.#path), line: place },
      });
    }
    this.#numRows += 1;
    if (this.#numRows * this.builders.length <= MAX_VALUES) return;
    const message = `${displayPath(this.#path)} has more than ${MAX_VALUES.toLocaleString('en-US')} cells, the most that are looked at`;
    throw dataError('E_DATA_TOO_LARGE', message, {
      help: 'look at a part of it: the first million rows, say',
    });
  }
}
