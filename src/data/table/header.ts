// The first record of a file: the character that delimits it, and the names of the columns.
import { displayPath } from '../dataset/source-file.ts';
import { readFromLine, readUtf8, SPACES, type CsvFile } from './csv-file.ts';
import type { TableFormat } from './format.ts';
import { quoteName, shorten, type LockstepError, type SourceLocation, dataError } from '../../errors.ts';
import { countOf } from '../../printable.ts';

const DELIMITERS = [';', '\t', '|', ',', ' '] as const;
/** A first line such as `sep=;`, which Excel writes for itself. */
const SEPARATOR_LINE = /^\uFEFF?"?sep=(?<delimiter>.)"?[ \t]*(?:\r\n|\r|\n)/i;
const AS_TRAINED = 'write the file as the training data were';

/**
 * Chooses the delimiter of a file: the config's, else the one that its first line states, else by its
 * name.
 */
export async function chooseDelimiter(
  path: string,
  { delimiter, isSaved }: Pick<TableFormat, 'delimiter' | 'isSaved'>,
): Promise<CsvFile> {
  const separator = SEPARATOR_LINE.exec(await readStart(path));
  const isTabbed = /\.(tsv|tab)(\.gz)?$/i.test(path);
  return {
    path,
    delimiter: delimiter ?? separator?.groups?.['delimiter'] ?? (isTabbed ? '\t' : ','),
    bytesToSkip: separator ? Buffer.byteLength(separator[0]) : 0,
    isSaved,
  };
}

async function readStart(path: string): Promise<string> {
  for await (const chunk of readUtf8(path)) return chunk.toString('utf8', 0, 32);
  return '';
}

/** The error of a first line that shows another delimiter than the file is read with, or undefined. */
export async function findWrongDelimiter(file: CsvFile, line: number): Promise<LockstepError | undefined> {
  const [first = ''] = (await readFromLine(file.path, line)).split(/\r\n|\r|\n/, 1);
  const delimiter = guessDelimiter(first, file.delimiter);
  if (delimiter === undefined) return undefined;
  const location = { file: displayPath(file.path), line };
  const message = `the first row is divided by ${inWords(delimiter)}, not by ${inWords(file.delimiter)}`;
  return dataError('E_DATA_DELIMITER', message, { location, help: helpFor(delimiter, file) });
}

/**
 * Refuses a first row of one field that another delimiter would divide: a table of one column can
 * never train.
 *
 * @throws LockstepError naming the delimiter
 */
export function refuseOneColumn(fields: readonly string[], file: CsvFile, line: number): void {
  const [only] = fields;
  if (file.delimiter === ' ' && fields.includes('')) throw runsOfSpaces(file, line);
  const delimiter =
    fields.length === 1 && only !== undefined ? guessDelimiter(only, file.delimiter) : undefined;
  if (delimiter === undefined) return;
  const message = `only 1 column found, and the first row contains ${inWords(delimiter)}`;
  const location = { file: displayPath(file.path), line };
  throw dataError('E_DATA_DELIMITER', message, { location, help: helpFor(delimiter, file) });
}

function inWords(delimiter: string): string {
  return delimiter === ' ' || delimiter === SPACES ? 'spaces' : JSON.stringify(delimiter);
}

/** Help for another delimiter. */
function helpFor(delimiter: string, { isSaved }: CsvFile): string {
  if (isSaved) return AS_TRAINED;
  return delimiter === ' '
    ? 'set data.delimiter: spaces'
    : `set data.delimiter: ${JSON.stringify(delimiter)}`;
}

/** The error of empty fields between runs of spaces. */
export function runsOfSpaces(file: CsvFile, line: number): LockstepError {
  const message = 'the columns are divided by several spaces; data.delimiter " " is a single one';
  const location = { file: displayPath(file.path), line };
  return dataError('E_DATA_DELIMITER', message, { location, help: helpFor(' ', file) });
}

