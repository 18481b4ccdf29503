// The numbers that the cells of a column become, as they come: in memory, or in a file that all columns
// of a streamed table share.
import type { ScratchFile } from '../dataset/scratch-file.ts';

const INITIAL_CAPACITY = 1024;
const BYTES_PER_CELL = 8;

/** The cells of one column that is being read. */
export interface CellStore {
  readonly length: number;
  push(value: number): void;
  /** The cell of a row that has been added. */
  get(row: number): number;
  set(row: number, value: number): void;
  /** The cells of the rows in `kept`, which is all of them if undefined; nothing is added after it. */
  finish(kept: Uint32Array | undefined): Cells;
}

/** The cells of a column that has been read. */
export interface Cells {
  /** All cells; made anew by each access if they are in a file. */
  readonly values: Float64Array;
  /** The cells of rows [from, to). */
  readonly slice: (from: number, to: number) => Float64Array;
}

/** Cells in memory. */
export function cellsOf(values: Float64Array): Cells {
  return { values, slice: (from, to) => values.subarray(from, to) };
}

/** A column in memory. */
export class GrowingCells implements CellStore {
  #values = new Float64Array(INITIAL_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Float64Array(this.#length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }

  get(row: number): number {
    return this.#values[row] as number;
  }

  set(row: number, value: number): void {
    this.#values[row] = value;
  }

  finish(kept: Uint32Array | undefined): Cells {
    const all = this.#values.subarray(0, this.#length);
    return cellsOf(kept ? Float64Array.from(kept, (row) => all[row] as number) : all);
  }
}

/** Memory for the blocks of all columns that are being read. */
const BLOCKS_BYTES = 64 * 2 ** 20;
const MAX_BLOCK_ROWS = 65_536;
const MIN_BLOCK_ROWS = 256;

/** A file of columns: block after block of rows, and in each block column after column. */
export class SpilledTable {
  readonly #file: ScratchFile;
  readonly #numColumns: number;
  readonly blockRows: number;
  /** The column that was read as a whole last. */
  #last: { readonly column: number; readonly values: Float64Array } | undefined;

  constructor(file: ScratchFile, numColumns: number) {
    this.#file = file;
    this.#numColumns = numColumns;
    const rows = Math.floor(BLOCKS_BYTES / (BYTES_PER_CELL * numColumns));
    this.blockRows = Math.max(MIN_BLOCK_ROWS, Math.min(MAX_BLOCK_ROWS, rows));
  }

  writeBlock(block: number, column: number, cells: Float64Array): void {
    this.#file.write(cells, this.#positionOf(block, column));
  }

  /** Reads the cells of rows [from, to) of a column. */
  read(column: number, from: number, to: number): Float64Array {
    const cells = new Float64Array(to - from);
    for (let row = from; row < to;) {
      const at = row % this.blockRows;
      const block = (row - at) / this.blockRows;
      const end = Math.min(to, row - at + this.blockRows);
      const position = this.#positionOf(block, column) + BYTES_PER_CELL * at;
      this.#file.read(cells.subarray(row - from, end - from), position);
      row = end;
    }
    return cells;
  }

  /** Reads a whole column, unless it is the one that was read last. */
  whole(column: number, read: () => Float64Array): Float64Array {
    if (this.#last?.column !== column) this.#last = { column, values: read() };
    return this.#last.values;
  }

  #positionOf(block: number, column: number): number {
    return BYTES_PER_CELL * this.blockRows * (block * this.#numColumns + column);
  }
}

/** A column in a file; one block of it is in memory while it is read. */
export class SpilledCells implements CellStore {
  readonly #table: SpilledTable;
  readonly #column: number;
  readonly #tail: Float64Array;
  /** A block that was written, which `get` read last. */
  #read: { readonly firstRow: number; readonly cells: Float64Array } | undefined;
  #length = 0;

  constructor(table: SpilledTable, column: number) {
    this.#table = table;
    this.#column = column;
    this.#tail = new Float64Array(table.blockRows);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    const { blockRows } = this.#table;
    this.#tail[this.#length % blockRows] = value;
    this.#length += 1;
    if (this.#length % blockRows === 0) this.#write(this.#length / blockRows - 1, this.#tail);
  }

  get(row: number): number {
    const { blockRows } = this.#table;
    const firstRow = row - (row % blockRows);
    if (firstRow + blockRows > this.#length) return this.#tail[row - firstRow] as number;
    if (this.#read?.firstRow !== firstRow) {
      this.#read = { firstRow, cells: this.#table.read(this.#column, firstRow, firstRow + blockRows) };
    }
    return this.#read.cells[row - firstRow] as number;
  }

  set(row: number, value: number): void {
    const { blockRows } = this.#table;
    const at = row % blockRows;
    if (row - at + blockRows > this.#length) {
      this.#tail[at] = value;
      return;
    }
    const cells = this.#table.read(this.#column, row - at, row - at + blockRows);
    cells[at] = value;
    this.#read = undefined;
    this.#write((row - at) / blockRows, cells);
  }

  finish(kept: Uint32Array | undefined): Cells {
    const [table, column, length] = [this.#table, this.#column, kept?.length ?? this.#length];
    const rest = this.#length % table.blockRows;
    if (rest > 0) this.#write((this.#length - rest) / table.blockRows, this.#tail.subarray(0, rest));
    this.#read = undefined;
    const slice = (from: number, to: number): Float64Array => {
      if (!kept || from === to) return table.read(column, from, to);
      const [first, last] = [kept[from] as number, kept[to - 1] as number];
      const cells = table.read(column, first, last + 1);
      return Float64Array.from(kept.subarray(from, to), (row) => cells[row - first] as number);
    };
    return {
      get values() {
        return table.whole(column, () => slice(0, length));
      },
      slice,
    };
  }

  #write(block: number, cells: Float64Array): void {
    this.#table.writeBlock(block, this.#column, cells);
  }
}
