// The predictions that need no model: the mean of the training targets, or the most frequent class. A
// model is worth what it gains over them. Fitted to the training split, measured on the test split.
import { sampleWeightWidth, targetView, type SplitIndices } from '../../src/data/dataset/packed-dataset.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { regressionMetrics } from '../../src/metrics/regression.ts';
import { ratio, totalOf, weigh } from '../../src/metrics/weighting.ts';
import { treeSum } from '../../src/tree.ts';
import { cellsOf } from '../../src/data/dataset/split.ts';
import { predictionKindOf, weightsOfCells, type MeasureOptions } from './measure.ts';

/** The metrics that a prediction without a model has on the test split. */
export type Baseline = MeanBaseline | MajorityBaseline;

/** Metrics of always predicting the mean of the training targets, averaged over target columns. */
export interface MeanBaseline {
  /** Tells it from the most frequent class. */
  readonly kind: 'mean';
  /** Root mean squared error. */
  readonly rmse: number;
  /** Mean absolute error. */
  readonly mae: number;
  /** Coefficient of determination. */
  readonly r2: number;
}

/** Metrics of always predicting the most frequent class of the training split. */
export interface MajorityBaseline {
  /** Tells it from the mean. */
  readonly kind: 'majority';
  /** Share of rows that are of that class. */
  readonly accuracy: number;
  /** The class that is always predicted; absent where each of several labels has its own. */
  readonly className?: string | undefined;
}

/** Measures the baseline; undefined without a test split. */
export function measureBaseline(run: Pick<MeasureOptions, 'config' | 'data'>): Baseline | undefined {
  const { data } = run;
  if (data.splits.test.length === 0) return undefined;
  if (data.dataset.layout.targetKind === 'labels') return majorityOfClasses(data);
  return predictionKindOf(run) === 'labels' ? majorityOfLabels(data) : meanOfTargets(data);
}

/** A target as the model is trained on it. */
export interface TargetSize {
  readonly name: string;
  /** Root mean square over the training split. */
  readonly size: number;
}

/** The target with the largest values, in the units that are trained on; undefined for classes and labels. */
export function largestTarget(run: Pick<MeasureOptions, 'config' | 'data'>): TargetSize | undefined {
  if (predictionKindOf(run) !== 'values') return undefined;
  const { dataset, splits, targetNames, transforms } = run.data;
  const targets = targetView(dataset);
  const cells = cellsOf(splits.train, transforms.target.positions ?? 1);
  const sizes = targetNames.map((name, column) => {
    const values = Float64Array.from(cells, (cell) => targets[cell * targetNames.length + column]!);
    const squares = values.map((value) => value * value);
    return { name, size: Math.sqrt(treeSum(squares) / squares.length) };
  });
  return sizes.reduce((largest, target) => (target.size > largest.size ? target : largest));
}

function meanOfTargets(data: LoadedData): Baseline {
  const { sampleWeights, splits, targetValues, transforms } = data;
  const { positions = 1 } = transforms.target;
  const weightsOf = (rows: Uint32Array): Float32Array | undefined =>
    weightsOfCells(sampleWeights && Float32Array.from(rows, (row) => sampleWeights[row]!), data);
  const [trainWeights, testWeights] = [weightsOf(splits.train), weightsOf(splits.test)];
  const [trainCells, testCells] = [cellsOf(splits.train, positions), cellsOf(splits.test, positions)];
  const columns = targetValues.map((values) => {
    const known = Float64Array.from(trainCells, (cell) => values[cell]!);
    const mean = treeSum(weigh(known, trainWeights)) / totalOf(trainWeights, known.length);
    const actual = Float64Array.from(testCells, (cell) => values[cell]!);
    return { actual, predicted: new Float64Array(actual.length).fill(mean) };
  });
  const { rmse, mae, r2 } = regressionMetrics({ columns, loss: Number.NaN, sampleWeights: testWeights });
  return { kind: 'mean', rmse, mae, r2 };
}

/** Every label of a row counts: a sequence has one at each position. */
function majorityOfClasses(data: LoadedData): Baseline {
  const { numClasses, targetWidth } = data.dataset.layout;
  const cells = Array.from({ length: targetWidth }, (_, at) => at);
  const { accuracy, majority } = majorityOf(data, { numClasses, cells });
  return { kind: 'majority', className: nameOf(data, majority), accuracy };
}

function nameOf({ classNames }: LoadedData, label: number): string {
  return classNames[label] ?? String(label);
}

function majorityOfLabels(data: LoadedData): Baseline {
  const numColumns = data.targetNames.length;
  const { positions = 1 } = data.transforms.target;
  const columns = data.targetNames.map((_, column) => {
    const cells = Array.from({ length: positions }, (_, position) => position * numColumns + column);
    return majorityOf(data, { numClasses: 2, cells });
  });
  const accuracy = treeSum(columns.map((column) => column.accuracy)) / columns.length;
  const [only] = columns;
  return {
    kind: 'majority',
    accuracy,
    ...(columns.length === 1 && only ? { className: nameOf(data, only.majority) } : {}),
  };
}

/** Counts classes in some cells of the rows' targets. */
interface CountOptions {
  readonly numClasses: number;
  readonly cells: readonly number[];
}

function majorityOf(
  data: LoadedData,
  options: CountOptions,
): { readonly majority: number; readonly accuracy: number } {
  const counts = countClasses(data, 'train', options);
  const majority = counts.indexOf(counts.reduce((most, count) => Math.max(most, count)));
  const tested = countClasses(data, 'test', options);
  return { majority, accuracy: ratio(tested[majority]!, treeSum(tested)) };
}

/** Sums of the weights of each class. */
function countClasses(
  { dataset, sampleWeights, splits }: LoadedData,
  split: keyof SplitIndices,
  { numClasses, cells }: CountOptions,
): Float64Array {
  const { targetWidth } = dataset.layout;
  const weightWidth = sampleWeightWidth(dataset.layout);
  const targets = targetView(dataset);
  const counts = new Float64Array(numClasses);
  for (const row of splits[split]) {
    for (const cell of cells) {
      const weight = sampleWeights?.[row * weightWidth + (weightWidth === 1 ? 0 : cell)] ?? 1;
      counts[targets[row * targetWidth + cell]!]! += weight;
    }
  }
  return counts;
}