/** The character that divides a line, where `used` does not; quoted text is left out. */
function guessDelimiter(line: string, used: string): string | undefined {
  const bare = line.replaceAll(/"[^"]*"/g, '').trim();
  if (bare.includes(used)) return undefined;
  return DELIMITERS.find((candidate) => bare.includes(candidate));
}

const MAX_COLUMNS = 100_000;
const MAX_SHOWN_NAMES = 6;
const PLAIN_NUMBER = /^[+-]?(\d+[.,]?\d*|[.,]\d+)$/;

type HeaderFormat = Pick<TableFormat, 'header'>;

/**
 * Column names from the first record of a file.
 *
 * @throws LockstepError if the record cannot name columns: empty or equal names.
 */
export function readHeader(
  fields: readonly string[],
  format: HeaderFormat,
  location: SourceLocation,
): string[] {
  refuseTooManyColumns(fields.length, location);
  if (!format.header) return fields.map((_, index) => `c${index + 1}`);
  refuseBadNames(fields, location);
  return [...fields];
}

export function refuseTooManyColumns(count: number, location: SourceLocation): void {
  if (count <= MAX_COLUMNS) return;
  const message = `${countOf(count, 'column')}; at most ${countOf(MAX_COLUMNS, 'column')} are read`;
  throw dataError('E_DATA_COLUMNS', message, { location });
}

/** A warning if the first record looks like data, or undefined. */
export function suspectHeader(
  names: readonly string[],
  { isSaved }: Pick<TableFormat, 'isSaved'>,
  location: SourceLocation,
): string | undefined {
  if (!names.every((name) => PLAIN_NUMBER.test(name))) return undefined;
  const advice = `if it is data, ${isSaved ? 'write the header of the training data above it' : 'set data.header: false'}`;
  return `${location.file}: header row is all numeric (${listFrom(names)}); ${advice}`;
}

/** Checks that a further file has the columns of the first, in the same order. */
export function requireSameHeader(
  expected: readonly string[],
  names: readonly string[],
  location: SourceLocation,
): void {
  if (expected.length === names.length && expected.every((name, index) => name === names[index])) return;
  const isReordered =
    expected.length === names.length && [...expected].sort().join('\n') === [...names].sort().join('\n');
  const what = isReordered ? 'columns are reordered' : 'columns differ from the first file';
  const first = Math.max(
    0,
    expected.findIndex((name, index) => name !== names[index]),
  );
  const message = `${what}: expected ${listFrom(expected, first)}; got ${listFrom(names, first)}`;
  throw dataError('E_DATA_COLUMNS', message, {
    location,
    help: 'give all files the same columns in one order',
  });
}

/** Refuses names by which columns cannot be told apart. */
export function refuseBadNames(names: readonly string[], location: SourceLocation): void {
  const seen = new Map<string, number>();
  for (const [index, name] of names.entries()) {
    if (name === '') {
      const help = 'give every column a name in the first row';
      throw dataError('E_DATA_COLUMNS', `column ${index + 1} has no name`, { location, help });
    }
    const earlier = seen.get(name);
    if (earlier !== undefined) {
      const message = `columns ${earlier + 1} and ${index + 1} are both ${quoteName(name)}`;
      throw dataError('E_DATA_COLUMNS', message, { location, help: 'rename one of them' });
    }
    seen.set(name, index);
  }
}

/** A few names, from the interesting one on. */
function listFrom(names: readonly string[], from = 0): string {
  const start = from + MAX_SHOWN_NAMES > names.length ? Math.max(0, names.length - MAX_SHOWN_NAMES) : from;
  const shown = names
    .slice(start, start + MAX_SHOWN_NAMES)
    .map((name) => shorten(name))
    .join(',');
  return `${start > 0 ? '…,' : ''}${shown}${start + MAX_SHOWN_NAMES < names.length ? ',…' : ''}`;
}
