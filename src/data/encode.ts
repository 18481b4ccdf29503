// Turns table columns into packed rows by fitted transforms: the same code for training data and, with
// transforms read back from a saved model, for new data.
import { sizeOf } from '../shape.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { type SourceLocation, quoteName } from '../errors.ts';
import type { Column } from './column.ts';
import { countOf, dataError } from './data-error.ts';
import type { HostMath } from '../kernels/host-math.ts';
import { IGNORED_LABEL } from './fold-weights.ts';
import {
  MISSING_CATEGORY,
  applyStep,
  categoryOf,
  refuseNonPositive,
  standardize,
  type FittedFeature,
  type FittedTarget,
  type Standardization,
} from './transforms.ts';

/** Numbers a row takes, over all features. */
export function widthOf(features: readonly FittedFeature[]): number {
  return features.reduce((width, feature) => width + featureWidth(feature), 0);
}

function featureWidth(feature: FittedFeature): number {
  switch (feature.kind) {
    case 'numeric':
      return 1;
    case 'categorical':
      return feature.categories.length;
    case 'pixels':
    case 'array':
      return sizeOf(feature.shape);
    case 'bytes':
      return feature.context;
  }
}

/** A name for every number of a row: `rooms`, `wall=brick`, `pixel[3,17]`, `byte[0]`, `value[2]`. */
export function nameFeatures(features: readonly FittedFeature[]): string[] {
  return features.flatMap((feature) => {
    switch (feature.kind) {
      case 'numeric':
        return [feature.column];
      case 'categorical':
        return feature.categories.map((category) => `${feature.column}=${category}`);
      case 'pixels':
        return Array.from(
          { length: featureWidth(feature) },
          (_, at) => `pixel${nameIndex(feature.shape, at)}`,
        );
      case 'bytes':
        return Array.from({ length: feature.context }, (_, at) => `byte[${at}]`);
      case 'array':
        return Array.from(
          { length: featureWidth(feature) },
          (_, at) => `value${nameIndex(feature.shape, at)}`,
        );
    }
  });
}

/** `[3,17]`: the place of a value in its sample. */
export function nameIndex(shape: readonly number[], at: number): string {
  let rest = at;
  const indices = shape.toReversed().map((side) => {
    const index = rest % side;
    rest = Math.floor(rest / side);
    return index;
  });
  return `[${indices.toReversed().join(',')}]`;
}

/**
 * Fills `rows` [numRows, width] with the features of a table. Texts that training never saw become zeros,
 * with one warning a column.
 *
 * @throws LockstepError if a cell is missing that the transforms cannot fill.
 */
export function encodeFeatures(
  table: Table,
  features: readonly FittedFeature[],
  { rows, warn }: { readonly rows: Float32Array; readonly warn: (message: string) => void },
): void {
  const width = widthOf(features);
  let offset = 0;
  for (const feature of features) {
    const slots = { rows, width, offset };
    if (feature.kind === 'numeric') encodeNumbers(table, feature, slots);
    if (feature.kind === 'categorical') {
      const numUnseen = encodeCategories(columnOf(table, feature.column), feature.categories, slots);
      const found = `${countOf(numUnseen, 'row')} with a value that training never saw`;
      if (numUnseen > 0) warn(`column ${quoteName(feature.column)}: ${found}; encoded as zeros`);
    }
    offset += featureWidth(feature);
  }
}

/** Where a column's numbers go: from `offset` in each row of `width`. */
interface Slots {
  readonly rows: Float32Array;
  readonly width: number;
  readonly offset: number;
}

function encodeNumbers(table: Table, feature: FittedFeature & { kind: 'numeric' }, slots: Slots): void {
  const { rows, width, offset } = slots;
  const column = columnOf(table, feature.column);
  for (let row = 0; row < column.values.length; row++) {
    const cell = column.values[row] as number;
    const value = Number.isNaN(cell) ? fillIn(feature) : cell;
    const at = row * width + offset;
    rows[at] = standardize(value, feature);
    if (!Number.isFinite(rows[at])) {
      throw tooFar(`column ${quoteName(feature.column)} is ${value}`, feature, locateRow(table, row));
    }
  }
}

/** Held-out values can be so many deviations from the mean that float32 has no room for them. */
export function tooFar(found: string, { mean, scale }: Standardization, location?: SourceLocation): Error {
  const range = `the training rows have mean ${mean}, deviation ${scale}`;
  const message = `${found}; standardized it does not fit float32 (max 3.4e38): ${range}`;
  return dataError('E_DATA_OVERFLOW', message, { location, help: 'correct the value, or leave its row out' });
}

function fillIn(feature: FittedFeature & { kind: 'numeric' }): number {
  if (feature.fill !== null) return feature.fill;
  const message = `column ${quoteName(feature.column)} has missing cells; the model was trained without any`;
  throw dataError('E_DATA_MISSING', message, { help: 'fill them in, or train with data.missing: mean' });
}

/** Returns the number of rows whose text has no slot. */
function encodeCategories(column: Column, categories: readonly string[], slots: Slots): number {
  const { rows, width, offset } = slots;
  const slotOf = new Map(categories.map((category, slot) => [category, slot]));
  const slotOfCode = column.categories.map((category) => slotOf.get(category));
  const slotOfMissing = slotOf.get(MISSING_CATEGORY);
  let numUnseen = 0;
  for (let row = 0; row < column.values.length; row++) {
    const code = column.values[row] as number;
    const slot = Number.isNaN(code) ? slotOfMissing : slotOfCode[code];
    if (slot === undefined) numUnseen += 1;
    else rows[row * width + offset + slot] = 1;
  }
  return numUnseen;
}

/**
 * Fills `out` [numRows, target columns] with transformed targets.
 *
 * @throws LockstepError if a value has no logarithm.
 */
export function encodeTargetValues(
  table: Table,
  target: FittedTarget & { kind: 'values' },
  { out, math, isSaved }: { readonly out: Float32Array; readonly math: HostMath; readonly isSaved: boolean },
): void {
  const rows = Uint32Array.from({ length: table.numRows }, (_, row) => row);
  const width = target.columns.length;
  for (const [at, { column, steps }] of target.columns.entries()) {
    let cells = columnOf(table, column).values;
    for (const step of steps) {
      if (step.kind === 'log') refuseNonPositive(table, column, { rows, cells, isSaved });
      const before = cells;
      cells = cells.map((value) => applyStep(step, value, math));
      const far = cells.findIndex((value) => !Number.isFinite(Math.fround(value)));
      if (far !== -1 && step.kind === 'standardize') {
        throw tooFar(`target ${quoteName(column)} is ${before[far]}`, step, locateRow(table, far));
      }
    }
    for (let row = 0; row < table.numRows; row++) out[row * width + at] = cells[row] as number;
  }
}

/** The class index of every row, `IGNORED_LABEL` for `ignoreIndex`; `classNames` has every text that occurs. */
export function encodeLabels(
  table: Table,
  target: FittedTarget & { kind: 'labels' },
  ignoreIndex?: number,
): Uint32Array {
  const column = columnOf(table, target.column);
  if (target.cells === 'index') {
    return Uint32Array.from(column.values, (label) => (label === ignoreIndex ? IGNORED_LABEL : label));
  }
  const indexOf = new Map(target.classNames.map((name, index) => [name, index]));
  return Uint32Array.from(
    { length: table.numRows },
    (_, row) => indexOf.get(categoryOf(column, row)) as number,
  );
}
