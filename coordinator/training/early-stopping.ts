// Early stopping: when a training that no longer improves ends, and which epoch's weights are the
// best. Its memory between epochs is plain data, so that a checkpoint can hold it.
import type { EarlyStoppingConfig } from '../../src/config/schema.ts';
import { LockstepError, quoteName } from '../../src/errors.ts';
import {
  isBetter,
  isCustom,
  LOSS,
  metricNamed,
  type Direction,
  scalarMetrics,
  type SplitMetrics,
} from '../../src/metrics/definitions.ts';

/** The memory of the metric that a run watches. */
export interface Improvement {
  /** Best value so far; undefined before the first that is finite. */
  readonly best?: number | undefined;
  /** Value of the last improvement by more than `minDelta`, against which the next one counts. */
  readonly reference?: number | undefined;
  /** Epochs since that. */
  readonly numWithout: number;
}

export const NO_IMPROVEMENT: Improvement = { numWithout: 0 };

/** The watch without `earlyStopping`: the loss decides which weights are the best. */
const DEFAULT_WATCH = { monitor: LOSS.name, minDelta: 0 };

type Watch = Pick<EarlyStoppingConfig, 'monitor' | 'minDelta'> & {
  readonly mode?: Direction | undefined;
};

/**
 * The value that decides.
 * @throws LockstepError (exit 2) if the split has no such metric, or if it decides nothing.
 */
export function monitoredValue(metrics: SplitMetrics, { monitor, mode }: Watch = DEFAULT_WATCH): number {
  const values = scalarMetrics(metrics);
  const value = Object.hasOwn(values, monitor) ? values[monitor] : undefined;
  const definition = metricNamed(monitor);
  if (value !== undefined && (definition?.better || (isCustom(monitor) && mode))) return value;
  if (value !== undefined && isCustom(monitor)) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_MONITOR',
      message: `earlyStopping.mode: missing; ${quoteName(monitor)} is a metric of the program's own`,
      help: 'set it to min if less is better, or to max',
    });
  }
  const fitting = Object.keys(values).filter((name) => metricNamed(name)?.better || isCustom(name));
  const needs = definition?.needs === undefined ? '' : `, which needs ${definition.needs}`;
  const message =
    value === undefined
      ? `validation measures no ${quoteName(monitor)}${needs}`
      : `more of ${quoteName(monitor)} is neither better nor worse`;
  throw new LockstepError({
    category: 'usage',
    code: 'E_MONITOR',
    message: `earlyStopping.monitor: ${message}`,
    help: `${value === undefined ? 'it measures' : 'watch one of'} ${fitting.join(', ')}`,
  });
}

/** The direction in which the watched metric improves. */
export function directionOf({ monitor, mode }: Watch = DEFAULT_WATCH): Direction {
  const direction = mode ?? metricNamed(monitor)?.better;
  if (direction === undefined) throw new Error(`earlyStopping.monitor ${monitor} was not refused`);
  return direction;
}

/**
 * Updates the memory after an epoch, and decides whether its weights are to be kept: those of the
 * best value so far, or the latest while no value was finite.
 */
export function afterEpoch(
  state: Improvement,
  value: number,
  watch: Watch = DEFAULT_WATCH,
): { readonly state: Improvement; readonly isBest: boolean } {
  const direction = directionOf(watch);
  const isFirst = !Number.isFinite(state.best);
  const isBest = isBetter(direction, value, state.best);
  const isImproved = isBetter(direction, value, state.reference, watch.minDelta);
  return {
    isBest: isBest || isFirst,
    state: {
      best: isBest ? value : state.best,
      reference: isImproved ? value : state.reference,
      numWithout: isImproved ? 0 : state.numWithout + 1,
    },
  };
}
