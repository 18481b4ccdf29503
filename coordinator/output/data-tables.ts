// What the columns of data hold and become, and what a model consists of, as tables for people.
import type { ColumnReport, DataReport } from '../../src/inspect/data-report.ts';
import { warningsOf } from '../../src/inspect/data-report.ts';
import { quoteName, shorten } from '../../src/errors.ts';
import { formatShape } from '../../src/shape.ts';
import type { Model } from '../../src/model/model.ts';
import { countOf, formatCount, formatMetric } from '../../src/printable.ts';
import { wrapLines } from '../../src/screen.ts';
import { plainTable } from './plain-table.ts';

/** Characters of a line that are not names and values: the other columns, and the gaps between them. */
const FIXED_WIDTH = 44;
const MAX_SHOWN_COLUMNS = 200;
const MAX_SHOWN_CLASSES = 30;
const MIN_TEXT = 12;

/** A report in lines of at most `width` characters, where names allow it; ends in a newline. */
export function formatReport(report: DataReport, width: number): string {
  const { classes, columns, summary, target } = report;
  const shown = columns?.slice(0, MAX_SHOWN_COLUMNS) ?? [];
  const room = Math.max(2 * MIN_TEXT, width - FIXED_WIDTH);
  const nameWidth = Math.max(MIN_TEXT, Math.floor(room * 0.4));
  const rows = shown.map((column) => [
    shorten(oneLine(column.name), nameWidth),
    column.kind,
    formatCount(column.distinct),
    column.missing === 0 ? '' : formatCount(column.missing),
    shorten(oneLine(describeValues(column)), room - nameWidth),
    column.becomes === 'the target' && target?.isGuess ? 'target?' : column.becomes,
    column.inputs === 0 ? '' : formatCount(column.inputs),
  ]);
  const head = ['column', 'kind', '>distinct', '>missing', 'values', 'becomes', '>inputs'];
  const lines = [summary];
  if (rows.length > 0) lines.push('', plainTable(head, rows));
  if (columns && columns.length > shown.length)
    lines.push(`... and ${countOf(columns.length - shown.length, 'column')} more (--json has all)`);
  if (target?.isGuess) lines.push('', `The target is a guess: --target names another column.`);
  if (classes) lines.push('', describeClasses(classes, target?.name, width));
  const warnings = warningsOf(report);
  if (warnings.length > 0)
    lines.push('', 'look at', ...warnings.map((warning) => wrapLines(`- ${warning}`, width)));
  return `${lines.join('\n')}\n`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}

function describeValues({ kind, least, mean, most, top = [] }: ColumnReport): string {
  if (kind === 'empty') return '';
  if (typeof least === 'string' && typeof most === 'string') return `${least} .. ${most}`;
  if (typeof least === 'number' && typeof most === 'number' && mean !== undefined)
    return `${short(least)} .. ${short(most)}, mean ${short(mean)}`;
  return top.map(({ value, count }) => `${value} ${formatCount(count)}`).join(', ');
}

function short(value: number): string {
  return Number.isInteger(value)
    ? Math.abs(value) < 1e9
      ? String(value)
      : value.toExponential(2)
    : formatMetric(value);
}

function describeClasses(
  classes: NonNullable<DataReport['classes']>,
  target: string | undefined,
  width: number,
): string {
  const shown = classes
    .slice(0, MAX_SHOWN_CLASSES)
    .map(({ value, count }) => `${shorten(oneLine(value))} ${formatCount(count)}`);
  const more = classes.length > shown.length ? `, and ${classes.length - shown.length} more` : '';
  const of = target === undefined ? '' : ` of ${quoteName(target)}`;
  return wrapLines(`${countOf(classes.length, 'value')}${of}: ${shown.join(', ')}${more}`, width);
}

/** A model layer by layer: what it gives, and its parameters; ends in a newline. */
export function formatModel({ inputShape, numParameters, stack }: Model): string {
  const rows = stack.layers.map((layer, index) => [
    String(index),
    layer.describe(),
    formatShape(layer.outputShape),
    formatCount(layer.tensors.reduce((sum, { length }) => sum + length, 0)),
  ]);
  const all = [
    ['', 'input', formatShape(inputShape), ''],
    ...rows,
    ['', 'in all', '', formatCount(numParameters)],
  ];
  return `${plainTable(['layer', '', 'output', '>parameters'], all)}\n`;
}
