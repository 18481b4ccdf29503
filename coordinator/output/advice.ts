// Advice at the end of a run, in plain words: what its losses and metrics say about the next run. Every
// function looks for one thing and says nothing if it is not there.
import { quoteName } from '../../src/errors.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { formatMetric } from '../../src/printable.ts';
import type { Baseline, TargetSize } from '../training/baseline.ts';
import type { EpochLosses } from '../training/training-progress.ts';

/** The parts of a finished run that advice is about. */
export interface AdviceInput {
  /** Epochs that the config asked for. */
  readonly epochs: number;
  readonly history: readonly EpochLosses[];
  /** True if the config has `earlyStopping`. */
  readonly watches: boolean;
  readonly test?: SplitMetrics | undefined;
  readonly baseline?: Baseline | undefined;
  readonly largestTarget?: TargetSize | undefined;
}

/** More would not be read. */
const MAX_LINES = 3;

/** At most three sentences, the most useful first. */
export function adviceFor(input: AdviceInput): string[] {
  const found = [unscaledTarget, noBetterThanBaseline, overfitting, stillFalling].map((find) => find(input));
  return found.filter((advice) => advice !== undefined).slice(0, MAX_LINES);
}

/** Weights begin near 0, and a step moves them by about the learning rate: larger targets are far away. */
const LARGE_TARGET = 10;
/** A model that explains this much has arrived all the same. */
const GOOD_R2 = 0.9;

/** The target is large in the units that are trained on, and the model has not reached it. */
export function unscaledTarget({ largestTarget, test }: AdviceInput): string | undefined {
  if (!largestTarget || !(largestTarget.size > LARGE_TARGET)) return undefined;
  if (test?.r2 !== undefined && test.r2 >= GOOD_R2) return undefined;
  const { name, size } = largestTarget;
  return (
    `the target ${quoteName(name)} is trained on in its own unit, in which values are about ` +
    `${formatMetric(size)}: set data.targetTransform: [standardize]`
  );
}

/** The model is not better than predicting the same for every row. */
export function noBetterThanBaseline({ baseline, test }: AdviceInput): string | undefined {
  if (!baseline || !test) return undefined;
  if (baseline.kind === 'mean') {
    if (test.rmse === undefined || test.rmse < baseline.rmse) return undefined;
    return (
      `the model predicts no better than the mean of the training targets (rmse ${formatMetric(test.rmse)} ` +
      `against ${formatMetric(baseline.rmse)}): check the features, and try other learning rates`
    );
  }
  if (test.accuracy === undefined || test.accuracy > baseline.accuracy) return undefined;
  const { accuracy, className } = baseline;
  const always = className === undefined ? 'the most frequent value' : `class ${quoteName(className)}`;
  if (test.accuracy < accuracy) {
    return (
      `the model is right less often than by always predicting ${always} (accuracy ` +
      `${formatMetric(test.accuracy)} against ${formatMetric(accuracy)}): check the features, and try ` +
      'other learning rates'
    );
  }
  return (
    `the accuracy is that of always predicting ${always}: look at the recall of the other classes, and ` +
    'try classWeights: balanced'
  );
}

/** Validation losses vary from epoch to epoch; a smaller rise means nothing. */
const LEAST_RISE = 0.05;
const LEAST_EPOCHS_AFTER_BEST = 2;

/** The validation loss has risen since its best epoch while the training loss fell, and nothing was to stop that. */
export function overfitting({ history, watches }: AdviceInput): string | undefined {
  const last = history.at(-1);
  const best = lowest(history);
  if (watches || last?.validationLoss === undefined || best?.validationLoss === undefined) return undefined;
  const rise = last.validationLoss - best.validationLoss;
  const hasRisen = rise > LEAST_RISE * Math.abs(best.validationLoss);
  if (!hasRisen || last.epoch - best.epoch < LEAST_EPOCHS_AFTER_BEST) return undefined;
  if (last.trainLoss >= best.trainLoss) return undefined;
  return (
    `the validation loss rose after epoch ${best.epoch}, from ${formatMetric(best.validationLoss)} to ` +
    `${formatMetric(last.validationLoss)}, while the training loss fell (overfitting): set earlyStopping, ` +
    'or try dropout, weight decay or a smaller model'
  );
}

/** A smaller fall over the last tenth of the epochs is not worth more of them. */
const LEAST_FALL = 0.01;

/** The loss was at its lowest in the last epoch, and falling. */
export function stillFalling({ epochs, history }: AdviceInput): string | undefined {
  if (history.length < Math.max(2, epochs)) return undefined;
  const hasValidation = history.at(-1)?.validationLoss !== undefined;
  const losses = history.map(({ trainLoss, validationLoss }) =>
    hasValidation ? validationLoss! : trainLoss,
  );
  const numLast = Math.ceil(history.length / 10);
  const before = losses.at(-1 - numLast) ?? NaN;
  const last = losses.at(-1) ?? NaN;
  const fall = (before - last) / Math.abs(before);
  if (!(fall > LEAST_FALL) || losses.some((loss) => loss < last)) return undefined;
  const period = numLast === 1 ? 'the last epoch' : `the last ${numLast} epochs`;
  return (
    `the ${hasValidation ? 'validation' : 'training'} loss still fell in ${period}, by ` +
    `${Math.round(100 * fall)} %: train longer (epochs: ${2 * epochs})`
  );
}

function lowest(history: readonly EpochLosses[]): EpochLosses | undefined {
  const measured = history.filter(({ validationLoss }) => validationLoss !== undefined);
  return measured.reduce<EpochLosses | undefined>(
    (best, epoch) => (best && best.validationLoss! <= epoch.validationLoss! ? best : epoch),
    undefined,
  );
}
