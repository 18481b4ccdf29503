// Rows as objects to rows as the model sees them: each value goes through the reader of cells in files, so
// that a row means the same here as there.
import type { DataConfig } from '../config/schema.ts';
import { dataError } from '../data/dataset/data-error.ts';
import { widthOf, type FittedFeature } from '../data/dataset/transforms.ts';
import { findColumnProblems, type CellProblem } from '../data/table/column-problems.ts';
import { ColumnBuilder } from '../data/table/column.ts';
import { encodeFeatures } from '../data/table/features.ts';
import { CellReader } from '../data/table/format.ts';
import { planFeatures, withoutDrops } from '../data/table/plan-columns.ts';
import type { Table } from '../data/table/table.ts';
import { quoteName, quoteValue } from '../errors.ts';

/** A value of a row; null is a missing one. */
export type Cell = number | string | boolean | null;

/** A row by the names of its columns; those that are no features are passed over. */
export type Row = Readonly<Record<string, Cell | undefined>>;

/** The settings by which the model's training table was read. */
type RowOptions = Pick<DataConfig, 'missing' | 'missingTokens'> & {
  readonly warn: (message: string) => void;
};

/**
 * Encodes rows: f32 [rows, features].
 *
 * @throws LockstepError naming row (from 0) and column where a value is absent, is missing although training had none
 * missing, or is no number where training had numbers.
 */
export function encodeRows(
  rows: readonly Row[],
  features: readonly FittedFeature[],
  { missing, missingTokens, warn }: RowOptions,
): Float32Array {
  if (!Array.isArray(rows)) {
    const message = `the rows: expected a list of objects by column name, got ${quoteValue(rows)}`;
    throw dataError('E_DATA_FORMAT', message);
  }
  // Numbers of a program have a decimal point, whatever the table had; its texts count as quoted.
  const cells = { decimal: '.', missingTokens } as const;
  const reader = new CellReader(cells);
  const plans = planFeatures(columnsOf(features), { features }, withoutDrops(missing));
  const builders = plans.map((plan) => new ColumnBuilder(plan, reader, () => true));
  for (const [index, row] of rows.entries()) {
    for (const builder of builders) builder.add(cellText(row, builder.plan.name, index), 0, index);
  }
  const problems = findColumnProblems(builders, { ...cells, isSaved: true });
  if (problems.length > 0) throw problemError(problems);
  const table: Table = {
    parts: [{ file: 'rows', firstRow: 0, numRows: rows.length }],
    numRows: rows.length,
    columns: new Map(builders.map((builder) => [builder.plan.name, builder.finish(undefined)])),
    lines: undefined,
  };
  const encoded = new Float32Array(rows.length * widthOf(features));
  encodeFeatures(table, features, { rows: encoded, warn });
  return encoded;
}

function columnsOf(features: readonly FittedFeature[]): string[] {
  return features.flatMap((feature) => ('column' in feature ? [feature.column] : []));
}

/**
 * A number as the shortest text that reads back as the same number. A program in JavaScript may hand in
 * anything.
 */
function cellText(row: unknown, name: string, index: number): string {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    const message = `row ${index}: expected an object by column name, got ${quoteValue(row)}`;
    throw dataError('E_DATA_FORMAT', message);
  }
  const value: unknown = Object.hasOwn(row, name) ? Reflect.get(row, name) : undefined;
  if (value === undefined) {
    const message = `row ${index} has no column ${quoteName(name)}, which the model was trained on`;
    throw dataError('E_DATA_COLUMNS', message, {
      help: 'give it a value, or null where the value is missing',
    });
  }
  if (value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  const message = `row ${index}: column ${quoteName(name)}: expected a number, a text, true, false or null`;
  throw dataError('E_DATA_FORMAT', `${message}, got ${quoteValue(value)}`);
}

function problemError([first]: readonly CellProblem[]): Error {
  const { cell, code, message } = first as CellProblem;
  const help = code === 'E_DATA_MISSING' ? 'fill it in, or train with data.missing: mean' : undefined;
  return dataError(code, `row ${cell.line}: ${message}`, { help });
}
