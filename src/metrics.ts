// Exact metrics of a whole split from its per-row outputs, in f64.
// Every sum goes along one fixed binary tree over the rows, so a value depends on the rows' order only,
// never on who computed them. Only + - * / and Math.sqrt: the other host functions are not bit-specified.
import { treeSum } from './tree.ts';

/** Sizes of the error of a regression, averaged uniformly over target columns. */
export interface RegressionErrors {
  /** Root mean squared error; of several columns the mean of each column's root. */
  readonly rmse: number;
  /** Mean absolute error. */
  readonly mae: number;
  /** Coefficient of determination; a constant target scores 1 if met exactly, else 0. */
  readonly r2: number;
}

/** Metrics of a regression, in the target's own units. */
export interface RegressionMetrics extends RegressionErrors {
  /** Mean loss per row, in the units that were trained on. */
  readonly loss: number;
  /** The same errors in the units that were trained on; present when the target is transformed. */
  readonly transformed?: RegressionErrors | undefined;
}

/** How one class fared; a ratio of 0 to 0 counts as 0. */
export interface ClassMetrics {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Rows that truly are of this class. */
  readonly support: number;
}

/** Metrics of a classification. */
export interface ClassificationMetrics {
  /** Mean loss per row. */
  readonly loss: number;
  /** Share of rows whose largest output is the right class. */
  readonly accuracy: number;
  readonly perClass: readonly ClassMetrics[];
  /** Row counts as [actual][predicted]; absent above `MAX_CONFUSION_CLASSES` classes. */
  readonly confusion?: readonly (readonly number[])[] | undefined;
}

/** Metrics of one split, of either task. */
export type SplitMetrics = RegressionMetrics | ClassificationMetrics;

/** The confusion matrix grows with the square of the classes; above this it helps nobody. */
export const MAX_CONFUSION_CLASSES = 1000;

/** What `regressionMetrics` needs to know of a split. */
export interface RegressionOutcome {
  /** Row-major [rows, columns], in trained units. */
  readonly predictions: Float32Array;
  /** Row-major [rows, columns], in trained units. */
  readonly targets: Float32Array;
  /** Target columns; default 1. */
  readonly numColumns?: number | undefined;
  /** Loss summed over rows, each row's loss being its mean over columns. */
  readonly lossSum: number;
  /** Takes a value of a column from trained units back to the target's own. */
  readonly inverse?: ((column: number, value: number) => number) | undefined;
}

/** What `classificationMetrics` needs to know of a split. */
export interface ClassificationOutcome {
  /** Row-major [rows, classes]: logits or probabilities, only their order within a row matters. */
  readonly outputs: Float32Array;
  /** Actual class of each row. */
  readonly labels: Uint32Array;
  readonly lossSum: number;
}

/** Metrics of a regression, defined as scikit-learn defines them with `multioutput='uniform_average'`. */
export function regressionMetrics(outcome: RegressionOutcome): RegressionMetrics {
  const { predictions, targets, lossSum, inverse } = outcome;
  const numColumns = outcome.numColumns ?? 1;
  const numRows = requireRows(targets.length / numColumns);
  if (predictions.length !== targets.length) {
    throw new RangeError(`${predictions.length} predictions for ${targets.length} targets`);
  }
  const columns = Array.from({ length: numColumns }, (_, column) => ({
    predicted: pickColumn(predictions, column, numColumns),
    actual: pickColumn(targets, column, numColumns),
  }));
  const loss = lossSum / numRows;
  const trained = averageErrors(columns);
  if (!inverse) return { loss, ...trained };
  const own = columns.map(({ predicted, actual }, column) => ({
    predicted: predicted.map((value) => inverse(column, value)),
    actual: actual.map((value) => inverse(column, value)),
  }));
  return { loss, ...averageErrors(own), transformed: trained };
}

