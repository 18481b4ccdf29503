// What is learnt from the training split to turn cells into numbers, as plain JSON that is saved with the
// model. Fitting is here; applying it to rows is in encode.ts.
import type { DataConfig } from '../config/schema.ts';
import { quoteValue, quoteName } from '../errors.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { leaveOut, type Column } from './column.ts';
import type { ColumnRoles } from './column-roles.ts';
import { countOf, dataError, formatCount } from './data-error.ts';
import { isDate } from './marked-numbers.ts';
import { planMissing } from './missing-rules.ts';
import type { HostMath } from '../kernels/host-math.ts';
import type { Shape } from '../shape.ts';

/** Stands for a missing cell among categories; no cell's own text is empty. */
export const MISSING_CATEGORY = '';

/** How one column becomes one or more features. */
export type FittedFeature =
  | {
      readonly kind: 'numeric';
      readonly column: string;
      readonly mean: number;
      /** Divides; 0 marks a constant column, which becomes 0. */
      readonly scale: number;
      /** Takes the place of a missing cell; null where none is allowed. */
      readonly fill: number | null;
    }
  | {
      readonly kind: 'categorical';
      readonly column: string;
      /** One feature each, 1 where the cell is that text; other texts give zeros. */
      readonly categories: readonly string[];
    }
  | {
      readonly kind: 'pixels';
      /** Height, width and, if there are any, channels. */
      readonly shape: readonly number[];
      readonly scale: number;
    }
  | {
      readonly kind: 'bytes';
      /** Bytes of a sample. */
      readonly context: number;
    }
  | {
      readonly kind: 'array';
      /** Of a sample. */
      readonly shape: Shape;
      /** Multiplies bytes; null where samples are numbers. */
      readonly byteScale: number | null;
      /** Of each value of a sample; null where values are taken as they are. */
      readonly standardized: readonly Standardization[] | null;
    };

/** A value becomes (value - mean) / scale; scale 0 marks a value that is constant, which becomes 0. */
export interface Standardization {
  readonly mean: number;
  readonly scale: number;
}

/** One step of a target transform; a constant target is standardised with scale 0, to 0. */
export type TargetStep =
  { readonly kind: 'log' } | { readonly kind: 'standardize'; readonly mean: number; readonly scale: number };

/** How the target columns become values to fit, or class indices. */
export type FittedTarget =
  | {
      readonly kind: 'values';
      readonly columns: readonly { readonly column: string; readonly steps: readonly TargetStep[] }[];
      /** Whether each number is a label that is there (1) or not (0), and not a probability: binaryCrossEntropy only. */
      readonly isBinary?: true | undefined;
    }
  | {
      readonly kind: 'labels';
      readonly column: string;
      /** `text`: a cell is a class name; `index`: it is the class index itself. */
      readonly cells: 'text' | 'index';
      readonly classNames: readonly string[];
    };

/** Everything needed to encode new rows as the training rows were, and to read predictions back. */
export interface FittedTransforms {
  readonly features: readonly FittedFeature[];
  readonly target: FittedTarget;
}

/** Fits the features on the rows in `train`. Warns of columns that teach nothing: of one value, or of one a row. */
export function fitFeatures(
  table: Table,
  train: Uint32Array,
  options: {
    readonly names: ColumnRoles['features'];
    readonly data: Pick<DataConfig, 'standardize' | 'missing' | 'categorical' | 'features'>;
    readonly warn: (message: string) => void;
  },
): FittedFeature[] {
  const features = options.names.map((name) => {
    const column = columnOf(table, name);
    if (column.kind === 'text') return fitCategories(column, train);
    return fitNumeric(column, train, options);
  });
  warnAboutIdentifiers(features, train.length, options);
  return features;
}

/** A category of fewer than this share of rows says something about more than one of them. */
const IDENTIFIER_SHARE = 0.9;
/** Among fewer rows or dates nothing can be told. */
const MIN_IDENTIFIERS = 10;
const MAX_SHOWN_COLUMNS = 10;

/** Warns, once for all columns, of texts that are another one in nearly every row, and of dates. */
function warnAboutIdentifiers(
  features: readonly FittedFeature[],
  numRows: number,
  { data, warn }: Parameters<typeof fitFeatures>[2],
): void {
  const found = features.flatMap((feature) => {
    if (feature.kind !== 'categorical' || data.categorical.includes(feature.column)) return [];
    const texts = feature.categories.filter((text) => text !== MISSING_CATEGORY);
    if (texts.length < MIN_IDENTIFIERS) return [];
    const areDates = texts.every(isDate);
    if (!areDates && texts.length < IDENTIFIER_SHARE * numRows) return [];
    return [
      `${quoteName(feature.column)} (${formatCount(texts.length)} ${areDates ? 'dates' : 'texts'}, such as ${quoteValue(texts[0])})`,
    ];
  });
  if (found.length === 0) return;
  const shown =
    found.slice(0, MAX_SHOWN_COLUMNS).join(', ') + (found.length > MAX_SHOWN_COLUMNS ? ', …' : '');
  const columns = found.length === 1 ? 'column' : 'columns';
  warn(
    `${columns} ${shown} in ${countOf(numRows, 'training row')}: each text becomes a feature, which new rows will not have. ` +
      `Names, identifiers and dates teach nothing so: ${leaveOut('them', { isListed: data.features !== undefined })}, ` +
      'or write what matters of them as numbers',
  );
}

