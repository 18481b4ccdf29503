// A CSV or TSV file: csv-parse splits its records, streamed; its errors get a place and our words.
import { pipeline } from 'node:stream/promises';
import { CsvError, parse } from 'csv-parse';
import { displayPath } from '../dataset/source-file.ts';
import {
  findField,
  locateField,
  MERGED_SPACES,
  mergeSpaces,
  readUtf8,
  SPACES,
  type CsvFile,
} from './csv-file.ts';
import type { TableFormat } from './format.ts';
import {
  chooseDelimiter,
  findWrongDelimiter,
  readHeader,
  refuseOneColumn,
  runsOfSpaces,
  suspectHeader,
} from './header.ts';
import type { ByteStream, Pause, TableFile, TableReader } from './table-file.ts';
import { LockstepError, quoteValue, type ErrorDetails } from '../../errors.ts';
import { countOf } from '../../printable.ts';

/** Opens a file, whose first record names the columns unless the format says otherwise. */
export async function openCsv(
  path: string,
  format: TableFormat,
  warn: (message: string) => void,
): Promise<TableFile> {
  return csvTable(await chooseDelimiter(path, format), displayPath(path), format, warn);
}

/** The table of a stream, whose fields are divided by commas unless the format says otherwise. */
export function csvStream(
  stream: ByteStream,
  name: string,
  format: TableFormat,
  warn: (message: string) => void,
): TableFile {
  const delimiter = format.delimiter ?? ',';
  return csvTable({ path: name, stream, delimiter, isSaved: format.isSaved }, name, format, warn);
}

function csvTable(
  file: CsvFile,
  name: string,
  format: TableFormat,
  warn: (message: string) => void,
): TableFile {
  const { path } = file;
  const takeHeader = (reader: TableReader, fields: readonly string[], line: number): void => {
    refuseOneColumn(fields, file, line);
    const location = { file: name, line };
    const names = readHeader(fields, format, location);
    const suspicion = format.header ? suspectHeader(names, format, location) : undefined;
    if (suspicion !== undefined) warn(suspicion);
    reader.columns(names, location);
  };
  return {
    path,
    hasLines: true,
    read: async (reader, pause) => {
      let hasHeader = false;
      const takeRecord: TakeRecord = (fields, line, isQuoted) => {
        const isHeader = !hasHeader;
        if (isHeader) takeHeader(reader, fields, line);
        hasHeader = true;
        if (!isHeader || !format.header) reader.row(fields, line, isQuoted);
      };
      await readRecords(file, takeRecord, pause);
    },
    locate: async (line, index) => ({ file: name, line, ...(await locateField(file, { line, index })) }),
  };
}

const MAX_LINE_BYTES = 16 * 2 ** 20;
const MAX_SHOWN_FIELDS = 12;

/** Takes a record, and the line it starts on; `isQuoted` tells of its fields, while the call lasts. */
type TakeRecord = (fields: readonly string[], line: number, isQuoted: (index: number) => boolean) => void;

/**
 * Calls `onRecord` with every record. Blank lines are left out, and spaces around a field are no part of
 * it. Lines end in LF, CR LF or CR, and need not agree. All records have as many fields as the first.
 *
 * @throws LockstepError for the first malformed record; what `onRecord` throws passes through.
 */
export async function readRecords(file: CsvFile, onRecord: TakeRecord, pause?: Pause): Promise<void> {
  let header: readonly string[] | undefined;
  let lastLine = 0;
  let countedTwice = 0;
  const source = new RecordSource(file);
  const parser = parse({
    bom: true,
    delimiter: separatorOf(file),
    record_delimiter: ['\r\n', '\n', '\r'],
    from_line: file.bytesToSkip ? 2 : 1,
    trim: true,
    skip_empty_lines: true,
    max_record_size: MAX_LINE_BYTES,
    on_record: (fields: string[], { lines, bytes }) => {
      header ??= fields;
      const lastOfRecord = lines - countedTwice;
      const isOneLine = lastOfRecord === lastLine + 1;
      const breaks = isOneLine ? NO_BREAKS : countLineBreaks(fields);
      countedTwice += breaks.countedTwice;
      lastLine = lastOfRecord - breaks.countedTwice;
      source.moveTo(fields, bytes);
      onRecord(fields, lastLine - breaks.lines, source.isQuoted);
      return null;
    },
  });
  // Nothing is pushed, yet the readable side must flow for the stream to end.
  parser.resume();
  try {
    await pipeline(source.read(pause), parser);
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const recordLine = lastLine === 0 && file.bytesToSkip ? 2 : lastLine + 1;
    throw await explainCsvError(error, file, { header: header ?? [], recordLine });
  }
}

/**
 * Passes the bytes of a file to the parser and keeps them as far back as the last record. They alone
 * tell whether a field was quoted: asking the parser for that, for every field, makes it ten times
 * slower.
 */
class RecordSource {
  readonly #file: CsvFile;
  #chunks: Buffer[] = [];
  /** Offset of the first chunk. */
  #keptFrom = 0;
  #recordStart = 0;
  #recordEnd = 0;
  #fields: readonly string[] = [];

  constructor(file: CsvFile) {
    this.#file = file;
  }

