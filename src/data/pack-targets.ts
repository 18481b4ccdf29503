// Targets and weights of a table to their blocks of the dataset: the same for tables from files and for arrays.
import type { Config } from '../config/schema.ts';
import { targetView, type RowLayout, type SplitIndices } from './dataset.ts';
import { encodeLabels, encodeTargetValues } from './encode.ts';
import { classWeightsOf, foldWeights, rowWeights, wantsWeights } from './fold-weights.ts';
import { checkClasses } from './labels.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { columnOf, type Table } from './table.ts';
import type { FittedTarget } from './transforms.ts';

type TargetLayout = Pick<RowLayout, 'targetKind' | 'targetWidth' | 'numClasses' | 'hasWeights'>;

/** How targets and weights are stored. */
export function layOutTargets(target: FittedTarget, config: Config): TargetLayout {
  // One output tells two classes apart, so binary labels are values for it to meet.
  const isLabels = config.loss.kind === 'crossEntropy' && target.kind === 'labels';
  return {
    targetKind: isLabels ? 'labels' : 'values',
    targetWidth: target.kind === 'labels' ? 1 : target.columns.length,
    numClasses: isLabels ? target.classNames.length : 0,
    hasWeights: wantsWeights(config),
  };
}

/** Fills the blocks of targets and weights; returns what metrics need of them besides, and the weights of classes. */
export function packTargets(
  blob: Uint8Array,
  parts: {
    readonly table: Table;
    readonly layout: RowLayout;
    readonly target: FittedTarget;
    readonly splits: SplitIndices;
    readonly request: LoadRequest;
  },
): Pick<PackedRows, 'classWeights' | 'sampleWeights' | 'targetValues'> {
  const { table, layout, splits, target } = parts;
  const { config, fitted, math, warn } = parts.request;
  const rows = rowWeights(table, config.data.weights);
  if (target.kind === 'values') {
    const out = targetView({ layout, blob }) as Float32Array;
    encodeTargetValues(table, target, { out, math, isSaved: fitted !== undefined });
    // Copies, for a column's own buffer may be twice as long.
    const targetValues = target.columns.map(({ column }) => columnOf(table, column).values.slice());
    return { sampleWeights: foldWeights(blob, layout, { rows }), targetValues };
  }
  const { classNames } = target;
  const labels = encodeLabels(table, target, config.data.ignoreIndex);
  if (!fitted) checkClasses(labels, classNames, { splits, warn });
  const classWeights = fitted
    ? fitted.classWeights
    : classWeightsOf(config.classWeights, { classNames, labels, splits });
  const sampleWeights = foldWeights(blob, layout, { rows, labels, classes: classWeights });
  targetView({ layout, blob }).set(labels);
  return { classWeights, sampleWeights, targetValues: [] };
}
