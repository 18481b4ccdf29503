// The metrics of a split, for any task, and those of them that are single numbers.
import type { ClassificationMetrics } from './classification.ts';
import type { RegressionMetrics } from './regression.ts';
import type { SequenceMetrics } from './sequence.ts';

/** Metrics of one split, of any task. */
export type SplitMetrics = RegressionMetrics | ClassificationMetrics | SequenceMetrics;

/** The numbers of a split's metrics by name, such as `r2`, `transformed/r2`, `top5` and `macro/f1`. */
export function scalarMetrics(metrics: SplitMetrics): Record<string, number> {
  const scalars: Record<string, number> = {};
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value === 'number') scalars[name] = value;
  }
  if ('transformed' in metrics) addGroup(scalars, 'transformed', metrics.transformed);
  if ('macro' in metrics) addGroup(scalars, 'macro', metrics.macro);
  if ('topK' in metrics && metrics.topK) scalars[`top${metrics.topK.k}`] = metrics.topK.accuracy;
  return scalars;
}

function addGroup(scalars: Record<string, number>, group: string, values: object | undefined): void {
  for (const [name, value] of Object.entries(values ?? {})) scalars[`${group}/${name}`] = value as number;
}
