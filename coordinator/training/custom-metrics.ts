// Metrics that a program brings along: functions of the outputs for a whole split. They are called on the
// coordinator alone, since code is never sent to a worker.
import { LockstepError, quoteName, quoteValue } from '../../src/errors.ts';

/** A split, besides its outputs and targets. */
export interface MetricInfo {
  /** Rows of the split. */
  readonly numRows: number;
  /** Outputs of a row: logits of classes or labels, or a value for each target column, at each position. */
  readonly outputWidth: number;
  /** Targets of a row: 1 for classes, or the number of target columns, times that of positions. */
  readonly targetWidth: number;
  /** Names of the classes; empty for numbers. */
  readonly classNames: readonly string[];
  /** Names of the target columns, or of the one with the classes. */
  readonly targetNames: readonly string[];
  /** Weights of the rows; undefined where all count the same. */
  readonly weights: Float32Array | undefined;
  /** Each target column of numbers in its own unit; empty for classes. */
  readonly columns: readonly MetricColumn[];
}

/** A target column of numbers in its own unit. */
export interface MetricColumn {
  /** The name of the target. */
  readonly name: string;
  /** Its numbers as they were read, [numRows]. */
  readonly actual: Float64Array;
  /** The model's predictions of them, [numRows]. */
  readonly predicted: Float64Array;
}

/**
 * A metric of a program's own: takes the outputs of the last layer [rows, outputWidth] and the targets
 * [rows, targetWidth] in the units that were trained on, class indices as Uint32Array. All are copies.
 */
export type CustomMetric = (
  outputs: Float32Array,
  targets: Float32Array | Uint32Array,
  info: MetricInfo,
) => number;

/** Metrics of a program's own by their names. */
export type CustomMetrics = Readonly<Record<string, CustomMetric>>;

/**
 * Measures a split by each metric; undefined if there are none.
 * @throws LockstepError for a metric that throws, or returns no number
 */
export function measureCustom(
  metrics: CustomMetrics | undefined,
  outputs: Float32Array,
  targets: Float32Array | Uint32Array,
  info: MetricInfo,
): Readonly<Record<string, number>> | undefined {
  if (!metrics) return undefined;
  const measured = Object.entries(metrics).map(([name, metric]) => {
    const columns = info.columns.map(({ name, actual, predicted }) => ({
      name,
      actual: actual.slice(),
      predicted: predicted.slice(),
    }));
    const copies = { ...info, weights: info.weights?.slice(), columns };
    let value: unknown;
    try {
      value = metric(outputs.slice(), targets.slice(), copies);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw metricError(`metric ${quoteName(name)} failed: ${message}`, error);
    }
    if (typeof value === 'number') return [name, value] as const;
    const what = value instanceof Promise ? 'a promise' : quoteValue(value);
    throw metricError(`metric ${quoteName(name)} must return a number, and returned ${what}`);
  });
  return Object.fromEntries(measured);
}

/** The error of a metric that a program has brought along. */
export function metricError(message: string, cause?: unknown): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_METRIC',
    message,
    help: 'correct the function in the option metrics',
    cause,
  });
}
