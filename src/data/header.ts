// The names of a table's columns: from its first record, or c1, c2, ... where it has none.
import { dataError, countOf } from './data-error.ts';
import { type SourceLocation, quoteName, shorten } from '../errors.ts';
import type { TableFormat } from './table-format.ts';

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
  if (fields.length > MAX_COLUMNS) {
    const message = `${countOf(fields.length, 'column')}; at most ${countOf(MAX_COLUMNS, 'column')} are read`;
    throw dataError('E_DATA_COLUMNS', message, { location });
  }
  if (!format.header) return fields.map((_, index) => `c${index + 1}`);
  refuseBadNames(fields, location);
  return [...fields];
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

function refuseBadNames(names: readonly string[], location: SourceLocation): void {
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

/** A few names from where the interesting one stands. */
function listFrom(names: readonly string[], from = 0): string {
  const start = from + MAX_SHOWN_NAMES > names.length ? Math.max(0, names.length - MAX_SHOWN_NAMES) : from;
  const shown = names
    .slice(start, start + MAX_SHOWN_NAMES)
    .map((name) => shorten(name))
    .join(',');
  return `${start > 0 ? '…,' : ''}${shown}${start + MAX_SHOWN_NAMES < names.length ? ',…' : ''}`;
}
