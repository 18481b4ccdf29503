// Which plots a finished run gets.
import type { Config } from '../../src/config/schema.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { LOSS } from '../../src/metrics/definitions.ts';
import { directionOf } from '../training/early-stopping.ts';
import type { MeasuredSplit } from '../training/measure.ts';
import type { TrainingResult } from '../training/train.ts';
import type { PlotInput, PlottedSplit } from './plot-input.ts';

/** Loss curves; then for each measured split scatter and residuals, or a confusion matrix and a ROC curve. */
export function runPlots(config: Config, data: LoadedData, result: TrainingResult): PlotInput[] {
  const curves: PlotInput = {
    kind: 'lossCurves',
    loss: config.loss.kind,
    epochs: result.history.map(({ epoch, trainLoss, validationLoss }) => ({
      epoch,
      train: trainLoss,
      validation: validationLoss,
    })),
    bestEpoch: result.best.epoch,
    bestBy: reasonOf(config),
  };
  return [
    curves,
    ...splitPlots('validation', result.validation, data.classNames, config.data.targetUnit),
    ...splitPlots('test', result.test, data.classNames, config.data.targetUnit),
  ];
}

/** By what the best epoch was chosen; undefined for the loss, which the plot shows, and where the last one counts. */
function reasonOf({ earlyStopping }: Config): string | undefined {
  if (!earlyStopping?.restoreBest || earlyStopping.monitor === LOSS.name) return undefined;
  return `${directionOf(earlyStopping) === 'min' ? 'least' : 'greatest'} validation ${earlyStopping.monitor}`;
}

function splitPlots(
  split: PlottedSplit,
  measured: MeasuredSplit | undefined,
  classes: readonly string[],
  targetUnit: string | undefined,
): PlotInput[] {
  if (!measured) return [];
  const { metrics, columns, roc } = measured;
  if ('accuracy' in metrics) {
    const { accuracy } = metrics;
    const counts = 'confusion' in metrics ? metrics.confusion : undefined;
    return [
      ...(counts ? [{ kind: 'confusion' as const, split, classes, counts, accuracy }] : []),
      ...(roc ? [{ kind: 'roc' as const, split, positive: classes[1] ?? '1', ...roc }] : []),
    ];
  }
  return columns.flatMap(({ name, actual, predicted }, index) => {
    const isOnly = columns.length === 1;
    const unit = targetUnit === undefined ? name : `${name} in ${targetUnit}`;
    const shared = { split, unit, actual, predicted, fileSuffix: isOnly ? undefined : `-${index + 1}` };
    return [
      { kind: 'predictedVsActual', ...shared, r2: isOnly ? metrics.r2 : undefined },
      { kind: 'residuals', ...shared },
    ] satisfies PlotInput[];
  });
}
