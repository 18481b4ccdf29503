// When a training that no longer improves ends, and which epoch's weights are the best. What it remembers between
// epochs is plain data, so that a checkpoint can hold it.
import type { EarlyStoppingConfig } from '../src/config/schema.ts';
import { LockstepError } from '../src/errors.ts';
import { scalarMetrics } from '../src/metrics/split-metrics.ts';
import type { SplitMetrics } from '../src/metrics/split-metrics.ts';

/** What a run remembers of the metric that it watches. */
export interface Improvement {
  /** Best value so far; undefined before the first. */
  readonly best?: number | undefined;
  /** Value of the last improvement by more than `minDelta`, against which the next one counts. */
  readonly reference?: number | undefined;
  /** Epochs since that. */
  readonly numWithout: number;
}

export const NO_IMPROVEMENT: Improvement = { numWithout: 0 };

/** Metrics that are better when they are less. */
const ERRORS = new Set(['loss', 'rmse', 'mae', 'mape', 'perplexity']);

/** What is watched without `earlyStopping`: which weights are the best is decided by the loss. */
const DEFAULT_WATCH = { monitor: 'loss', minDelta: 0 };

type Watch = Pick<EarlyStoppingConfig, 'monitor' | 'minDelta'> & {
  readonly mode?: 'min' | 'max' | undefined;
};

/** The value that decides. @throws LockstepError (exit 2) if the split has no such metric. */
export function monitoredValue(metrics: SplitMetrics, { monitor }: Watch = DEFAULT_WATCH): number {
  const values = scalarMetrics(metrics);
  const value = Object.hasOwn(values, monitor) ? values[monitor] : undefined;
  if (value !== undefined) return value;
  throw new LockstepError({
    category: 'usage',
    code: 'E_MONITOR',
    message: `earlyStopping.monitor: validation measures no "${monitor}"`,
    help: `it measures ${Object.keys(values).join(', ')}`,
  });
}

/** What is remembered after an epoch, and whether its value is the best one so far. */
export function afterEpoch(
  state: Improvement,
  value: number,
  watch: Watch = DEFAULT_WATCH,
): { readonly state: Improvement; readonly isBest: boolean } {
  const { best, reference, numWithout } = state;
  const gain = (over: number): number => (isLowerBetter(watch) ? over - value : value - over);
  const isBest = best === undefined || gain(best) > 0;
  const isImproved = reference === undefined || gain(reference) > watch.minDelta;
  return {
    isBest,
    state: {
      best: isBest ? value : best,
      reference: isImproved ? value : reference,
      numWithout: isImproved ? 0 : numWithout + 1,
    },
  };
}

function isLowerBetter({ monitor, mode }: Watch): boolean {
  return mode === undefined ? ERRORS.has(monitor.split('/').at(-1) ?? '') : mode === 'min';
}
