// Weights of rows, of classes and of ignored labels, folded into the one block of sample weights that
// workers see.
import type { Config } from '../../config/schema.ts';
import { didYouMean } from '../../config/suggest.ts';
import { IGNORED_LABEL } from './class-labels.ts';
import {
  sampleWeightView,
  sampleWeightWidth,
  totalSampleWeight,
  type PackedDataset,
  type RowLayout,
  type SplitIndices,
} from './packed-dataset.ts';
import { listNames, quoteName, configError, dataError } from '../../errors.ts';
import { countOf } from '../../printable.ts';

/** Tells whether a run's dataset has a block of sample weights. */
export function wantsSampleWeights({ data, classWeights }: Config): boolean {
  return data.weights !== undefined || data.ignoreIndex !== undefined || classWeights !== undefined;
}

/** The sources of a row's weight. */
export interface SampleWeightSources {
  /** A weight for each row. */
  readonly rows?: Float64Array | undefined;
  /** Class labels, [numRows, sampleWeightWidth]; ignored ones become class 0. */
  readonly labels?: Uint32Array | undefined;
  /** A weight for each class. */
  readonly classes?: readonly number[] | undefined;
}

/**
 * Fills the block of sample weights of a blob, if its layout has one. Returns the weights by which
 * metrics count, without those of classes; undefined where all are 1.
 */
export function foldSampleWeights(
  blob: Uint8Array,
  layout: RowLayout,
  sources: SampleWeightSources,
): Float32Array | undefined {
  if (!layout.hasSampleWeights) return undefined;
  const { rows, labels, classes } = sources;
  const width = sampleWeightWidth(layout);
  const samples = new Float32Array(layout.numRows * width);
  const sampleWeights = sampleWeightView({ layout, blob }) as Float32Array;
  let hasIgnored = false;
  for (let i = 0; i < samples.length; i++) {
    const isIgnored = labels?.[i] === IGNORED_LABEL;
    if (labels && isIgnored) labels[i] = 0;
    hasIgnored ||= isIgnored;
    samples[i] = isIgnored ? 0 : (rows?.[Math.floor(i / width)] ?? 1);
    const label = labels?.[i];
    sampleWeights[i] = (samples[i] as number) * (label === undefined ? 1 : (classes?.[label] ?? 1));
  }
  return rows || hasIgnored ? samples : undefined;
}

/**
 * A weight for each class. `balanced` is scikit-learn's: rows / (classes x rows of the class), over the
 * labels of the training split that count; a class that it lacks weighs 1, as does one that a mapping
 * leaves out.
 */
export function classWeightsOf(
  given: Config['classWeights'],
  data: {
    readonly classNames: readonly string[];
    /** Class labels, [numRows, labels of a row]. */
    readonly labels: Uint32Array;
    readonly splits: SplitIndices;
  },
): number[] | undefined {
  const { classNames, labels, splits } = data;
  if (given === undefined) return undefined;
  if (given === 'balanced') return balance(countLabels(labels, splits, classNames.length));
  if (Array.isArray(given)) {
    if (given.length === classNames.length) return given;
    const message = `classWeights has ${given.length} weights, the data has ${classNames.length} classes`;
    throw configError('E_CONFIG_CLASS_WEIGHTS', message, `their order is: ${listNames(classNames)}`);
  }
  const unknown = Object.keys(given).find((name) => !classNames.includes(name));
  if (unknown !== undefined) {
    const message = `classWeights: no class ${quoteName(unknown)}; classes: ${listNames(classNames)}`;
    throw configError('E_CONFIG_CLASS_WEIGHTS', message, didYouMean(unknown, classNames));
  }
  return classNames.map((name) => (Object.hasOwn(given, name) ? given[name] : undefined) ?? 1);
}

function countLabels(labels: Uint32Array, { train }: SplitIndices, numClasses: number): number[] {
  const counts = new Array<number>(numClasses).fill(0);
  for (const row of train) {
    const label = labels[row] as number;
    if (label !== IGNORED_LABEL) counts[label] = (counts[label] as number) + 1;
  }
  return counts;
}

function balance(counts: readonly number[]): number[] {
  const present = counts.filter((count) => count > 0);
  const total = present.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => (count === 0 ? 1 : total / (present.length * count)));
}

/**
 * Refuses a split in which nothing counts: it has no mean loss. New rows for a model are all one
 * split.
 *
 * @throws LockstepError naming the split
 */
export function refuseWeightless(dataset: PackedDataset, splits: SplitIndices, isSaved: boolean): void {
  for (const [split, rows] of Object.entries(splits) as [string, Uint32Array][]) {
    if (rows.length === 0 || totalSampleWeight(dataset, rows) > 0) continue;
    const found = `all ${countOf(rows.length, 'row')}`;
    const settings = 'data.weights, classWeights and data.ignoreIndex';
    throw isSaved
      ? dataError('E_DATA_WEIGHTS', `${found} weigh 0`, {
          help: `the model was trained with ${settings}: add rows that count by them`,
        })
      : dataError('E_DATA_WEIGHTS', `${found} of the ${split} split weigh 0`, {
          help: `look at ${settings}`,
        });
  }
}
