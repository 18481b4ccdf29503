// Records of a CSV or TSV file, streamed: csv-parse splits them, its errors get a place and our words.
// What the cells mean is not known here.
import { pipeline } from 'node:stream/promises';
import { CsvError, parse } from 'csv-parse';
import { LockstepError, quoteValue, type ErrorDetails } from '../errors.ts';
import { countOf } from './data-error.ts';
import { locateField, type CsvFile } from './locate-field.ts';
import { displayPath } from './source-file.ts';
import { readUtf8 } from './utf8-text.ts';

const MAX_LINE_BYTES = 16 * 2 ** 20;
const MAX_SHOWN_FIELDS = 12;

/**
 * Calls `onRecord` with every record and the line it starts on. Blank lines are left out, and spaces around
 * a field are no part of it. All records have as many fields as the first.
 *
 * @throws LockstepError for the first malformed record; what `onRecord` throws passes through.
 */
export async function readRecords(
  file: CsvFile,
  onRecord: (fields: readonly string[], line: number) => void,
): Promise<void> {
  let header: readonly string[] | undefined;
  let lastLine = 0;
  let countedTwice = 0;
  const parser = parse({
    bom: true,
    delimiter: file.delimiter,
    trim: true,
    skip_empty_lines: true,
    max_record_size: MAX_LINE_BYTES,
    on_record: (fields: string[], { lines }) => {
      header ??= fields;
      const lastOfRecord = lines - countedTwice;
      const isOneLine = lastOfRecord === lastLine + 1;
      const breaks = isOneLine ? NO_BREAKS : countLineBreaks(fields);
      countedTwice += breaks.countedTwice;
      lastLine = lastOfRecord - breaks.countedTwice;
      onRecord(fields, lastLine - breaks.lines);
      return null;
    },
  });
  // Nothing is pushed, yet the readable side must flow for the stream to end.
  parser.resume();
  try {
    await pipeline(readUtf8(file.path), parser);
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw await explainCsvError(error, file, { header: header ?? [], recordLine: lastLine + 1 });
  }
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
    return new LockstepError(details('E_DATA_RAGGED_ROW', describeRaggedRow(row, progress.header)));
  }
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
      const message = 'a quote stands in the middle of this field';
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
