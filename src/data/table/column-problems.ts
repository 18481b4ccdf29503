// Problems in the cells of a table, column by column: decided after all cells are read, so that counts are
// known and a user sees every column at once.
import { formatKeyPath } from '../../config/problem.ts';
import { leaveOut, type CellReference, type ColumnBuilder, type PlannedColumn } from './column.ts';
import { listTokens, type TableFormat } from './format.ts';
import { areLikelyTokens, countMarkedNumbers, describeMarkedNumbers, sharedUnit } from './marked-numbers.ts';
import { listNames, quoteName, quoteValue, shorten } from '../../errors.ts';
import { countOf, formatCount } from '../../printable.ts';

/** The settings that decide whether cells are problems; tables from files have a delimiter too. */
export type CellRules = Pick<TableFormat, 'decimal' | 'thousands' | 'missingTokens' | 'isSaved'>;

const INFINITE = /^[+-]?inf(inity)?$/i;
/** A column of fewer texts is read as one of kinds even if most of them look like numbers. */
const MIN_MARKED_TEXTS = 3;

/** The problem of a column, and the cell that shows it. */
export interface CellProblem {
  readonly column: string;
  readonly code: `E_DATA_${string}`;
  readonly message: string;
  readonly help: string;
  readonly cell: CellReference;
}

/** The first problem of every column that has one, in the order of the columns. */
export function findColumnProblems(columns: readonly ColumnBuilder[], rules: CellRules): CellProblem[] {
  const context = { ...rules, columns };
  return columns.flatMap((column) => {
    const problem =
      findOverflow(column, context) ??
      findNoDate(column, context) ??
      findMixture(column, context) ??
      findMarkedNumbers(column, context) ??
      findExcess(column) ??
      findMissing(column, context);
    return problem === undefined ? [] : [{ ...problem, column: column.plan.name }];
  });
}

type Finding = Omit<CellProblem, 'column'> | undefined;

type Context = CellRules & { readonly columns: readonly ColumnBuilder[] };

function findOverflow(column: ColumnBuilder, context: Context): Finding {
  const { plan, firstOverflow, numOverflows } = column;
  if (firstOverflow === undefined) return undefined;
  const others = numOverflows > 1 ? ` (${formatCount(numOverflows)} such cells)` : '';
  return {
    code: 'E_DATA_OVERFLOW',
    message: `column ${quoteName(plan.name)}: ${quoteValue(firstOverflow.cell)} does not fit float32 (max 3.4e38)${others}`,
    help: helpForValue(column, context),
    cell: firstOverflow,
  };
}

/** Help for a number that cannot be trained on. */
function helpForValue(column: ColumnBuilder, context: Context): string {
  const { plan } = column;
  if (context.isSaved) return 'correct the cell';
  if (!plan.isFeature) return ROW_WAYS_OUT;
  const empty = mayBeEmpty(column, context) ? ', empty it' : '';
  return `correct the cell${empty}, or ${leaveOut('the column', plan)}`;
}

const ROW_WAYS_OUT = 'correct the cell, or leave its row out';

function findNoDate(column: ColumnBuilder, context: Context): Finding {
  const { plan, numDates, numNumbers, numTexts, firstNoDate } = column;
  if (firstNoDate === undefined) return undefined;
  const counts = `(${formatCount(numNumbers + numTexts)} of ${countOf(numDates + numNumbers + numTexts, 'cell')})`;
  const message = `column ${quoteName(plan.name)}: ${quoteValue(firstNoDate.cell)} is not a date ${counts}`;
  const help = context.isSaved
    ? 'correct the cell: the model was trained on dates in this column'
    : `correct the cell, or ${asTexts(plan)}`;
  return { code: 'E_DATA_NOT_A_DATE', message, help, cell: firstNoDate };
}

