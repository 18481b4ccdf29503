// A table of new rows, encoded block by block: however long it is, a block at a time is in memory, and the
// first can be predicted before the last has come.
import { dataError, LockstepError, quoteName } from '../errors.ts';
import { didYouMean } from '../config/suggest.ts';
import { findColumnProblems } from '../data/table/column-problems.ts';
import { throwCellProblems } from '../data/table/read-table.ts';
import { ColumnBuilder, MAX_CELL_LENGTH, type PlannedColumn } from '../data/table/column.ts';
import { encodeFeatures } from '../data/table/encode-features.ts';
import { csvStream } from '../data/table/csv.ts';
import { checkUtf8 } from '../data/table/csv-file.ts';
import { CellReader, type TableFormat } from '../data/table/format.ts';
import { jsonStream } from '../data/table/json-file.ts';
import { openTable } from '../data/table/open-table.ts';
import { planFeatures, withoutDrops } from '../data/table/plan-columns.ts';
import { locateIn, textOf, type Cell, type TableFile, type TableReader } from '../data/table/table-file.ts';
import { displayPath, emptyFile } from '../data/dataset/source-file.ts';
import { widthOf, type FittedFeature } from '../data/dataset/transforms.ts';
import type { SourceLocation } from '../errors.ts';
import type { ModelDescription } from './model-files.ts';

/** The formats of a table that comes through a pipe. */
export const INPUT_FORMATS = ['csv', 'jsonl'] as const;
export type InputFormat = (typeof INPUT_FORMATS)[number];

/** A path, or bytes that come once and what errors call them. */
export type TableInput = string | { readonly name: string; readonly bytes: AsyncIterable<Buffer> };

/** The table to read, and what to keep of it. */
export interface BlocksRequest {
  readonly input: TableInput;
  readonly description: Pick<ModelDescription, 'transforms' | 'table'>;
  /** The format of bytes; default: JSON Lines where they begin with a mapping, CSV otherwise. */
  readonly format?: InputFormat | undefined;
  /** Columns whose cells are kept, or all. */
  readonly keep: readonly string[] | 'all';
  readonly warn: (message: string) => void;
}

/** Rows of a table as the model takes them. */
export interface EncodedBlock {
  readonly samples: Float32Array;
  /** Names of the kept columns, and their cells row by row. */
  readonly keptNames: readonly string[];
  readonly kept: readonly (readonly (string | number)[])[];
}

/**
 * Reads a table in blocks, in the order of its rows, none left out.
 *
 * @throws LockstepError naming the line of what is wrong, after the blocks before it
 */
export async function* readEncodedBlocks(
  request: BlocksRequest,
): AsyncGenerator<EncodedBlock, void, undefined> {
  const format: TableFormat = { ...request.description.table, isSaved: true };
  const file = await openInput(request, format);
  const rows = new RowBlocks(file, request, format);
  // Reading pushes rows, and waits here until they are asked for.
  const { readable, writable } = new TransformStream<EncodedBlock, EncodedBlock>();
  const writer = writable.getWriter();
  const offer = async (): Promise<void> => {
    const block = await rows.take();
    if (block) await writer.write(block);
  };
  const reading = (async () => {
    await file.read(rows, offer);
    await offer();
    rows.requireRows();
    await writer.close();
  })();
  reading.catch((error: unknown) => writer.abort(error).catch(() => undefined));
  yield* readable;
}

async function openInput(
  { input, description, format: wanted, keep, warn }: BlocksRequest,
  format: TableFormat,
): Promise<TableFile> {
  if (typeof input === 'string') return openTable(input, { format, warn });
  const { name } = input;
  const { start, stream } = await peek(checkUtf8(name, input.bytes));
  const isJson = wanted === undefined ? /^\uFEFF?\s*\{/.test(start) : wanted === 'jsonl';
  if (!isJson) return csvStream(stream, name, format, warn);
  const columns = description.transforms.features.flatMap((feature) =>
    'column' in feature ? [feature.column] : [],
  );
  if (keep !== 'all') return jsonStream(stream, name, [...new Set([...columns, ...keep])]);
  throw keepError(`${name} is JSON Lines, of which each row may have other columns`, 'name those to keep');
}

/** The error of columns that cannot be kept. */
export function keepError(why: string, help?: string, location?: SourceLocation): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_PREDICT_KEEP',
    message: `--keep: ${why}`,
    help,
    location,
  });
}

