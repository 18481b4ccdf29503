// Rows that a program hands in instead of a file of a table: checked, and named by a hash, by which a config
// refers to them. They are read as the lines of JSON Lines are.
import { createHash } from 'node:crypto';
import { dataError, quoteValue } from '../../errors.ts';
import { missingSamples } from '../dataset/load-request.ts';
import { isRow, type Row } from './json-file.ts';

/** Rows after their checks. They must stay as they are until the call that takes them has ended. */
export interface RowSet {
  /** The name that errors use: `data.train`. */
  readonly name: string;
  readonly rows: readonly Row[];
  readonly sha256: string;
}

/** Samples of any kind by their hash. */
export type SampleSets = ReadonlyMap<string, RowSet | Pick<RowSet, 'name' | 'sha256'>>;

/**
 * Checks rows; `name` is what errors call them.
 * @throws LockstepError for a row that is no object
 */
export function takeRows(rows: readonly unknown[], name: string): RowSet {
  const hash = createHash('sha256');
  for (const [index, row] of rows.entries()) {
    if (!isRow(row)) {
      const message = `${name}, row ${index}: a row is an object such as { a: 1, b: 'x' }, this is ${quoteValue(row)}`;
      throw dataError('E_DATA_ARRAYS', message);
    }
    hash.update(textOf(row, `${name}, row ${index}`));
  }
  return { name, rows: rows as readonly Row[], sha256: hash.digest('hex') };
}

function textOf(row: Row, place: string): string {
  try {
    return `${JSON.stringify(row, nameValue)}\n`;
  } catch (error) {
    throw dataError('E_DATA_ARRAYS', `${place} has no JSON: ${(error as Error).message}`);
  }
}

/** Tells values apart that JSON has no words for. */
function nameValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

/** The rows with that hash. @throws LockstepError if they are not among the sets */
export function findRows(sha256: string, sets: SampleSets | undefined): RowSet {
  const set = sets?.get(sha256);
  if (set && 'rows' in set) return set;
  throw missingSamples(sha256, sets);
}