function findMixture(column: ColumnBuilder, context: Context): Finding {
  const { plan, numNumbers, numTexts, firstText } = column;
  if (firstText === undefined || (column.kind !== 'number' && numNumbers === 0)) return undefined;
  const marked = markedNumbers(column, firstText, context);
  if (marked) return marked;
  const shown = `column ${quoteName(plan.name)}: ${quoteValue(firstText.cell)}`;
  const counts = `(${formatCount(numTexts)} of ${countOf(numNumbers + numTexts, 'cell')})`;
  if (column.texts.every((text) => INFINITE.test(text))) {
    const message = `${shown} does not fit float32 (max 3.4e38) ${counts}`;
    return { code: 'E_DATA_OVERFLOW', message, help: helpForValue(column, context), cell: firstText };
  }
  return {
    code: 'E_DATA_NOT_A_NUMBER',
    message: `${shown} is not a number ${counts}`,
    help: helpForText(column, context),
    cell: firstText,
  };
}

function helpForText(column: ColumnBuilder, context: Context): string {
  if (context.isSaved) return 'correct the cell: the model was trained on numbers in this column';
  const ways = waysForText(column);
  if (!areLikelyTokens(column.texts)) return ways;
  return `if it stands for no value, set ${listTokens(tokensWith(context))}; if not, ${ways}`;
}

/** Help for a text among numbers: only a feature can be made categorical or left out. */
function waysForText({ plan }: ColumnBuilder): string {
  if (plan.isFeature) return `correct the cell, or ${asTexts(plan)}`;
  return plan.isClass
    ? 'correct the cell, or give all classes names (such as c1 for 1), or numbers from 0'
    : ROW_WAYS_OUT;
}

function asTexts({ isListed }: PlannedColumn): string {
  const categorical = 'name the column under data.categorical';
  return isListed ? `${categorical}, or take it out of data.features` : `${categorical} or data.drop`;
}

/** The tokens in use, and the texts among numbers that are likely more of them, of all columns. */
function tokensWith({ columns, missingTokens }: Context): string[] {
  const used = missingTokens ?? columns.flatMap(({ missingTokens: seen }) => [...seen.keys()]);
  const likely = columns.filter(({ numNumbers, texts }) => numNumbers > 0 && areLikelyTokens(texts));
  return [...used, ...likely.flatMap(({ texts }) => texts)];
}

/**
 * Finds columns of nothing but `1,5` or `$10`, which would otherwise be taken for texts and encoded as
 * classes.
 */
function findMarkedNumbers(column: ColumnBuilder, context: Context): Finding {
  const { plan, firstText, kind } = column;
  if (plan.kind === 'text' || plan.isClass || firstText === undefined || kind !== 'text') return undefined;
  return markedNumbers(column, firstText, context);
}

function markedNumbers(column: ColumnBuilder, cell: CellReference, context: Context): Finding {
  const { plan, texts } = column;
  const numbers = fractionsOf([column]);
  const others = fractionsOf(context.columns.filter((other) => other !== column));
  const marked = describeMarkedNumbers(texts, { numbers, others }, context);
  // If groups of digits are read, a cell with broken groups does not hint at another format.
  const breaksGroups = column.numNumbers > 0 && context.thousands !== undefined;
  if (marked === undefined || (breaksGroups && !marked.isPlain)) return undefined;
  const message = `column ${quoteName(plan.name)}: ${quoteValue(cell.cell)} ${marked.what}`;
  const plain = plan.isFeature ? `${marked.help}, or ${asTexts(plan)}` : marked.help;
  const help = marked.isPlain ? plain : marked.help;
  const shown = context.isSaved ? 'write it as the training data were' : help;
  return { code: 'E_DATA_NOT_A_NUMBER', message, help: shown, cell };
}

function fractionsOf(columns: readonly ColumnBuilder[]): string[] {
  return columns.flatMap(({ firstFraction }) => (firstFraction ? [firstFraction.cell] : []));
}