function fitCategories(column: Column, train: Uint32Array): FittedFeature {
  const seen = new Set<string>();
  for (const row of train) seen.add(categoryOf(column, row));
  return { kind: 'categorical', column: column.name, categories: [...seen].sort(byCodeUnits) };
}

/** The text of a cell in a text column. */
export function categoryOf(column: Column, row: number): string {
  const code = column.values[row] as number;
  return Number.isNaN(code) ? MISSING_CATEGORY : (column.categories[code] as string);
}

/** The same order in every locale. */
export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function fitNumeric(
  column: Column,
  train: Uint32Array,
  { data, warn }: Parameters<typeof fitFeatures>[2],
): FittedFeature {
  const cells = gatherPresent(column.values, train);
  if (cells.length === 0) {
    const help = leaveOut('it', { isListed: data.features !== undefined });
    throw dataError('E_DATA_MISSING', `column ${quoteName(column.name)} is empty in the training split`, {
      help,
    });
  }
  const { mean, scale } = describeValues(cells);
  const fill = planMissing(data.missing, column.name, true).missing === 'mean' ? mean : null;
  if (!data.standardize) return { kind: 'numeric', column: column.name, mean: 0, scale: 1, fill };
  if (scale === 0) {
    warn(`column ${quoteName(column.name)} has one value (${mean}) in the training split; standardised to 0`);
  }
  return { kind: 'numeric', column: column.name, mean, scale, fill };
}

/** Fits each target column's steps on the rows in `train`, one after the other. Warns of targets that hold one value only. */
export function fitTargetValues(
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

/** An array may have hundreds of targets. */
function listTargets(names: readonly string[]): string {
  const others = names.length > 1 ? ` and ${countOf(names.length - 1, 'other target')} have` : ' has';
  return `target ${quoteName(names[0] as string)}${others}`;
}

/** @throws LockstepError naming the first row whose value has no logarithm. */
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

/** One step of a target transform, in float64. */
export function applyStep(step: TargetStep, value: number, math: HostMath): number {
  return step.kind === 'log' ? math.log(value) : standardize(value, step);
}

/** (value - mean) / scale, and 0 where the scale is 0. */
export function standardize(value: number, { mean, scale }: Standardization): number {
  return scale === 0 ? 0 : (value - mean) / scale;
}

/** Turns a prediction of target `column` (by index) back into the target's own unit, in float64. */
export function inverseTarget(
  fitted: FittedTransforms,
  column: number,
  value: number,
  math: HostMath,
): number {
  if (fitted.target.kind === 'labels') return value;
  const steps = fitted.target.columns[column]?.steps ?? [];
  return steps.reduceRight(
    (inverted, step) => (step.kind === 'log' ? math.exp(inverted) : inverted * step.scale + step.mean),
    value,
  );
}

function gatherPresent(values: Float64Array, rows: Uint32Array): Float64Array {
  return Float64Array.from(rows, (row) => values[row] as number).filter((value) => !Number.isNaN(value));
}

/** Float64 holds 53 bits of a value: some hundred roundings cannot move it by more than this share. */
const ROUNDING = 2 ** -44;
/** The same of float32, whose 24 bits leave less room between rounding and meaning. */
const ROUNDING_OF_FLOAT32 = 2 ** -22;

/**
 * Mean and population deviation, summed in the order given. Values that differ by no more than the rounding of the largest
 * count as one value: its mean, and exactly 0. Held-out values would else be divided by noise.
 */
export function describeValues(values: Float64Array, areFloat32 = false): Standardization {
  const first = values[0] as number;
  let [least, most, sum] = [first, first, 0];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
    sum += value;
  }
  if (least === most) return { mean: first, scale: 0 };
  const mean = sum / values.length;
  const rounding = areFloat32 ? ROUNDING_OF_FLOAT32 : ROUNDING;
  if (most - least <= rounding * Math.max(Math.abs(least), Math.abs(most))) return { mean, scale: 0 };
  let squares = 0;
  for (const value of values) squares += (value - mean) * (value - mean);
  return { mean, scale: Math.sqrt(squares / values.length) };
}
