// Target columns of a table, fitted for the loss: numbers, class labels, or a yes or no.
import type { Config, DataConfig } from '../../config/schema.ts';
import {
  describeBadLabel,
  helpForLabelsFromOne,
  indexNames,
  isFromOne,
  MAX_CLASSES,
  rangeOf,
} from '../dataset/class-labels.ts';
import type { PackRequest } from '../dataset/load-request.ts';
import type { SplitIndices } from '../dataset/packed-dataset.ts';
import {
  applyStep,
  byCodeUnits,
  describeValues,
  type FittedTarget,
  type TargetStep,
} from '../dataset/transforms.ts';
import type { Column } from './column.ts';
import type { ColumnRoles } from './plan-columns.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import {
  listNames,
  quoteName,
  quoteValue,
  type SourceLocation,
  configError,
  dataError,
} from '../../errors.ts';
import type { HostMath } from '../../kernels/host-math.ts';
import { countOf } from '../../printable.ts';

/** Everything that fitting a target depends on. */
interface TargetRequest extends PackRequest {
  readonly names: readonly string[];
  readonly splits: SplitIndices;
}

/**
 * Fits the target columns, or checks those of new rows against what was fitted.
 *
 * @throws LockstepError if they are not what the loss takes, or what the model was trained on
 */
export function fitTarget(table: Table, request: TargetRequest): FittedTarget {
  const { config, fitted, names, splits } = request;
  if (fitted) {
    checkTarget(table, fitted.transforms.target, config);
    return fitted.transforms.target;
  }
  const { loss, data } = config;
  if (loss.kind === 'crossEntropy') return fitClasses(table, names[0] as string, data);
  if (loss.kind === 'binaryCrossEntropy') {
    const classes = names.length === 1 ? fitTwoClasses(table, names[0] as string) : undefined;
    if (classes) return classes;
    refuseClassWeights(config, names[0] as string);
    for (const name of names) refuseImprobable(table, name, names.length);
  }
  refuseTextTargets(table, names, loss.kind);
  const target = fitTargetValues(table, splits.train, { ...request, steps: data.targetTransform });
  const isBinary =
    loss.kind === 'binaryCrossEntropy' && names.every((name) => columnOf(table, name).values.every(isLabel));
  return isBinary ? { ...target, isBinary } : target;
}

function isLabel(value: number): boolean {
  return value === 0 || value === 1;
}

function checkTarget(table: Table, target: FittedTarget, { loss, data }: Config): void {
  if (target.kind === 'labels') return refuseUnknownLabels(table, target, data.ignoreIndex);
  if (loss.kind !== 'binaryCrossEntropy') return;
  for (const { column } of target.columns) {
    if (target.isBinary) refuseUncertain(table, column);
    else refuseImprobable(table, column);
  }
}

/**
 * Fits a target of two texts, the second of which in code-unit order is the yes, or of the numbers 0
 * and 1; undefined for other numbers.
 */
function fitTwoClasses(table: Table, name: string): (FittedTarget & { kind: 'labels' }) | undefined {
  const column = columnOf(table, name);
  if (column.kind === 'number') {
    return column.values.every(isLabel)
      ? { kind: 'labels', column: name, cells: 'index', classNames: indexNames(2) }
      : undefined;
  }
  const classNames = [...new Set(column.values)]
    .map((code) => column.categories[code] as string)
    .sort(byCodeUnits);
  if (classNames.length === 2) return { kind: 'labels', column: name, cells: 'text', classNames };
  const message = `target ${quoteName(name)} has ${classNames.length} distinct texts; binaryCrossEntropy takes two`;
  throw configError('E_CONFIG_CLASSES', message, 'set loss: crossEntropy for more classes');
}

/** Refuses class weights that would silently do nothing. */
function refuseClassWeights({ classWeights }: Config, name: string): void {
  if (classWeights === undefined) return;
  const message = `classWeights weigh two classes; target ${quoteName(name)} holds other numbers than 0 and 1`;
  throw configError('E_CONFIG_CLASS_WEIGHTS', message, 'remove it, or weigh rows by data.weights');
}

/**
 * Refuses numbers that are not probabilities. `numTargets` is undefined for a trained model, whose
 * loss cannot be changed.
 */
