// Classes of a classification target: their names, their range, and which are missing where.
import type { DataConfig } from '../config/schema.ts';
import { quoteValue } from '../errors.ts';
import type { Column } from './column.ts';
import { configError, dataError, formatCount } from './data-error.ts';
import type { SplitIndices } from './dataset.ts';
import { IGNORED_LABEL } from './fold-weights.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { byCodeUnits, type FittedTarget } from './transforms.ts';

/** Most classes a softmax over them is meant for. */
export const MAX_CLASSES = 65_536;

const MAX_LISTED_CLASSES = 20;

/**
 * The classes of a target column: its distinct texts in code-unit order, or the integers 0..classes-1.
 * Names come from all rows, so that a row of the test split never lacks one; `checkClasses` tells which of
 * them training lacks.
 *
 * @throws LockstepError if a label is no class index, or if the number of classes is not `classes`.
 */
export function fitClasses(
  table: Table,
  name: string,
  { classes, ignoreIndex }: Pick<DataConfig, 'classes' | 'ignoreIndex'>,
): FittedTarget & { kind: 'labels' } {
  const column = columnOf(table, name);
  if (column.kind === 'number') {
    const classNames = indexNames(countIndexClasses(table, column, { classes, ignoreIndex }));
    return { kind: 'labels', column: name, cells: 'index', classNames };
  }
  if (ignoreIndex !== undefined) {
    const message = `data.ignoreIndex is for numbered labels; target "${name}" holds texts`;
    throw configError('E_CONFIG_CLASSES', message, 'give such rows a weight of 0 by data.weights');
  }
  const classNames = [...new Set(column.values)]
    .map((code) => column.categories[code] as string)
    .sort(byCodeUnits);
  if (classes !== undefined && classes !== classNames.length) {
    const message = `data.classes is ${classes}, target "${name}" has ${classNames.length} distinct texts`;
    throw configError('E_CONFIG_CLASSES', message, 'leave data.classes out to have them counted');
  }
  return { kind: 'labels', column: name, cells: 'text', classNames };
}

/** `0`, `1`, ...: the names of classes that are known by index only. */
export function indexNames(classes: number): string[] {
  return Array.from({ length: classes }, (_, index) => String(index));
}

function countIndexClasses(
  table: Table,
  column: Column,
  { classes, ignoreIndex }: Pick<DataConfig, 'classes' | 'ignoreIndex'>,
): number {
  const help = 'number the classes from 0, or give them names';
  const limit = classes ?? MAX_CLASSES;
  let highest = 0;
  for (let row = 0; row < table.numRows; row++) {
    const label = column.values[row] as number;
    if (label === ignoreIndex) continue;
    if (!Number.isInteger(label)) {
      const message = `label ${quoteValue(label)} is not an integer`;
      throw dataError('E_DATA_LABEL', message, { location: locateRow(table, row), help });
    }
    if (label < 0 || label >= limit) {
      const message = describeBadLabel(label, classes);
      throw dataError('E_DATA_LABEL', message, { location: locateRow(table, row), help });
    }
    highest = Math.max(highest, label);
  }
  return classes ?? highest + 1;
}

/** `label 10; valid 0..9 (classes = 10)`. */
export function describeBadLabel(label: number, classes: number | undefined): string {
  const count =
    classes === undefined ? `at most ${formatCount(MAX_CLASSES)} classes` : `classes = ${classes}`;
  return `label ${label}; valid 0..${(classes ?? MAX_CLASSES) - 1} (${count})`;
}

/**
 * Checks that training has at least two classes; warns of those that only the other splits have, and of a split of one.
 *
 * @throws LockstepError if there is only one class to learn.
 */
export function checkClasses(
  labels: Uint32Array,
  classNames: readonly string[],
  { splits, warn }: { readonly splits: SplitIndices; readonly warn: (message: string) => void },
): void {
  const trained = classesIn(labels, splits.train);
  if (trained.size === 1) {
    const [only] = trained;
    const message = `every training row is class "${classNames[only ?? 0]}"; classification needs at least two`;
    throw dataError('E_DATA_ONE_CLASS', message);
  }
  for (const split of ['validation', 'test'] as const) {
    const untrained = [...classesIn(labels, splits[split])].filter((label) => !trained.has(label));
    for (const label of untrained.sort((a, b) => a - b)) {
      warn(`class ${classNames[label]} appears in ${split}, never in train`);
    }
    const [only, ...others] = classesIn(labels, splits[split]);
    if (only === undefined || others.length > 0) continue;
    const missing = classNames.length === 2 ? ', and there is no rocAuc' : '';
    warn(`every row of ${split} is class "${classNames[only]}": its metrics say little${missing}`);
  }
}

function classesIn(labels: Uint32Array, rows: Uint32Array): Set<number> {
  const seen = new Set<number>();
  for (const row of rows) seen.add(labels[row] as number);
  seen.delete(IGNORED_LABEL);
  return seen;
}

/** @throws LockstepError naming the first row whose label is none of the classes. */
export function refuseUnknownLabels(
  table: Table,
  target: FittedTarget & { kind: 'labels' },
  ignoreIndex: number | undefined,
): void {
  const { classNames, cells, column: name } = target;
  const column = columnOf(table, name);
  const isKnownText = column.categories.map((text) => classNames.includes(text));
  const bad = column.values.findIndex((cell) => {
    if (cells === 'text') return isKnownText[cell] !== true;
    return cell !== ignoreIndex && !(Number.isInteger(cell) && cell >= 0 && cell < classNames.length);
  });
  if (bad === -1) return;
  const cell = column.values[bad] as number;
  const shown = cells === 'text' ? quoteValue(column.categories[cell]) : cell;
  const classes = classNames.slice(0, MAX_LISTED_CLASSES).join(', ');
  const message = `target "${name}" is ${shown}, which is no class of the model`;
  throw dataError('E_DATA_LABEL', message, {
    location: locateRow(table, bad),
    help: `its classes are: ${classes}${classNames.length > MAX_LISTED_CLASSES ? ', …' : ''}`,
  });
}
