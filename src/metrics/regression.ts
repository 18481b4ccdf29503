// Exact metrics of a regression over a whole split, in f64.
// Every sum follows one fixed binary tree over the rows, so a value depends on the rows' order only,
// never on who computed them. Only + - * / and Math.sqrt: the other host functions are not bit-specified.
import { treeSum } from '../tree.ts';
import { requireRows, totalOf, weigh } from './weighting.ts';
import type { SampleWeights } from './weighting.ts';

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

/** Predictions of one target, row by row. */
export interface TargetColumn {
  readonly predicted: Float64Array;
  readonly actual: Float64Array;
}

/** A split as `regressionMetrics` needs it. */
export interface RegressionOutcome {
  /** Every target column in its own unit. */
  readonly columns: readonly TargetColumn[];
  /** The same in the units that were trained on; undefined where no target is transformed. */
  readonly transformed?: readonly TargetColumn[] | undefined;
  /** Mean loss per row. */
  readonly loss: number;
  /** A weight for each row; it counts like scikit-learn's `sample_weight`. */
  readonly sampleWeights?: SampleWeights;
}

/** Metrics of a regression, defined as scikit-learn defines them with `multioutput='uniform_average'`. */
export function regressionMetrics(outcome: RegressionOutcome): RegressionMetrics {
  const { columns, transformed, loss, sampleWeights } = outcome;
  for (const { predicted, actual } of [...columns, ...(transformed ?? [])]) {
    requireRows(actual.length);
    if (predicted.length !== actual.length) {
      throw new RangeError(`${predicted.length} predictions for ${actual.length} targets`);
    }
  }
  return {
    loss,
    ...averageErrors(columns, sampleWeights),
    ...relativeErrors(columns, sampleWeights),
    ...(transformed && { transformed: averageErrors(transformed, sampleWeights) }),
  };
}

function averageErrors(columns: readonly TargetColumn[], sampleWeights: SampleWeights): RegressionErrors {
  const errors = columns.map((column) => columnErrors(column, sampleWeights));
  const average = (key: keyof RegressionErrors): number =>
    treeSum(errors.map((column) => column[key])) / errors.length;
  return { rmse: average('rmse'), mae: average('mae'), r2: average('r2') };
}

function columnErrors({ predicted, actual }: TargetColumn, sampleWeights: SampleWeights): RegressionErrors {
  const total = totalOf(sampleWeights, actual.length);
  const residuals = actual.map((value, row) => value - predicted[row]!);
  const squares = treeSum(
    weigh(
      residuals.map((residual) => residual * residual),
      sampleWeights,
    ),
  );
  return {
    rmse: Math.sqrt(squares / total),
    mae: treeSum(weigh(residuals.map(Math.abs), sampleWeights)) / total,
    r2: determination(squares, actual, sampleWeights),
  };
}

/** R2 = 1 - residual squares / squares about the mean. */
function determination(residualSquares: number, actual: Float64Array, sampleWeights: SampleWeights): number {
  const squares = squaresAboutMean(actual, sampleWeights);
  if (squares === 0) return residualSquares === 0 ? 1 : 0;
  return 1 - residualSquares / squares;
}

function squaresAboutMean(actual: Float64Array, sampleWeights: SampleWeights): number {
  // Decided from the values themselves: a rounded mean would leave squares just above zero.
  if (isConstant(actual, sampleWeights)) return 0;
  const mean = treeSum(weigh(actual, sampleWeights)) / totalOf(sampleWeights, actual.length);
  return treeSum(
    weigh(
      actual.map((value) => (value - mean) * (value - mean)),
      sampleWeights,
    ),
  );
}

function isConstant(actual: Float64Array, sampleWeights: SampleWeights): boolean {
  const first = actual.find((_, row) => sampleWeights?.[row] !== 0);
  return actual.every((value, row) => value === first || sampleWeights?.[row] === 0);
}

/** The mean over columns that have a target other than 0. */
function relativeErrors(
  columns: readonly TargetColumn[],
  sampleWeights: SampleWeights,
): Pick<RegressionMetrics, 'mape' | 'mapeZeros'> {
  const means: number[] = [];
  let mapeZeros = 0;
  for (const { predicted, actual } of columns) {
    const ratios = actual.map((value, row) =>
      value === 0 ? 0 : Math.abs((value - predicted[row]!) / value),
    );
    const shares = actual.map((value, row) => (value === 0 ? 0 : (sampleWeights?.[row] ?? 1)));
    const total = treeSum(shares);
    if (total > 0) means.push(treeSum(weigh(ratios, sampleWeights)) / total);
    mapeZeros += actual.reduce(
      (count, value, row) => count + Number(value === 0 && sampleWeights?.[row] !== 0),
      0,
    );
  }
  return {
    ...(means.length > 0 && { mape: treeSum(means) / means.length }),
    ...(mapeZeros > 0 && { mapeZeros }),
  };
}
