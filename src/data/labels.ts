// Classes of a classification target: their names, their range, and which are missing where.
import type { DataConfig } from '../config/schema.ts';
import { quoteValue, type SourceLocation, listNames, quoteName } from '../errors.ts';
import type { Column } from './column.ts';
import { configError, dataError, formatCount } from './data-error.ts';
import type { SplitIndices } from './dataset.ts';
import { IGNORED_LABEL } from './fold-weights.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { byCodeUnits, type FittedTarget } from './transforms.ts';

/** Most classes a softmax over them is meant for. */
export const MAX_CLASSES = 65_536;

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
    const message = `data.ignoreIndex is for numbered labels; target ${quoteName(name)} holds texts`;
    throw configError('E_CONFIG_CLASSES', message, 'give such rows a weight of 0 by data.weights');
  }
  const classNames = [...new Set(column.values)]
    .map((code) => column.categories[code] as string)
    .sort(byCodeUnits);
  if (classes !== undefined && classes !== classNames.length) {
    const message = `data.classes is ${classes}, target ${quoteName(name)} has ${classNames.length} distinct texts`;
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
  const labels = column.values.filter((label) => label !== ignoreIndex);
  const range = rangeOf(labels);
  const isOutside = (label: number): boolean => label < 0 || label >= (classes ?? MAX_CLASSES);
  for (let row = 0; row < table.numRows; row++) {
    const label = column.values[row] as number;
    if (label === ignoreIndex) continue;
    const location = (): SourceLocation => locateRow(table, row);
    if (!Number.isInteger(label)) {
      const message = `label ${quoteValue(label)} is not an integer`;
      throw dataError('E_DATA_LABEL', message, { location: location(), help });
    }
    if (!isOutside(label)) continue;
    const message = describeBadLabel(label, classes, range);
    const fromOne = isFromOne(classes, range) ? helpForLabelsFromOne(classes + 1) : help;
    throw dataError('E_DATA_LABEL', message, { location: location(), help: fromOne });
  }
  return classes ?? range.highest + 1;
}

/** The least and the greatest label. */
export interface LabelRange {
  readonly lowest: number;
  readonly highest: number;
}

/** The least and the greatest of some labels; 0 and 0 of none. */
export function rangeOf(labels: Iterable<number>): LabelRange {
  let [lowest, highest] = [Number.POSITIVE_INFINITY, 0];
  for (const label of labels) {
    if (label < lowest) lowest = label;
    if (label > highest) highest = label;
  }
  return { lowest: Math.min(lowest, highest), highest };
}

/** `label 10; valid 0..9 (classes = 10)`, and that labels were numbered from 1 if so. */
export function describeBadLabel(label: number, classes: number | undefined, range: LabelRange): string {
  const count =
    classes === undefined ? `at most ${formatCount(MAX_CLASSES)} classes` : `classes = ${classes}`;
  const found = `label ${label}; valid 0..${(classes ?? MAX_CLASSES) - 1} (${count})`;
  return isFromOne(classes, range) ? `${found}; the labels run from 1 to ${classes}` : found;
}

/** Whether as many classes as there are were numbered from 1. */
export function isFromOne(classes: number | undefined, { lowest, highest }: LabelRange): classes is number {
  return lowest === 1 && highest === classes;
}

/** Two ways that both train: the second has a class that never occurs. */
export function helpForLabelsFromOne(numClasses: number): string {
  return (
    'number the classes from 0, or have one class more, which never occurs: ' +
    `set data.classes: ${numClasses}, and let the last layer give ${numClasses}`
  );
}

/**
 * Checks that training has at least two classes; warns of those that only the other splits have, of those that none has,
 * and of a split of one.
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
    const message = `every training row is class ${quoteName(classNames[only ?? 0] as string)}; classification needs at least two`;
    throw dataError('E_DATA_ONE_CLASS', message);
  }
  for (const split of ['validation', 'test'] as const) {
    const untrained = [...classesIn(labels, splits[split])].filter((label) => !trained.has(label));
    const [only, ...others] = classesIn(labels, splits[split]);
    if (only !== undefined && others.length === 0) {
      const missing = classNames.length === 2 ? ', and there is no rocAuc' : '';
      warn(
        `every row of ${split} is class ${quoteName(classNames[only] as string)}: its metrics say little${missing}`,
      );
    }
    if (untrained.length === 0) continue;
    const names = untrained.sort((a, b) => a - b).map((label) => classNames[label] as string);
    const [noun, verb] = names.length === 1 ? ['class', 'appears'] : ['classes', 'appear'];
    warn(`${noun} ${listNames(names)} ${verb} in ${split}, never in train`);
  }
  warnAboutGhosts(labels, classNames, warn);
}

/** Classes that no row has: numbers that were left out, labels from 1, or a single label that is far too high. */
function warnAboutGhosts(
  labels: Uint32Array,
  classNames: readonly string[],
  warn: (message: string) => void,
): void {
  const occurring = new Set(labels);
  occurring.delete(IGNORED_LABEL);
  const ghosts = classNames.filter((_, label) => !occurring.has(label));
  if (ghosts.length === 0) return;
  const { lowest, highest } = rangeOf(occurring);
  if (lowest > 0 && ghosts.length === lowest) {
    warn(
      `class ${listNames(ghosts)} never occurs: the labels run from ${lowest} to ${highest}; ` +
        'numbered from 0 they need no such outputs',
    );
    return;
  }
  const [noun, verb] = ghosts.length === 1 ? ['class', 'occurs'] : ['classes', 'occur'];
  warn(`${noun} ${listNames(ghosts)} of ${formatCount(classNames.length)} never ${verb} in the data`);
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
  const message = `target ${quoteName(name)} is ${shown}, which is no class of the model`;
  throw dataError('E_DATA_LABEL', message, {
    location: locateRow(table, bad),
    help: `its classes are: ${listNames(classNames)}`,
  });
}