function refuseImprobable(table: Table, name: string, numTargets?: number): void {
  const { kind, values } = columnOf(table, name);
  if (kind === 'text') return;
  const bad = values.findIndex((value) => !(value >= 0 && value <= 1));
  if (bad === -1) return;
  const message = `target ${quoteName(name)} is ${values[bad]}; binaryCrossEntropy takes numbers from 0 to 1, or two texts`;
  const others = numTargets === 1 ? '; for more, set loss: crossEntropy' : '';
  const isClass = numTargets !== undefined && Number.isInteger(values[bad]);
  const help = isClass ? `number two classes 0 and 1${others}` : undefined;
  throw dataError('E_DATA_LABEL', message, { location: locateRow(table, bad), help });
}

function refuseUncertain(table: Table, name: string): void {
  const { values } = columnOf(table, name);
  const bad = values.findIndex((value) => !isLabel(value));
  if (bad === -1) return;
  const message = `target ${quoteName(name)} is ${values[bad]}; the model was trained on labels, which are 0 or 1`;
  throw dataError('E_DATA_LABEL', message, { location: locateRow(table, bad) });
}

function refuseTextTargets(table: Table, targets: readonly string[], loss: string): void {
  const name = targets.find((target) => columnOf(table, target).kind === 'text');
  if (name === undefined) return;
  const message = `target ${quoteName(name)} holds texts; loss ${loss} needs numbers`;
  throw configError('E_CONFIG_TARGET', message, 'set loss: crossEntropy to predict classes');
}

/**
 * Fits each target column's steps on the rows in `train`, one after another. Warns about targets with
 * only one value.
 */
function fitTargetValues(
  table: Table,
  train: Uint32Array,
  options: {
    readonly names: ColumnRoles['targets'];
    readonly steps: DataConfig['targetTransform'];
    readonly math: HostMath;
    readonly warn: (message: string) => void;
  },
): FittedTarget & { kind: 'values' } {
  const constant: string[] = [];
  const columns = options.names.map((column) => {
    const values = columnOf(table, column).values;
    let cells = Float64Array.from(train, (row) => values[row] as number);
    if (describeValues(cells).scale === 0) constant.push(column);
    const steps = options.steps.map((kind): TargetStep => {
      const step: TargetStep = kind === 'log' ? { kind } : { kind, ...describeValues(cells) };
      if (step.kind === 'log') refuseNonPositive(table, column, { rows: train, cells });
      cells = cells.map((value) => applyStep(step, value, options.math));
      return step;
    });
    return { column, steps };
  });
  if (constant.length > 0) options.warn(`${listTargets(constant)} one value in the training split`);
  return { kind: 'values', columns };
}

/** Names the first target and counts the others: an array may have hundreds. */
function listTargets(names: readonly string[]): string {
  const others = names.length > 1 ? ` and ${countOf(names.length - 1, 'other target')} have` : ' has';
  return `target ${quoteName(names[0] as string)}${others}`;
}

/**
 * Refuses values without a logarithm.
 *
 * @throws LockstepError naming the first such row
 */
export function refuseNonPositive(
  table: Table,
  column: string,
  {
    rows,
    cells,
    isSaved = false,
  }: { readonly rows: Uint32Array; readonly cells: Float64Array; readonly isSaved?: boolean },
): void {
  const at = cells.findIndex((value) => value <= 0);
  if (at === -1) return;
  const location = locateRow(table, rows[at] as number);
  const message = `target ${quoteName(column)} is ${cells[at]}; targetTransform log needs values above 0`;
  throw dataError('E_DATA_LOG', message, {
    location,
    help: isSaved ? 'correct the cell, or leave its row out' : 'leave log out of data.targetTransform',
  });
}

/**
 * The classes of a target column: its distinct texts in code-unit order, or the integers 0..classes-1.
 * Names come from all rows, so that a row of the test split never lacks one; `checkClasses` tells which of
 * them training lacks.
 *
 * @throws LockstepError if a label is no class index, or if the number of classes is not `classes`.
 */
function fitClasses(
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
    const ignoring = label < 0 ? `${help}; one that is not to count is data.ignoreIndex: ${label}` : help;
    const fromOne = isFromOne(classes, range) ? helpForLabelsFromOne(classes + 1) : ignoring;
    throw dataError('E_DATA_LABEL', message, { location: location(), help: fromOne });
  }
  return classes ?? range.highest + 1;
}

/**
 * Refuses labels that are none of the classes.
 *
 * @throws LockstepError naming the first such row
 */
function refuseUnknownLabels(
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
  const message = `target ${quoteName(name)} is ${shown}, which is not a class of the model`;
  throw dataError('E_DATA_LABEL', message, {
    location: locateRow(table, bad),
    help: `its classes are: ${listNames(classNames)}`,
  });
}