/** The first text of a stream, and all of it. */
async function peek(
  source: AsyncGenerator<Buffer, void, undefined>,
): Promise<{ start: string; stream: AsyncIterable<Buffer> }> {
  const first = await source.next();
  const stream = (async function* () {
    try {
      if (!first.done) yield first.value;
      yield* source;
    } finally {
      await source.return();
    }
  })();
  return { start: first.done ? '' : first.value.toString('utf8', 0, 1024), stream };
}

/** Collects rows until they are taken. */
class RowBlocks implements TableReader {
  readonly #file: TableFile;
  readonly #request: BlocksRequest;
  readonly #features: readonly FittedFeature[];
  readonly #format: TableFormat;
  readonly #warned = new Set<string>();
  #header: readonly string[] = [];
  #plans: readonly PlannedColumn[] | undefined;
  #places: number[] = [];
  #indices: readonly number[] = [];
  #keptIndices: readonly number[] = [];
  #builders: readonly ColumnBuilder[] = [];
  #kept: (string | number)[][] = [];
  #numRows = 0;
  #isQuoted: (index: number) => boolean = () => false;

  constructor(file: TableFile, request: BlocksRequest, format: TableFormat) {
    this.#file = file;
    this.#request = request;
    this.#format = format;
    this.#features = request.description.transforms.features;
  }

  columns(names: readonly string[], location: SourceLocation): readonly number[] {
    const { keep, description } = this.#request;
    this.#header = names;
    this.#plans = planFeatures(names, description.transforms, withoutDrops(description.table.missing));
    this.#indices = this.#plans.map(({ name }) => names.indexOf(name));
    this.#keptIndices = (keep === 'all' ? names : keep).map((name) => {
      const index = names.indexOf(name);
      if (index >= 0) return index;
      throw keepError(`no column ${quoteName(name)}`, didYouMean(name, names), location);
    });
    this.#begin();
    return [...new Set([...this.#indices, ...this.#keptIndices])];
  }

  #begin(): void {
    const reader = new CellReader(this.#format);
    this.#builders = (this.#plans ?? []).map(
      (plan, at) => new ColumnBuilder(plan, reader, () => this.#isQuoted(this.#indices[at] as number)),
    );
    this.#places = [];
    this.#kept = [];
  }

  row(cells: readonly (Cell | undefined)[], place: number, isQuoted: (index: number) => boolean): void {
    this.#isQuoted = isQuoted;
    for (const [at, builder] of this.#builders.entries()) {
      if (builder.add(cells[this.#indices[at] as number] as Cell, 0, place)) continue;
      const message = `column ${quoteName(builder.plan.name)}: cell is longer than ${MAX_CELL_LENGTH / 1024} KiB`;
      const location = locateIn(displayPath(this.#file.path), place, this.#file.hasLines);
      throw dataError('E_DATA_LONG_CELL', message, { location });
    }
    this.#places.push(place);
    this.#kept.push(
      this.#keptIndices.map((index) => {
        const cell = cells[index] as Cell;
        return typeof cell === 'number' ? cell : textOf(cell);
      }),
    );
  }

  /** The rows since the last call, encoded; undefined where there are none. */
  async take(): Promise<EncodedBlock | undefined> {
    const numRows = this.#places.length;
    if (numRows === 0) return undefined;
    const builders = this.#builders;
    for (const builder of builders) builder.close();
    const problems = findColumnProblems(builders, this.#format);
    if (problems.length > 0) await throwCellProblems(problems, [this.#file], this.#header);
    const { path, hasLines } = this.#file;
    const table = {
      parts: [{ file: displayPath(path), firstRow: 0, numRows, hasLines }],
      numRows,
      columns: new Map(builders.map((builder) => [builder.plan.name, builder.finish(undefined)])),
      places: Uint32Array.from(this.#places),
    };
    const samples = new Float32Array(numRows * widthOf(this.#features));
    encodeFeatures(table, this.#features, { rows: samples, warn: (message) => this.#warnOnce(message) });
    const keptNames = this.#keptIndices.map((index) => this.#header[index] as string);
    const block = { samples, keptNames, kept: this.#kept };
    this.#numRows += numRows;
    this.#begin();
    return block;
  }

  /** Warns of each column once, in the first block that gives a reason. */
  #warnOnce(message: string): void {
    const [column = ''] = message.split(': ');
    if (this.#warned.has(column)) return;
    this.#warned.add(column);
    this.#request.warn(message);
  }

  /** @throws LockstepError where the table had none */
  requireRows(): void {
    const { path } = this.#file;
    if (this.#plans === undefined)
      throw emptyFile(path, 'holds no rows, only blank lines or a line that sets the delimiter');
    if (this.#numRows === 0)
      throw dataError('E_DATA_NO_ROWS', `${displayPath(path)} has a header but no data rows`);
  }
}
