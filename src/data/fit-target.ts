// What the target columns of a table are to the loss: numbers, class labels, or a yes or no.
import { quoteName } from '../errors.ts';
import type { Config } from '../config/schema.ts';
import { configError, dataError } from './data-error.ts';
import type { SplitIndices } from './dataset.ts';
import type { LoadRequest } from './packed-rows.ts';
import { fitClasses, indexNames, refuseUnknownLabels } from './labels.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { byCodeUnits, fitTargetValues, type FittedTarget } from './transforms.ts';

/** What fitting a target depends on. */
interface TargetRequest extends LoadRequest {
  readonly names: readonly string[];
  readonly splits: SplitIndices;
}

/**
 * Fits the target columns, or checks those of new rows against what was fitted.
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

/** Two texts, the second in the order of their code units being the yes, or the numbers 0 and 1; else undefined. */
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

/** They would weigh nothing, in silence. */
function refuseClassWeights({ classWeights }: Config, name: string): void {
  if (classWeights === undefined) return;
  const message = `classWeights weigh two classes; target ${quoteName(name)} holds other numbers than 0 and 1`;
  throw configError('E_CONFIG_CLASS_WEIGHTS', message, 'remove it, or weigh rows by data.weights');
}

/** `numTargets` are those of a config; new rows of a trained model have none to set a loss for. */
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