  /** The parser asks for a chunk once it has taken all records of those before. */
  async *read(pause?: Pause): AsyncGenerator<Buffer, void, undefined> {
    const { delimiter, path, stream } = this.#file;
    const chunks = stream ?? readUtf8(path);
    for await (const chunk of delimiter === SPACES ? mergeSpaces(chunks) : chunks) {
      this.#forget();
      this.#chunks.push(chunk);
      yield chunk;
      await pause?.();
    }
  }

  /** Moves to a record, which ends at an offset in the file. */
  moveTo(fields: readonly string[], end: number): void {
    this.#fields = fields;
    this.#recordStart = Math.max(this.#recordEnd, this.#file.bytesToSkip ?? 0);
    this.#recordEnd = end;
  }

  readonly isQuoted = (index: number): boolean => {
    this.#forget();
    const record = this.#bytesOfRecord();
    const field = (this.#fields[index] ?? '').replaceAll(`"`, `""`);
    if (!record.includes(`"${field}"`)) return false;
    const text = record.toString('utf8');
    const at = findField(text, index, separatorOf(this.#file));
    return at !== undefined && /^\s*"/.test(text.slice(at));
  };

  /** Lets go of the chunks that end before the record. */
  #forget(): void {
    let [first] = this.#chunks;
    while (first && this.#keptFrom + first.length <= this.#recordStart) {
      this.#keptFrom += first.length;
      this.#chunks.shift();
      [first] = this.#chunks;
    }
  }

  #bytesOfRecord(): Buffer {
    const [start, end] = [this.#recordStart - this.#keptFrom, this.#recordEnd - this.#keptFrom];
    const [first] = this.#chunks;
    const bytes = first && end <= first.length ? first : Buffer.concat(this.#chunks);
    return bytes.subarray(start, end);
  }
}

/** The character between fields as the parser gets them. */
function separatorOf({ delimiter }: CsvFile): string {
  return delimiter === SPACES ? MERGED_SPACES : delimiter;
}

const NO_BREAKS = { lines: 0, countedTwice: 0 } as const;

/** Line breaks inside quoted fields; csv-parse counts each CR LF among them as two lines. */
function countLineBreaks(fields: readonly string[]): { lines: number; countedTwice: number } {
  const breaks = fields.flatMap((field) => field.match(/\r\n|\r|\n/g) ?? []);
  return { lines: breaks.length, countedTwice: breaks.filter((text) => text === '\r\n').length };
}

interface Progress {
  readonly header: readonly string[];
  /** The first line after the last good record. */
  readonly recordLine: number;
}

async function explainCsvError(error: CsvError, file: CsvFile, progress: Progress): Promise<LockstepError> {
  const name = displayPath(file.path);
  const lines = Number(error['lines']);
  const details = (code: `E_${string}`, message: string, help?: string): ErrorDetails => ({
    category: 'data',
    code,
    message,
    help,
    location: { file: name, line: lines },
    cause: error,
  });
  if (error.code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH') {
    const row = error['record'] as readonly string[];
    if (file.delimiter === ' ' && row.includes('')) return runsOfSpaces(file, lines);
    return new LockstepError(details('E_DATA_RAGGED_ROW', describeRaggedRow(row, progress.header)));
  }
  const wrongDelimiter =
    progress.header.length === 0 && !file.stream
      ? await findWrongDelimiter(file, progress.recordLine)
      : undefined;
  if (wrongDelimiter) return wrongDelimiter;
  const field = { line: progress.recordLine, index: Number(error['index']) };
  const located = { location: { file: name, ...((await locateField(file, field)) ?? { line: lines }) } };
  switch (error.code) {
    case 'CSV_QUOTE_NOT_CLOSED': {
      const message = 'quote opened here never closes (reached end of file)';
      return new LockstepError({ ...details('E_DATA_QUOTE', message), ...located });
    }
    case 'CSV_MAX_RECORD_SIZE': {
      const message = `record is longer than ${MAX_LINE_BYTES / 2 ** 20} MiB`;
      const help = 'look for a quote that never closes in the field named above';
      return new LockstepError({ ...details('E_DATA_LONG_LINE', message, help), ...located });
    }
    case 'CSV_INVALID_CLOSING_QUOTE':
    case 'CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE':
    case 'INVALID_OPENING_QUOTE': {
      const message = 'a quote is in the middle of this field';
      const help = 'put the whole field in quotes and double each quote inside it';
      return new LockstepError({ ...details('E_DATA_QUOTE', message, help), ...located });
    }
    default:
      return new LockstepError(details('E_DATA_CSV', error.message));
  }
}

/** `4 fields, header has 3 (a,b,c): 1,2,3,«4»`, or the names of the fields that are missing. */
function describeRaggedRow(row: readonly string[], header: readonly string[]): string {
  const counts = `${countOf(row.length, 'field')}, header has ${header.length} (${list(header)})`;
  if (row.length < header.length) {
    return `${counts}: ${list(row)} and no ${list(header.slice(row.length))}`;
  }
  const kept = row.slice(Math.max(0, header.length - MAX_SHOWN_FIELDS), header.length);
  const extra = row.slice(header.length, header.length + MAX_SHOWN_FIELDS);
  return `${counts}: ${list(kept)},«${list(extra)}»`;
}

function list(fields: readonly string[]): string {
  const shown = fields.slice(0, MAX_SHOWN_FIELDS).map((field) => quoteValue(field).replace(/^"(.*)"$/, '$1'));
  return shown.join(',') + (fields.length > MAX_SHOWN_FIELDS ? ',…' : '');
}
