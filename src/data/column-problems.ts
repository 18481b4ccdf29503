// What is wrong with the cells of a table, column by column: decided when all are read, so that counts are
// known and a user sees every column at once.
import { formatLocation, quoteValue, type SourceLocation } from '../errors.ts';
import type { CellReference, ColumnBuilder, PlannedColumn } from './column.ts';
import { countOf, dataError, formatCount } from './data-error.ts';
import { locateField, type CsvFile } from './locate-field.ts';
import { displayPath } from './source-file.ts';
import type { TableFormat } from './table-format.ts';

type CellRules = Pick<TableFormat, 'decimal' | 'missing' | 'isSaved'>;

const MAX_REPORTED = 10;
const DECIMAL_COMMA = /^[+-]?\d*,\d+$/;
const INFINITE = /^[+-]?inf(inity)?$/i;

/** One column's problem and the cell that shows it. */
export interface CellProblem {
  readonly column: string;
  readonly code: `E_DATA_${string}`;
  readonly message: string;
  readonly help: string;
  readonly cell: CellReference;
}

/** The first problem of every column that has one, in the order of the columns. */
export function findColumnProblems(columns: readonly ColumnBuilder[], format: CellRules): CellProblem[] {
  return columns.flatMap((column) => {
    const problem =
      findOverflow(column, format) ??
      findMixture(column, format) ??
      findDecimalCommas(column, format) ??
      findMissing(column, format);
    return problem === undefined ? [] : [{ ...problem, column: column.plan.name }];
  });
}

type Finding = Omit<CellProblem, 'column'> | undefined;

function findOverflow({ plan, firstOverflow, numOverflows }: ColumnBuilder, { isSaved }: CellRules): Finding {
  if (firstOverflow === undefined) return undefined;
  const others = numOverflows > 1 ? ` (${formatCount(numOverflows)} such cells)` : '';
  return {
    code: 'E_DATA_OVERFLOW',
    message: `column "${plan.name}": ${quoteValue(firstOverflow.cell)} does not fit float32 (max 3.4e38)${others}`,
    help:
      isSaved || !plan.isFeature
        ? 'correct the cell'
        : 'correct the cell, or leave the column out with data.drop',
    cell: firstOverflow,
  };
}

function findMixture(column: ColumnBuilder, format: CellRules): Finding {
  const { plan, numNumbers, numTexts, firstText } = column;
  if (firstText === undefined || (column.kind !== 'number' && numNumbers === 0)) return undefined;
  const shown = `column "${plan.name}": ${quoteValue(firstText.cell)}`;
  const counts = `(${formatCount(numTexts)} of ${countOf(numNumbers + numTexts, 'cell')})`;
  if (DECIMAL_COMMA.test(firstText.cell) && format.decimal === '.')
    return decimalComma(column, firstText, format);
  if (INFINITE.test(firstText.cell)) {
    const message = `${shown} does not fit float32 (max 3.4e38) ${counts}`;
    const help = mayBeEmpty(plan, format) ? 'correct the cell, or empty it' : 'correct the cell';
    return { code: 'E_DATA_OVERFLOW', message, help, cell: firstText };
  }
  return {
    code: 'E_DATA_NOT_A_NUMBER',
    message: `${shown} is not a number ${counts}`,
    help: format.isSaved
      ? 'correct the cell: the model was trained on numbers in this column'
      : 'correct the cell, or name the column under data.categorical or data.drop',
    cell: firstText,
  };
}

/** A column of nothing but `1,5` would otherwise be taken for texts and encoded as classes. */
function findDecimalCommas(column: ColumnBuilder, format: CellRules): Finding {
  const { plan, firstText, categories } = column;
  if (plan.kind === 'text' || firstText === undefined) return undefined;
  return categories.every((text) => DECIMAL_COMMA.test(text))
    ? decimalComma(column, firstText, format)
    : undefined;
}

function decimalComma({ plan }: ColumnBuilder, cell: CellReference, { isSaved }: CellRules): Finding {
  const message = `column "${plan.name}": ${quoteValue(cell.cell)} looks like a decimal comma`;
  const help = isSaved ? 'write it with a point, as the training data were' : 'set data.decimal: ","';
  return { code: 'E_DATA_NOT_A_NUMBER', message, help, cell };
}

