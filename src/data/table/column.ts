// One column of a table as it is filled cell by cell: numbers, or codes into a dictionary of texts.
// It only collects; column-problems.ts decides which of its findings are errors.
import type { MissingRule } from '../../config/schema.ts';
import { parseDate, type DateFormat } from '../../dates.ts';
import { GrowingCells, type Cells, type CellStore } from './cell-store.ts';
import type { CellReader } from './format.ts';
import { textOf, type Cell } from './table-file.ts';

/** Maximum length of a cell in characters; a longer one is a stray quote or an attack, never a feature. */
export const MAX_CELL_LENGTH = 64 * 1024;
const FLOAT32_EXACT_INTEGERS = 2 ** 24;

/** Maximum number of texts among numbers that are kept for messages. */
const MAX_KEPT_TEXTS = 1000;

/**
 * A finished column. Its cells are numbers, codes into `categories`, or milliseconds since 1970; NaN where
 * one is missing.
 */
export interface Column extends Cells {
  readonly name: string;
  readonly kind: 'number' | 'text' | 'date';
  /** Distinct texts in order of appearance; empty for numbers. */
  readonly categories: readonly string[];
}

/** A cell worth naming in a message. */
export interface CellReference {
  readonly cell: string;
  readonly part: number;
  readonly line: number;
}

/** A column to read, and how to read it. */
export interface PlannedColumn {
  readonly name: string;
  /** True for a feature; false for a target or a sample weight, whose cells are never filled in. */
  readonly isFeature: boolean;
  /** `text` takes numbers as texts too; undefined lets the first cell decide. */
  readonly kind: Column['kind'] | undefined;
  /** The order in dates; default: year, month, day. */
  readonly dateFormat?: DateFormat | undefined;
  /** True where the first cell may make it a column of dates; default: features alone. */
  readonly mayBeDate?: boolean | undefined;
  readonly maxCategories: number;
  /** The rule for a row without a value here. */
  readonly missing: MissingRule;
  /**
   * True if the rule is that of all columns: `mean` then means `category` among texts, and the other way
   * round is an error.
   */
  readonly isDefaultRule?: boolean | undefined;
  /** True for texts that stand for numbers: places in an order, or true and false. */
  readonly isNumeric?: boolean | undefined;
  /** The texts of a target that is a class: they may look like anything. */
  readonly isClass?: boolean | undefined;
  /** A feature that `data.features` names: `data.drop` must not name it too. */
  readonly isListed?: boolean | undefined;
  /** The texts that a trained model knows: a quoted token is a value only if it is one of them. */
  readonly known?: ReadonlySet<string> | undefined;
}

/** Help on leaving a feature out; `name` is what the message calls it. */
export function leaveOut(name: string, { isListed }: Pick<PlannedColumn, 'isListed'>): string {
  return isListed ? `take ${name} out of data.features` : `leave ${name} out with data.drop`;
}

/** Collects a column; unless planned, its kind is that of the first cell that is not missing. */
export class ColumnBuilder {
  readonly plan: PlannedColumn;
  kind: Column['kind'] | undefined;
  numNumbers = 0;
  numDates = 0;
  numTexts = 0;
  numOverflows = 0;
  readonly missingTokens = new Map<string, number>();
  firstText: CellReference | undefined;
  firstOverflow: CellReference | undefined;
  firstMissing: CellReference | undefined;
  firstInexact: CellReference | undefined;
  /** A number, or a text that is no date, in a column of dates. */
  firstNoDate: CellReference | undefined;
  /** A number with a decimal separator, which tells what that separator is. */
  firstFraction: CellReference | undefined;
  /** The text that is one more than there may be. */
  firstExcess: CellReference | undefined;

  readonly #cells: CellReader;
  readonly #isQuoted: () => boolean;
  readonly #codes = new Map<string, number>();
  /** Quoted tokens before the column has a kind: values among texts, none among numbers. */
  #undecided: { readonly at: number; readonly reference: CellReference }[] = [];
  readonly #values: CellStore;

  /** Starts an empty column in `values`; `isQuoted` tells whether the cell that is being added is quoted. */
  constructor(
    plan: PlannedColumn,
    cells: CellReader,
    isQuoted: () => boolean = () => false,
    values: CellStore = new GrowingCells(),
  ) {
    this.plan = plan;
    this.#cells = cells;
    this.#isQuoted = isQuoted;
    this.#values = values;
    this.kind = plan.kind;
  }

