// Targets and sample weights of a table, encoded into their blocks of the dataset: the same for tables
// from files and for arrays.
import type { Config } from '../../config/schema.ts';
import { checkClasses, IGNORED_LABEL } from '../dataset/class-labels.ts';
import type { PackedRows, PackRequest } from '../dataset/load-request.ts';
import { targetView, type RowLayout, type SplitIndices } from '../dataset/packed-dataset.ts';
import { classWeightsOf, foldSampleWeights, wantsSampleWeights } from '../dataset/sample-weights.ts';
import { applyStep, tooFar, type FittedTarget } from '../dataset/transforms.ts';
import { categoryOf } from './column.ts';
import { refuseNonPositive } from './fit-target.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { quoteName, configError, dataError } from '../../errors.ts';
import type { HostMath } from '../../kernels/host-math.ts';

type TargetLayout = Pick<RowLayout, 'targetKind' | 'targetWidth' | 'numClasses' | 'hasSampleWeights'>;

/** Lays out targets and sample weights. */
export function layOutTargets(target: FittedTarget, config: Config): TargetLayout {
  // One output tells two classes apart, so binary labels are values to fit.
  const isLabels = config.loss.kind === 'crossEntropy' && target.kind === 'labels';
  const width = target.kind === 'labels' ? 1 : target.columns.length;
  return {
    targetKind: isLabels ? 'labels' : 'values',
    targetWidth: width * (target.positions ?? 1),
    numClasses: isLabels ? target.classNames.length : 0,
    hasSampleWeights: wantsSampleWeights(config),
  };
}

/**
 * Fills the blocks of targets and sample weights; returns what metrics need besides, and the weights
 * of classes. Rows of `table` and `splits` are positions where samples have several.
 */
export function packTargets(
  blob: Uint8Array,
  parts: {
    readonly table: Table;
    readonly layout: RowLayout;
    readonly target: FittedTarget;
    readonly splits: SplitIndices;
    /** The table of sample weights, if it is another. */
    readonly samples?: Table | undefined;
    readonly request: PackRequest;
  },
): Pick<PackedRows, 'classWeights' | 'sampleWeights' | 'targetValues'> {
  const { table, layout, splits, target, samples = table } = parts;
  const { config, fitted, math, warn } = parts.request;
  const rows = readSampleWeights(samples, config.data.weights);
  if (target.kind === 'values') {
    const out = targetView({ layout, blob }) as Float32Array;
    encodeTargetValues(table, target, { out, math, isSaved: fitted !== undefined });
    // Copies, for a column's own buffer may be twice as long.
    const targetValues = target.columns.map(({ column }) => columnOf(table, column).values.slice());
    return { sampleWeights: foldSampleWeights(blob, layout, { rows }), targetValues };
  }
  const { classNames } = target;
  const labels = encodeLabels(table, target, config.data.ignoreIndex);
  if (!fitted) checkClasses(labels, classNames, { splits, warn });
  const classWeights = fitted
    ? fitted.classWeights
    : classWeightsOf(config.classWeights, { classNames, labels, splits });
  const sampleWeights = foldSampleWeights(blob, layout, { rows, labels, classes: classWeights });
  targetView({ layout, blob }).set(labels);
  return { classWeights, sampleWeights, targetValues: [] };
}

/**
 * Fills `out` [numRows, target columns] with transformed targets.
 *
 * @throws LockstepError if a value has no logarithm.
 */
function encodeTargetValues(
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

/**
 * The class index of every row, `IGNORED_LABEL` for `ignoreIndex`; `classNames` has every text that
 * occurs.
 */
function encodeLabels(
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

/** Maximum weight: larger ones leave no room for the others in a float32 sum. */
const MAX_WEIGHT = 1e9;

/**
 * Reads and checks the column of sample weights.
 *
 * @throws LockstepError naming the first row whose cell is not a weight
 */
function readSampleWeights(table: Table, name: string | undefined): Float64Array | undefined {
  if (name === undefined) return undefined;
  const { kind, values } = columnOf(table, name);
  if (kind === 'text')
    throw configError('E_CONFIG_COLUMN', `data.weights: column ${quoteName(name)} holds texts`);
  const bad = values.findIndex((value) => !(value >= 0 && value <= MAX_WEIGHT));
  if (bad !== -1) {
    const message = `column ${quoteName(name)}: weight ${values[bad]}; expected 0 to ${MAX_WEIGHT}`;
    throw dataError('E_DATA_WEIGHTS', message, { location: locateRow(table, bad) });
  }
  return values;
}
