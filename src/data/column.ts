// One column of a table as it is filled cell by cell: numbers, or codes into a dictionary of texts.
// It only collects; column-problems.ts decides which of its findings are errors.

/** Longest cell, in characters; longer ones are a quote gone wrong or an attack, never a feature. */
export const MAX_CELL_LENGTH = 64 * 1024;
const INITIAL_CAPACITY = 1024;
const FLOAT32_EXACT_INTEGERS = 2 ** 24;

/** Cells that stand for "no value". */
const MISSING_TOKENS: ReadonlySet<string> = new Set([
  ...['', '?', '-', 'NA', 'na', 'N/A', 'n/a', 'NaN', 'nan', 'NAN', 'null', 'Null', 'NULL'],
]);

// Number() alone would take '', '0x10' and ' 5 '; parseFloat would take '12abc'.
const NUMBER_WITH_POINT = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const NUMBER_WITH_COMMA = /^[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?$/;

export type DecimalSeparator = '.' | ',';

/** A finished column: numbers, or codes into `categories`; NaN where a cell is missing. */
export interface Column {
  readonly name: string;
  readonly kind: 'number' | 'text';
  readonly values: Float64Array;
  /** Distinct texts in order of appearance; empty for numbers. */
  readonly categories: readonly string[];
}

/** A cell worth naming in a message. */
export interface CellReference {
  readonly cell: string;
  readonly part: number;
  readonly line: number;
}

/** How a column is to be read. */
export interface PlannedColumn {
  readonly name: string;
  /** A target or a weight if not: such a cell is never filled in. */
  readonly isFeature: boolean;
  /** `text` takes numbers as texts too; undefined lets the first cell decide. */
  readonly kind: 'number' | 'text' | undefined;
  readonly maxCategories: number;
}

/** Why a column stops the reading at once. */
export type CellRejection = 'too-long' | 'too-many-categories';

/** Collects a column; unless planned, its kind is that of the first cell that is not missing. */
export class ColumnBuilder {
  readonly plan: PlannedColumn;
  kind: 'number' | 'text' | undefined;
  numNumbers = 0;
  numTexts = 0;
  numOverflows = 0;
  readonly missingTokens = new Map<string, number>();
  firstText: CellReference | undefined;
  firstOverflow: CellReference | undefined;
  firstMissing: CellReference | undefined;
  firstInexact: CellReference | undefined;

  readonly #decimal: DecimalSeparator;
  readonly #pattern: RegExp;
  readonly #codes = new Map<string, number>();
  #values = new Float64Array(INITIAL_CAPACITY);
  #length = 0;

  constructor(plan: PlannedColumn, decimal: DecimalSeparator) {
    this.plan = plan;
    this.#decimal = decimal;
    this.#pattern = decimal === ',' ? NUMBER_WITH_COMMA : NUMBER_WITH_POINT;
    this.kind = plan.kind;
  }

  /** Appends a cell. Returns why the reading must stop, or undefined. */
  add(cell: string, part: number, line: number): CellRejection | undefined {
    if (this.plan.kind !== 'text' && this.#pattern.test(cell)) {
      this.#addNumber(cell, part, line);
      return undefined;
    }
    if (MISSING_TOKENS.has(cell)) {
      this.missingTokens.set(cell, (this.missingTokens.get(cell) ?? 0) + 1);
      this.firstMissing ??= { cell, part, line };
      this.#push(NaN);
      return undefined;
    }
    return this.#addText(cell, part, line);
  }

  /** Whether the last cell added was missing, or of the wrong kind. */
  get endsWithoutValue(): boolean {
    return Number.isNaN(this.#values[this.#length - 1]);
  }

  /** Takes the last cell back, when its row is left out. */
  removeLast(): void {
    this.#length -= 1;
  }

  get numMissing(): number {
    let count = 0;
    for (const tokens of this.missingTokens.values()) count += tokens;
    return count;
  }

  get categories(): readonly string[] {
    return [...this.#codes.keys()];
  }

  finish(): Column {
    const { name } = this.plan;
    const values = this.#values.subarray(0, this.#length);
    return { name, kind: this.kind ?? 'number', values, categories: this.categories };
  }

  #addNumber(cell: string, part: number, line: number): void {
    this.kind ??= 'number';
    this.numNumbers += 1;
    const value = Number(this.#decimal === ',' ? cell.replace(',', '.') : cell);
    const rounded = Math.fround(value);
    if (!Number.isFinite(rounded)) {
      this.numOverflows += 1;
      this.firstOverflow ??= { cell, part, line };
    } else if (rounded !== value && Math.abs(value) > FLOAT32_EXACT_INTEGERS && Number.isInteger(value)) {
      this.firstInexact ??= { cell, part, line };
    }
    this.#push(this.kind === 'number' ? value : NaN);
  }

  #addText(cell: string, part: number, line: number): CellRejection | undefined {
    if (cell.length > MAX_CELL_LENGTH) return 'too-long';
    this.kind ??= 'text';
    this.numTexts += 1;
    this.firstText ??= { cell, part, line };
    if (this.kind === 'number') {
      this.#push(NaN);
      return undefined;
    }
    const code = this.#codes.get(cell) ?? this.#codes.size;
    if (code === this.plan.maxCategories) return 'too-many-categories';
    if (code === this.#codes.size) this.#codes.set(cell, code);
    this.#push(code);
    return undefined;
  }

  #push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Float64Array(this.#length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }
}
