// The character between the fields of a file: chosen, and told from the first line where another was meant.
import type { LockstepError } from '../errors.ts';
import { dataError } from './data-error.ts';
import { readFromLine, type CsvFile } from './locate-field.ts';
import { displayPath } from './source-file.ts';
import type { TableFormat } from './table-format.ts';
import { shellWord } from '../printable.ts';
import { readUtf8 } from './utf8-text.ts';

const DELIMITERS = [';', '\t', '|', ',', ' '] as const;
/** Excel's word to itself: a first line such as `sep=;`. */
const SEPARATOR_LINE = /^\uFEFF?"?sep=(?<delimiter>.)"?[ \t]*(?:\r\n|\r|\n)/i;
const SPACES = ' ';
const AS_TRAINED = 'write the file as the training data were';

/** How a file is to be split: as the config says, else as its own first line says, else by its name. */
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
  const shown = delimiter === SPACES ? 'spaces' : JSON.stringify(delimiter);
  const message = `the first row is divided by ${shown}, not by ${JSON.stringify(file.delimiter)}`;
  return dataError('E_DATA_DELIMITER', message, { location, help: helpFor(delimiter, file) });
}

/**
 * Refuses a first row of one field that another delimiter would divide: a table of one column can never train.
 *
 * @throws LockstepError naming the delimiter
 */
export function refuseOneColumn(fields: readonly string[], file: CsvFile, line: number): void {
  const [only] = fields;
  if (file.delimiter === SPACES && fields.includes('')) throw runsOfSpaces(file, line);
  const delimiter =
    fields.length === 1 && only !== undefined ? guessDelimiter(only, file.delimiter) : undefined;
  if (delimiter === undefined) return;
  const shown = delimiter === SPACES ? 'spaces' : JSON.stringify(delimiter);
  const message = `only 1 column found, and the first row contains ${shown}`;
  const location = { file: displayPath(file.path), line };
  throw dataError('E_DATA_DELIMITER', message, { location, help: helpFor(delimiter, file) });
}

/** What to do about another delimiter. */
function helpFor(delimiter: string, { path, isSaved }: CsvFile): string {
  if (isSaved) return AS_TRAINED;
  const setting = `set data.delimiter: ${JSON.stringify(delimiter)}`;
  return delimiter === SPACES ? `${setting} for single spaces; of more, ${makeCommas(path)}` : setting;
}

/** The error of empty fields between runs of spaces. */
export function runsOfSpaces(file: CsvFile, line: number): LockstepError {
  const message = 'the columns are divided by several spaces; data.delimiter " " is a single one';
  const location = { file: displayPath(file.path), line };
  const help = file.isSaved ? AS_TRAINED : `${makeCommas(file.path)}, and leave data.delimiter out`;
  return dataError('E_DATA_DELIMITER', message, { location, help });
}

function makeCommas(path: string): string {
  return `make commas: sed 's/^ *//; s/ *$//; s/  */,/g' ${shellWord(displayPath(path))} > columns.csv`;
}

/** The character that divides a line, where `used` does not; quoted text is left out. */
function guessDelimiter(line: string, used: string): string | undefined {
  const bare = line.replaceAll(/"[^"]*"/g, '').trim();
  if (bare.includes(used)) return undefined;
  return DELIMITERS.find((candidate) => bare.includes(candidate));
}
