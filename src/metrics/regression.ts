// Exact metrics of a regression over a whole split, in f64.
// Every sum goes along one fixed binary tree over the rows, so a value depends on the rows' order only,
// never on who computed them. Only + - * / and Math.sqrt: the other host functions are not bit-specified.
import { treeSum } from '../tree.ts';
import { requireRows, totalOf, weigh } from './weighting.ts';
import type { RowWeights } from './weighting.ts';

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
  /** Mean of |error / target| over targets other than 0, as a fraction; absent if all are 0. */
  readonly mape?: number | undefined;
  /** Targets that `mape` leaves out because they are 0; absent if there are none. */
  readonly mapeZeros?: number | undefined;
  /** The same errors in the units that were trained on; present when the target is transformed. */
  readonly transformed?: RegressionErrors | undefined;
}

/** What `regressionMetrics` needs to know of a split. */
export interface RegressionOutcome {
  /** Row-major [rows, columns], in trained units. */
  readonly predictions: ArrayLike<number>;
  /** Row-major [rows, columns], in trained units. */
  readonly targets: ArrayLike<number>;
  /** Target columns; default 1. */
  readonly numColumns?: number | undefined;
  /** Mean loss per row. */
  readonly loss: number;
  /** Of each row; they count as scikit-learn's `sample_weight` does. */
  readonly weights?: RowWeights;
  /** Takes a value of a column from trained units back to the target's own. */
  readonly inverse?: ((column: number, value: number) => number) | undefined;
}

/** Metrics of a regression, defined as scikit-learn defines them with `multioutput='uniform_average'`. */
export function regressionMetrics(outcome: RegressionOutcome): RegressionMetrics {
  const { predictions, targets, loss, weights, inverse } = outcome;
  const numColumns = outcome.numColumns ?? 1;
  requireRows(targets.length / numColumns);
  if (predictions.length !== targets.length) {
    throw new RangeError(`${predictions.length} predictions for ${targets.length} targets`);
  }
  const columns = Array.from({ length: numColumns }, (_, column) => ({
    predicted: pickColumn(predictions, column, numColumns),
    actual: pickColumn(targets, column, numColumns),
    weights,
  }));
  const trained = averageErrors(columns);
  if (!inverse) return { loss, ...trained, ...relativeErrors(columns) };
  const own = columns.map(({ predicted, actual }, column) => ({
    predicted: predicted.map((value) => inverse(column, value)),
    actual: actual.map((value) => inverse(column, value)),
    weights,
  }));
  return { loss, ...averageErrors(own), ...relativeErrors(own), transformed: trained };
}

interface Column {
  readonly predicted: Float64Array;
  readonly actual: Float64Array;
  readonly weights: RowWeights;
}

function averageErrors(columns: readonly Column[]): RegressionErrors {
  const errors = columns.map(columnErrors);
  const average = (key: keyof RegressionErrors): number =>
    treeSum(errors.map((column) => column[key])) / errors.length;
  return { rmse: average('rmse'), mae: average('mae'), r2: average('r2') };
}

function columnErrors(column: Column): RegressionErrors {
  const { predicted, actual, weights } = column;
  const total = totalOf(weights, actual.length);
  const residuals = actual.map((value, row) => value - predicted[row]!);
  const squares = treeSum(
    weigh(
      residuals.map((residual) => residual * residual),
      weights,
    ),
  );
  return {
    rmse: Math.sqrt(squares / total),
    mae: treeSum(weigh(residuals.map(Math.abs), weights)) / total,
    r2: determination(squares, column),
  };
}

/** R2 = 1 - residual squares / squares about the mean. */
function determination(residualSquares: number, { actual, weights }: Column): number {
  // Asked of the values themselves: a rounded mean would leave squares just above zero.
  if (isConstant(actual, weights)) return residualSquares === 0 ? 1 : 0;
  const mean = treeSum(weigh(actual, weights)) / totalOf(weights, actual.length);
  const squares = actual.map((value) => (value - mean) * (value - mean));
  return 1 - residualSquares / treeSum(weigh(squares, weights));
}

function isConstant(actual: Float64Array, weights: RowWeights): boolean {
  const first = actual.find((_, row) => weights?.[row] !== 0);
  return actual.every((value, row) => value === first || weights?.[row] === 0);
}

/** The mean over columns that have a target other than 0. */
function relativeErrors(columns: readonly Column[]): Pick<RegressionMetrics, 'mape' | 'mapeZeros'> {
  const means: number[] = [];
  let mapeZeros = 0;
  for (const { predicted, actual, weights } of columns) {
    const ratios = actual.map((value, row) =>
      value === 0 ? 0 : Math.abs((value - predicted[row]!) / value),
    );
    const shares = actual.map((value, row) => (value === 0 ? 0 : (weights?.[row] ?? 1)));
    const total = treeSum(shares);
    if (total > 0) means.push(treeSum(ratios.map((ratio, row) => ratio * shares[row]!)) / total);
    mapeZeros += actual.reduce((count, value, row) => count + Number(value === 0 && weights?.[row] !== 0), 0);
  }
  return {
    ...(means.length > 0 && { mape: treeSum(means) / means.length }),
    ...(mapeZeros > 0 && { mapeZeros }),
  };
}

function pickColumn(values: ArrayLike<number>, column: number, numColumns: number): Float64Array {
  const picked = new Float64Array(values.length / numColumns);
  for (let row = 0; row < picked.length; row++) picked[row] = values[row * numColumns + column]!;
  return picked;
}