function findMissing(column: ColumnBuilder, format: CellRules): Finding {
  const { plan, firstMissing, missingTokens, numMissing, numNumbers, numTexts } = column;
  if (firstMissing === undefined || format.missing === 'drop-row') return undefined;
  const numCells = numMissing + numNumbers + numTexts;
  const tokens = [...missingTokens].map(([token, count]) => `"${token}" ${formatCount(count)}`).join(', ');
  if (numMissing === numCells && plan.kind === undefined) {
    const message = `column "${plan.name}" is empty: all ${countOf(numCells, 'cell')} are missing (${tokens})`;
    return { code: 'E_DATA_MISSING', message, help: 'leave it out with data.drop', cell: firstMissing };
  }
  const message = `column "${plan.name}": ${formatCount(numMissing)} of ${countOf(numCells, 'cell')} missing (${tokens})`;
  if (format.missing === 'error') {
    return { code: 'E_DATA_MISSING', message, help: helpForMissing(plan, format), cell: firstMissing };
  }
  if (plan.isFeature) return undefined;
  const help = `only a feature can be filled in: ${format.isSaved ? 'leave these rows out' : 'set data.missing: drop-row'}`;
  return { code: 'E_DATA_MISSING', message, help, cell: firstMissing };
}

/** Whether a cell may be emptied. For new rows of a model that is no way out: they are to say what they are. */
function mayBeEmpty({ isFeature }: PlannedColumn, { missing, isSaved }: CellRules): boolean {
  return !isSaved && (missing === 'drop-row' || (missing === 'mean' && isFeature));
}

/** A prediction leaves no row out, since that would shift the lines of all behind it. */
function helpForMissing({ isFeature }: PlannedColumn, { isSaved }: CellRules): string {
  if (isSaved) {
    return isFeature
      ? 'fill them in, or train with data.missing: mean'
      : 'fill them in, or leave these rows out';
  }
  return isFeature
    ? 'fill them in, or set data.missing: mean, or data.missing: drop-row'
    : 'fill them in, or set data.missing: drop-row';
}

/** Throws one error for all problems: a single one with its place, several as a list. */
export async function throwCellProblems(
  problems: readonly CellProblem[],
  files: readonly CsvFile[],
  header: readonly string[],
): Promise<never> {
  const reported = problems.slice(0, MAX_REPORTED);
  const locations = await Promise.all(
    reported.map(({ column, cell }) =>
      locateCell(files[cell.part] as CsvFile, header.indexOf(column), cell.line),
    ),
  );
  const first = problems[0] as CellProblem;
  if (problems.length === 1) {
    throw dataError(first.code, first.message, { location: locations[0], help: first.help });
  }
  const lines = reported.map(
    ({ message }, k) => `  ${formatLocation(locations[k] as SourceLocation)} ${message}`,
  );
  if (problems.length > MAX_REPORTED) lines.push(`  and ${problems.length - MAX_REPORTED} more`);
  const help = [...new Set(reported.map((problem) => problem.help))].join('; or: ');
  throw dataError(first.code, [`${problems.length} columns have problems`, ...lines].join('\n'), { help });
}

async function locateCell(file: CsvFile, index: number, line: number): Promise<SourceLocation> {
  const position = await locateField(file, { line, index });
  return { file: displayPath(file.path), line, ...position };
}

/** Warns of what is not wrong but likely not meant. */
export function warnAboutColumns(
  columns: readonly ColumnBuilder[],
  files: readonly CsvFile[],
  warn: (message: string) => void,
): void {
  for (const { plan, firstInexact } of columns) {
    if (firstInexact === undefined) continue;
    const place = `${displayPath((files[firstInexact.part] as CsvFile).path)}:${firstInexact.line}`;
    const found = `column "${plan.name}" has ${firstInexact.cell}`;
    warn(`${place} ${found}; float32 cannot hold it exactly. Is it an identifier?`);
  }
}