  /** Appends a cell; false if it is too long to be one. */
  add(content: Cell, part: number, line: number): boolean {
    if (content instanceof Date && this.#takesDates()) {
      this.#addDate(content.getTime());
      return true;
    }
    const number = this.plan.kind === 'text' ? undefined : this.#cells.number(content);
    if (number !== undefined) {
      this.#addNumber(number, content, part, line);
      return true;
    }
    const cell = textOf(content);
    if (cell.length > MAX_CELL_LENGTH) return false;
    else if (this.#cells.isMissing(cell)) this.#addToken({ cell, part, line });
    else this.#addText({ cell, part, line });
    return true;
  }

  /** Tells whether a row has no value here, or one of the wrong kind. */
  lacksValue(row: number): boolean {
    return Number.isNaN(this.#values.get(row));
  }

  get numMissing(): number {
    let count = 0;
    for (const tokens of this.missingTokens.values()) count += tokens;
    return count;
  }

  /** Distinct texts; of a column of numbers or dates only the first ones, which do not belong there. */
  get texts(): readonly string[] {
    return [...this.#codes.keys()];
  }

  /** Settles what the reading left open; nothing is added after it. */
  close(): void {
    if (this.kind === undefined && this.#undecided.length > 0) this.#decide('text');
  }

  /** The cells of the rows in `kept`, which is all of them if undefined. */
  finish(kept: Uint32Array | undefined): Column {
    const { name } = this.plan;
    const kind = this.kind ?? 'number';
    const categories = kind === 'text' ? this.texts : [];
    return Object.assign(this.#values.finish(kept), { name, kind, categories });
  }

  #addNumber(value: number, content: Cell, part: number, line: number): void {
    if (this.kind === undefined) this.#decide('number');
    this.numNumbers += 1;
    if (this.kind === 'date') this.firstNoDate ??= { cell: textOf(content), part, line };
    const rounded = Math.fround(value);
    if (!Number.isFinite(rounded)) {
      this.numOverflows += 1;
      this.firstOverflow ??= { cell: textOf(content), part, line };
    } else if (!Number.isInteger(value)) {
      this.firstFraction ??= { cell: textOf(content), part, line };
    } else if (rounded !== value && Math.abs(value) > FLOAT32_EXACT_INTEGERS) {
      this.firstInexact ??= { cell: textOf(content), part, line };
    }
    this.#values.push(this.kind === 'number' ? value : NaN);
  }

  #addText(reference: CellReference): void {
    const date = this.#dateOf(reference.cell);
    if (this.kind === undefined) this.#decide(date === undefined ? 'text' : 'date');
    if (this.kind === 'date' && date !== undefined) {
      return this.#addDate(date);
    }
    if (this.kind === 'date') this.firstNoDate ??= reference;
    this.numTexts += 1;
    this.firstText ??= reference;
    const code = this.#codeOf(reference);
    this.#values.push(this.kind === 'text' && code !== undefined ? code : NaN);
  }

  #addDate(ms: number): void {
    if (this.kind === undefined) this.#decide('date');
    this.numDates += 1;
    this.#values.push(ms);
  }

  /** Tells whether the column is one of dates, or may be: targets are not. */
  #takesDates(): boolean {
    const { isFeature, mayBeDate = isFeature } = this.plan;
    return this.kind === 'date' || (this.kind === undefined && mayBeDate);
  }

  /** The date that a text is, where the column takes dates. */
  #dateOf(cell: string): number | undefined {
    return this.#takesDates() ? parseDate(cell, this.plan.dateFormat ?? 'ymd') : undefined;
  }

  /** An empty cell has no value in quotes either; other tokens have, where texts can be values. */
  #addToken(reference: CellReference): void {
    const { cell } = reference;
    const { known } = this.plan;
    const mayBeText = this.kind === 'text' || this.kind === undefined;
    const isValue = cell !== '' && mayBeText && this.#isQuoted() && (known?.has(cell) ?? true);
    if (!isValue) return this.#addMissing(reference);
    if (this.kind === 'text') return this.#addText(reference);
    this.#undecided.push({ at: this.#values.length, reference });
    this.#values.push(NaN);
  }

  #addMissing(reference: CellReference): void {
    this.#countMissing(reference);
    this.#values.push(NaN);
  }

  #countMissing(reference: CellReference): void {
    const { cell } = reference;
    this.missingTokens.set(cell, (this.missingTokens.get(cell) ?? 0) + 1);
    this.firstMissing ??= reference;
  }

  /** Gives the column its kind, and settles its undecided cells. */
  #decide(kind: Column['kind']): void {
    this.kind = kind;
    for (const { at, reference } of this.#undecided) {
      if (kind !== 'text') {
        this.#countMissing(reference);
        continue;
      }
      this.numTexts += 1;
      this.firstText ??= reference;
      this.#values.set(at, this.#codeOf(reference) as number);
    }
    this.#undecided = [];
  }

  /** The place of a text among the distinct ones; undefined where there is no room for one more. */
  #codeOf(reference: CellReference): number | undefined {
    const { cell } = reference;
    const known = this.#codes.get(cell);
    if (known !== undefined) return known;
    const code = this.#codes.size;
    if (this.kind !== 'text') {
      if (code < MAX_KEPT_TEXTS) this.#codes.set(cell, code);
      return undefined;
    }
    if (code >= this.plan.maxCategories) {
      this.firstExcess ??= reference;
      return undefined;
    }
    this.#codes.set(cell, code);
    return code;
  }
}

/** The category of a missing cell; no cell's own text is empty. */
export const MISSING_CATEGORY = '';

/** The text of a cell in a text column. */
export function categoryOf(column: Column, row: number): string {
  const code = column.values[row] as number;
  return Number.isNaN(code) ? MISSING_CATEGORY : (column.categories[code] as string);
}
