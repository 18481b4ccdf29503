// The definition of each metric, which of two values is better, and the metrics of a split by these names:
// the one place that says so. Early stopping, the best weights, the plateau schedule, plots, progress and
// docs/config.md all follow it.
import type { ClassificationMetrics } from './classification.ts';
import type { RegressionMetrics } from './regression.ts';
import type { SequenceMetrics } from './sequence.ts';

/** The better one of two values: the lower or the higher. */
export type Direction = 'min' | 'max';

/** The meaning of a metric. */
export interface MetricDefinition {
  /** The name after `val/` in `metrics.jsonl`; the k of `topK` stands for a number. */
  readonly name: string;
  /** The better direction; undefined for a number that says nothing about the model. */
  readonly better: Direction | undefined;
  readonly about: string;
  /** A precondition that a split or a run may lack, and then has no such metric. */
  readonly needs?: string;
  /** True if an epoch's line on the screen has room for it. */
  readonly isShown?: boolean;
  /** True for a number of things, which is shown as one. */
  readonly isCount?: boolean;
}

/** The loss, which is minimized; without `earlyStopping` it decides which weights are the best. */
export const LOSS = {
  name: 'loss',
  better: 'min',
  about: 'mean loss, in the units that were trained on',
  isShown: true,
} as const satisfies MetricDefinition;

const ERRORS = [
  { name: 'rmse', better: 'min', about: 'root mean squared error' },
  { name: 'mae', better: 'min', about: 'mean absolute error' },
  { name: 'r2', better: 'max', about: 'coefficient of determination', isShown: true },
] as const satisfies readonly MetricDefinition[];

/** Every metric, in the order in which they are told. */
export const METRICS: readonly MetricDefinition[] = [
  LOSS,
  ...ERRORS.map((error) => ({ ...error, needs: 'a target of numbers' })),
  {
    name: 'mape',
    better: 'min',
    about: 'mean of |error / target| over targets other than 0, as a fraction',
    needs: 'a target other than 0',
  },
  {
    name: 'mapeZeros',
    better: undefined,
    about: 'number of targets that are 0, which `mape` leaves out',
    needs: 'a target of 0',
    isCount: true,
  },
  ...ERRORS.map((error) => ({
    ...error,
    name: `transformed/${error.name}`,
    about: `${error.about}, in the units that were trained on`,
    needs: 'data.targetTransform',
  })),
  {
    name: 'accuracy',
    better: 'max',
    about: 'share of rows, labels or positions that are predicted correctly',
    needs: 'classes',
    isShown: true,
  },
  { name: 'macro/precision', better: 'max', about: 'mean precision of classes', needs: 'classes' },
  { name: 'macro/recall', better: 'max', about: 'mean recall of classes', needs: 'classes' },
  { name: 'macro/f1', better: 'max', about: 'mean F1 of classes', needs: 'classes' },
  {
    name: 'topK',
    better: 'max',
    about: 'share of rows or positions whose class is among the k likeliest, as `top5`',
    needs: 'more than k classes, and k in metrics.topK unless it is 5',
  },
  {
    name: 'rocAuc',
    better: 'max',
    about: 'area under the ROC curve',
    needs: 'two classes, and rows of both that do not weigh 0',
  },
  {
    name: 'logLoss',
    better: 'min',
    about: 'mean of -log of the probability of what is right',
    needs: 'labelSmoothing or classWeights; without them it is the loss',
  },
  {
    name: 'perplexity',
    better: 'min',
    about: 'e to the mean log loss',
    needs: 'a label at each position of a sequence',
    isShown: true,
  },
];

const BY_NAME: ReadonlyMap<string, MetricDefinition> = new Map(
  METRICS.map((metric) => [metric.name, metric]),
);

/** The definition of a metric as records name it; undefined where there is none. */
export function metricNamed(name: string): MetricDefinition | undefined {
  return BY_NAME.get(name.replace(/^top\d+$/, 'topK'));
}

/**
 * Tells whether `value` is better than `other` by more than `margin`. A value that is not finite is
 * never better, and any finite value is better than that, or than none.
 */
export function isBetter(
  direction: Direction,
  value: number,
  other: number | undefined,
  margin = 0,
): boolean {
  if (!Number.isFinite(value)) return false;
  if (other === undefined || !Number.isFinite(other)) return true;
  return (direction === 'min' ? other - value : value - other) > margin;
}

/** One of several types, each of which has undefined for the fields of the others. */
type OneOf<
  Types,
  Keys extends PropertyKey = Types extends unknown ? keyof Types : never,
> = Types extends unknown ? Types & { readonly [Key in Exclude<Keys, keyof Types>]?: undefined } : never;

/**
 * Metrics of one split, of any kind of prediction. Each metric can be read, and is undefined where the
 * kind has none.
 */
export type SplitMetrics = OneOf<RegressionMetrics | ClassificationMetrics | SequenceMetrics> & {
  /** Metrics that a program has brought along, by their names. */
  readonly custom?: Readonly<Record<string, number>> | undefined;
};

/** Tells whether a metric, as records name it, is one that a program has brought along. */
export function isCustom(name: string): boolean {
  return name.startsWith('custom/');
}

/** The numbers of a split's metrics by name, such as `r2`, `transformed/r2`, `top5` and `macro/f1`. */
export function scalarMetrics(metrics: SplitMetrics): Record<string, number> {
  const scalars: Record<string, number> = {};
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value === 'number') scalars[name] = value;
  }
  addGroup(scalars, 'transformed', metrics.transformed);
  addGroup(scalars, 'macro', metrics.macro);
  addGroup(scalars, 'custom', metrics.custom);
  if (metrics.topK) scalars[`top${metrics.topK.k}`] = metrics.topK.accuracy;
  return scalars;
}

function addGroup(scalars: Record<string, number>, group: string, values: object | undefined): void {
  for (const [name, value] of Object.entries(values ?? {})) scalars[`${group}/${name}`] = value as number;
}