/** Metrics of a classification; the largest output of a row is its prediction, the lowest class winning a tie. */
export function classificationMetrics(outcome: ClassificationOutcome): ClassificationMetrics {
  const { outputs, labels, lossSum } = outcome;
  const numRows = requireRows(labels.length);
  const numClasses = outputs.length / numRows;
  const predicted = Uint32Array.from(labels, (_, row) => argmax(outputs, row * numClasses, numClasses));
  const counts = countClasses(labels, predicted, numClasses);
  return {
    loss: lossSum / numRows,
    accuracy: treeSum(counts.correct) / numRows,
    perClass: Array.from({ length: numClasses }, (_, label) => {
      const precision = ratio(counts.correct[label]!, counts.predicted[label]!);
      const recall = ratio(counts.correct[label]!, counts.actual[label]!);
      const f1 = ratio(2 * counts.correct[label]!, counts.predicted[label]! + counts.actual[label]!);
      return { precision, recall, f1, support: counts.actual[label]! };
    }),
    confusion:
      numClasses > MAX_CONFUSION_CLASSES ? undefined : confusionMatrix(labels, predicted, numClasses),
  };
}

interface Column {
  readonly predicted: Float64Array;
  readonly actual: Float64Array;
}

function averageErrors(columns: readonly Column[]): RegressionErrors {
  const errors = columns.map(columnErrors);
  const average = (key: keyof RegressionErrors): number =>
    treeSum(errors.map((column) => column[key])) / errors.length;
  return { rmse: average('rmse'), mae: average('mae'), r2: average('r2') };
}

function columnErrors({ predicted, actual }: Column): RegressionErrors {
  const numRows = actual.length;
  const residuals = actual.map((value, row) => value - predicted[row]!);
  const residualSquares = treeSum(residuals.map((residual) => residual * residual));
  return {
    rmse: Math.sqrt(residualSquares / numRows),
    mae: treeSum(residuals.map(Math.abs)) / numRows,
    r2: determination(residualSquares, actual),
  };
}

/** R2 = 1 - residual squares / squares about the mean. */
function determination(residualSquares: number, actual: Float64Array): number {
  // Asked of the values themselves: a rounded mean would leave squares just above zero.
  if (actual.every((value) => value === actual[0])) return residualSquares === 0 ? 1 : 0;
  const mean = treeSum(actual) / actual.length;
  return 1 - residualSquares / treeSum(actual.map((value) => (value - mean) * (value - mean)));
}

function pickColumn(values: Float32Array, column: number, numColumns: number): Float64Array {
  const picked = new Float64Array(values.length / numColumns);
  for (let row = 0; row < picked.length; row++) picked[row] = values[row * numColumns + column]!;
  return picked;
}

function argmax(values: Float32Array, offset: number, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i++) if (values[offset + i]! > values[offset + best]!) best = i;
  return best;
}

interface ClassCounts {
  readonly actual: Float64Array;
  readonly predicted: Float64Array;
  readonly correct: Float64Array;
}

function countClasses(labels: Uint32Array, predicted: Uint32Array, numClasses: number): ClassCounts {
  const counts = {
    actual: new Float64Array(numClasses),
    predicted: new Float64Array(numClasses),
    correct: new Float64Array(numClasses),
  };
  labels.forEach((label, row) => {
    const guess = predicted[row]!;
    counts.actual[label]! += 1;
    counts.predicted[guess]! += 1;
    if (guess === label) counts.correct[label]! += 1;
  });
  return counts;
}

function confusionMatrix(labels: Uint32Array, predicted: Uint32Array, numClasses: number): number[][] {
  const matrix = Array.from({ length: numClasses }, () => new Array<number>(numClasses).fill(0));
  labels.forEach((label, row) => (matrix[label]![predicted[row]!]! += 1));
  return matrix;
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function requireRows(numRows: number): number {
  if (!Number.isInteger(numRows) || numRows < 1)
    throw new RangeError(`metrics of ${numRows} rows are undefined`);
  return numRows;
}