function findExcess({ plan, firstExcess }: ColumnBuilder): Finding {
  if (firstExcess === undefined) return undefined;
  const message = `column ${quoteName(plan.name)} has more than ${formatCount(plan.maxCategories)} distinct texts`;
  const help = plan.isFeature
    ? `an identifier teaches nothing: ${leaveOut('it', plan)}; other texts may have learned vectors, or share features: data.columns, kind: embedding or hash`
    : 'a target has fewer classes';
  return { code: 'E_DATA_CATEGORIES', message, help, cell: firstExcess };
}

function findMissing(column: ColumnBuilder, context: Context): Finding {
  const { plan, firstMissing, missingTokens, numMissing, numDates, numNumbers, numTexts } = column;
  if (firstMissing === undefined || plan.missing === 'drop-row') return undefined;
  const numCells = numMissing + numDates + numNumbers + numTexts;
  const tokens = listNames(
    [...missingTokens].map(([token, count]) => `"${shorten(token, 20)}" ${formatCount(count)}`),
  );
  const code = 'E_DATA_MISSING';
  const cell = firstMissing;
  if (numMissing === numCells && plan.kind === undefined) {
    const message = `column ${quoteName(plan.name)} is empty: all ${countOf(numCells, 'cell')} are missing (${tokens})`;
    const help = plan.isFeature ? leaveOut('it', plan) : 'name a column that has values, or fill them in';
    return { code, message, help, cell };
  }
  const message = `column ${quoteName(plan.name)}: ${formatCount(numMissing)} of ${countOf(numCells, 'cell')} missing (${tokens})`;
  const isText = column.kind === 'text' && !plan.isNumeric;
  const isFitting = isText ? plan.missing === 'category' || plan.isDefaultRule : plan.missing === 'mean';
  if (plan.missing === 'error' || (context.isSaved && !isFitting)) {
    return { code, message, help: helpForMissing(column, context), cell };
  }
  if (isFitting) return undefined;
  const [rule, kind] = isText
    ? ['category', 'texts']
    : ['mean', column.kind === 'date' ? 'dates' : 'numbers'];
  const help = `set ${formatKeyPath(['data', 'missing', 'columns', plan.name])}: ${rule}, or drop-row`;
  return { code, message: `${message}; data.missing: ${plan.missing} is not for ${kind}`, help, cell };
}

/** Tells whether a cell may be emptied. New rows for a model may not: they must state their values. */
function mayBeEmpty({ plan }: ColumnBuilder, { isSaved }: CellRules): boolean {
  return !isSaved && plan.isFeature && (plan.missing === 'mean' || plan.missing === 'drop-row');
}

/**
 * Help for missing cells. A prediction leaves no row out, since that would shift the lines of all
 * later ones.
 */
function helpForMissing(column: ColumnBuilder, context: Context): string {
  const { isFeature } = column.plan;
  if (context.isSaved) {
    return isFeature
      ? 'fill them in, or train with data.missing: mean'
      : 'fill them in, or leave these rows out';
  }
  const ways = isFeature
    ? 'fill them in, or set data.missing: mean, or data.missing: drop-row'
    : 'fill them in, or set data.missing: drop-row';
  const tokens = [...column.missingTokens.keys()].filter((token) => token !== '');
  if (column.kind !== 'text' || tokens.length === 0) return ways;
  const [first] = tokens;
  const others = context.columns.flatMap(({ missingTokens }) => [...missingTokens.keys()]);
  const list = (context.missingTokens ?? others).filter((token) => !tokens.includes(token));
  return `${ways}; if ${JSON.stringify(first)} is a value, quote it, or set ${listTokens(list)}`;
}

/** Describes how texts that are categories look like numbers, if they do. */
export function describeNumberlike(texts: readonly string[], format: CellRules): string | undefined {
  const unit = sharedUnit(texts);
  if (unit !== undefined)
    return `${countOf(texts.length, 'text')} look like numbers with the unit ${quoteValue(unit)}`;
  const numMarked = countMarkedNumbers(texts, format);
  if (numMarked < MIN_MARKED_TEXTS || 2 * numMarked < texts.length) return undefined;
  return `${formatCount(numMarked)} of ${countOf(texts.length, 'text')} look like numbers`;
}
