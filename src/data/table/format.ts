// How a table is written, and what the text of a cell is in that format: no value, a number, or a text.
// Cells of training tables, of new tables and of rows of a program are all decided here.
import type { DataConfig } from '../../config/schema.ts';
import type { Cell } from './table-file.ts';

/** The format of a table, as the config states it. */
export type TableFormat = Pick<
  DataConfig,
  'delimiter' | 'decimal' | 'thousands' | 'header' | 'missingTokens'
> & {
  /** True if the format is that of a trained model: no field of a config can change it. */
  readonly isSaved: boolean;
};

/** The format of cells. */
export type CellFormat = Pick<DataConfig, 'decimal' | 'thousands'> & {
  readonly missingTokens?: readonly string[] | undefined;
};

/** Texts that stand for no value unless `data.missingTokens` says otherwise; an empty cell always does. */
export const MISSING_TOKENS: readonly string[] = [
  ...['?', '-', 'NA', 'na', 'N/A', 'n/a', 'NaN', 'nan', 'NAN', 'null', 'Null', 'NULL'],
];

/**
 * Characters that stand for the same separator: those that do not break a line, and the typographer's
 * apostrophe.
 */
const VARIANTS = new Map([
  [' ', ' \u00a0\u2009\u202f'],
  ["'", "'\u2019"],
]);

/** Reads cells of one format. */
export class CellReader {
  readonly #pattern: RegExp;
  readonly #thousands: RegExp | undefined;
  readonly #hasPoint: boolean;
  readonly #missing: ReadonlySet<string>;
  /** Tokens such as -999 that are numbers too. */
  readonly #missingNumbers: ReadonlySet<string>;

  constructor({ decimal, thousands, missingTokens = MISSING_TOKENS }: CellFormat) {
    this.#pattern = numberPattern(decimal, thousands);
    this.#thousands = thousands === undefined ? undefined : new RegExp(oneOf(thousands), 'g');
    this.#hasPoint = decimal === '.';
    this.#missing = new Set(['', ...missingTokens]);
    this.#missingNumbers = new Set(missingTokens.filter((token) => this.#pattern.test(token)));
  }

  /** Tells whether an unquoted text stands for no value. */
  isMissing(cell: string): boolean {
    return this.#missing.has(cell);
  }

  /** The number that a cell holds; undefined for anything else. */
  number(cell: Cell): number | undefined {
    if (typeof cell === 'number') {
      const isToken = this.#missingNumbers.size > 0 && this.#missingNumbers.has(String(cell));
      return isToken ? undefined : cell;
    }
    if (typeof cell !== 'string') return undefined;
    if (!this.#pattern.test(cell)) return undefined;
    if (this.#missingNumbers.size > 0 && this.#missingNumbers.has(cell)) return undefined;
    const digits = this.#thousands ? cell.replace(this.#thousands, '') : cell;
    return Number(this.#hasPoint ? digits : digits.replace(',', '.'));
  }
}

/**
 * The pattern of numbers, whose digits are grouped in full or not at all. Number() alone would take
 * '', '0x10' and ' 5 '; parseFloat would take '12abc'.
 */
function numberPattern(decimal: string, thousands: string | undefined): RegExp {
  const point = oneOf(decimal);
  const grouped = thousands === undefined ? '' : `[1-9]\\d{0,2}(?:${oneOf(thousands)}\\d{3})+|`;
  return new RegExp(`^[+-]?(?:(?:${grouped}\\d+)(?:${point}\\d*)?|${point}\\d+)(?:[eE][+-]?\\d+)?$`);
}

function oneOf(character: string): string {
  return `[${(VARIANTS.get(character) ?? character).replaceAll(/[\\\]^-]/g, '\\$&')}]`;
}

/** The setting of these tokens as a config has it; that of the empty cell goes without saying. */
export function listTokens(tokens: Iterable<string>): string {
  const shown = [...new Set(tokens)].filter((token) => token !== '').map((token) => JSON.stringify(token));
  return `data.missingTokens: [${shown.join(', ')}]`;
}
