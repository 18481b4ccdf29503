// Tables that are stored by columns: Parquet, and Arrow's files (also called Feather). They are read in
// the groups of rows in which they are stored, and only the columns that are wanted. Their libraries are
// loaded for the first such file: that takes longer than many a run's start.
import { open, type FileHandle } from 'node:fs/promises';
import type { DataType as ArrowType, Field, RecordBatch } from 'apache-arrow';
import { displayPath } from '../dataset/source-file.ts';
import { dataError, LockstepError } from '../../errors.ts';
import { refuseBadNames } from './header.ts';
import { cellOf, locateIn, nestedValue, ALWAYS_QUOTED } from './table-file.ts';
import type { Cell, TableFile, TableReader } from './table-file.ts';

/** Rows that are stored together: a function from row to value for each wanted column. */
interface RowGroup {
  readonly numRows: number;
  readonly columns: readonly ((row: number) => unknown)[];
}

/** The columns of an open file, and its rows. */
interface StoredTable {
  readonly names: readonly string[];
  /** The groups of rows, of the columns with these indices. */
  readonly groups: (wanted: readonly number[]) => AsyncIterable<RowGroup>;
  readonly close: () => Promise<void>;
}

/** A Parquet file. */
export async function openParquet(path: string): Promise<TableFile> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetRead, parquetSchema } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  return storedFile(path, 'a Parquet', async () => {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    const groups = async function* (wanted: readonly number[]): AsyncGenerator<RowGroup> {
      const columns = wanted.map((index) => names[index] as string);
      let rowStart = 0;
      for (const { num_rows: rows } of metadata.row_groups) {
        const numRows = Number(rows);
        const values = new Map<string, unknown[]>(columns.map((name) => [name, []]));
        await parquetRead({
          ...{ file, metadata, columns, compressors, rowStart, rowEnd: rowStart + numRows },
          onChunk: ({ columnName, columnData, rowStart: from }) => {
            const column = values.get(columnName) as unknown[];
            for (let row = 0; row < columnData.length; row++) column[from - rowStart + row] = columnData[row];
          },
        });
        yield { numRows, columns: columns.map((name) => (row) => values.get(name)?.[row]) };
        rowStart += numRows;
      }
    };
    return { names, groups, close: () => Promise.resolve() };
  });
}

/** A file in Arrow's format. */
export async function openArrow(path: string): Promise<TableFile> {
  const { CompressionType, DataType, RecordBatchReader, compressionRegistry } = await loadArrow();
  const [{ decompress: decodeZstd }, { decompress: decodeLz4 }] = await Promise.all([
    import('fzstd'),
    import('lz4js'),
  ]);
  // A copy begins at the start of its buffer, as views of 64-bit numbers must.
  compressionRegistry.set(CompressionType.ZSTD, { decode: (data) => decodeZstd(data).slice() });
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: (data) => decodeLz4(data).slice() });
  return storedFile(path, 'an Arrow', async () => {
    const handle = await open(path);
    const batches = await openBatches(handle).catch(async (error: unknown) => {
      await handle.close();
      throw error;
    });
    const { fields } = batches.schema;
    const groups = async function* (wanted: readonly number[]): AsyncGenerator<RowGroup> {
      for await (const batch of batches as AsyncIterable<RecordBatch>) {
        const columns = wanted.map((index) => arrowColumn(DataType, batch, fields[index] as Field, index));
        yield { numRows: batch.numRows, columns };
      }
    };
    return { names: fields.map(({ name }) => name), groups, close: () => handle.close() };
  });

  async function openBatches(handle: FileHandle) {
    const batches = await RecordBatchReader.from(handle);
    return batches.open();
  }
}

/** Loads the library, which only those who read such files need to install: it is 12 MB. */
async function loadArrow() {
  try {
    return await import('apache-arrow');
  } catch {
    throw new LockstepError({
      category: 'usage',
      code: 'E_ARROW_READER',
      message: 'Arrow files are read by apache-arrow, which is not installed',
      help: 'install it beside lockstep: npm install apache-arrow@21.2.0',
    });
  }
}

/** The values of a column: dates and times as such, and decimals as numbers. */
function arrowColumn(
  types: typeof ArrowType,
  batch: RecordBatch,
  { type }: Field,
  index: number,
): (row: number) => unknown {
  const column = batch.getChildAt(index);
  const get = (row: number): unknown => column?.get(row) as unknown;
  const orNull = (convert: (value: unknown) => unknown) => (row: number) => {
    const value = get(row);
    return value === null || value === undefined ? null : convert(value);
  };
  if (types.isDate(type) || types.isTimestamp(type)) return orNull((value) => new Date(Number(value)));
  if (types.isDecimal(type)) return orNull((value) => Number(`${String(value)}e-${type.scale}`));
  return get;
}

function storedFile(path: string, kind: string, openStored: () => Promise<StoredTable>): TableFile {
  const file = displayPath(path);
  return {
    path,
    hasLines: false,
    locate: (place) => Promise.resolve(locateIn(file, place, false)),
    read: async (reader) => {
      try {
        const stored = await openStored();
        await readStored(stored, reader, file).finally(stored.close);
      } catch (error) {
        if (error instanceof LockstepError) throw error;
        const message = `${file} is ${kind} file that is cut short or damaged (${(error as Error).message})`;
        throw dataError('E_DATA_FORMAT', message, { help: 'write it again, or export it as CSV' });
      }
    },
  };
}

async function readStored({ names, groups }: StoredTable, reader: TableReader, file: string): Promise<void> {
  refuseBadNames(names, { file });
  const wanted = reader.columns(names, { file });
  const cells: (Cell | undefined)[] = [];
  let place = 0;
  for await (const { numRows, columns } of groups(wanted)) {
    for (let row = 0; row < numRows; row++, place++) {
      for (const [k, index] of wanted.entries()) {
        const value = columns[k]?.(row);
        const cell = cellOf(value);
        if (cell === undefined)
          throw nestedValue(names[index] as string, value, locateIn(file, place, false));
        cells[index] = cell;
      }
      reader.row(cells, place, ALWAYS_QUOTED);
    }
  }
}
