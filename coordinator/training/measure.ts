// Measures the current weights on a whole split: exact losses and metrics, and what plots need.
import type { Config } from '../../src/config/schema.ts';
import {
  targetView,
  totalSampleWeight,
  sampleWeightWidth,
  type SplitIndices,
} from '../../src/data/dataset/packed-dataset.ts';
import { cellsOf } from '../../src/data/dataset/split.ts';
import { inverseTarget } from '../../src/data/dataset/transforms.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { countsClasses, isSequence } from '../../src/engine/samples.ts';
import { unsmoothedLoss } from '../../src/losses/registry.ts';
import { binaryMetrics, classificationMetrics } from '../../src/metrics/classification.ts';
import { regressionMetrics } from '../../src/metrics/regression.ts';
import { rocCurve } from '../../src/metrics/roc.ts';
import type { RocCurve } from '../../src/metrics/roc.ts';
import { sequenceMetrics } from '../../src/metrics/sequence.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import type { SampleWeights } from '../../src/metrics/weighting.ts';
import type { Compute } from './compute.ts';
import { measureCustom, type CustomMetrics } from './custom-metrics.ts';

/** A split as the model sees it. */
export interface MeasuredSplit {
  readonly metrics: SplitMetrics;
  /** Target columns of a regression, in their own units. */
  readonly columns: readonly {
    readonly name: string;
    readonly actual: Float64Array;
    readonly predicted: Float64Array;
  }[];
  /** The ROC curve, where there are two classes that both occur. */
  readonly roc?: RocCurve | undefined;
  /** Logits for each row of a classification; absent for sequences and several labels. */
  readonly scores?: ClassScores | undefined;
}

/** Logits of rows, and their classes. */
export interface ClassScores {
  /** Row-major [rows, numLogits]. */
  readonly logits: Float32Array;
  /** Logits of a row: one for each class, or a single one, of the second of two classes. */
  readonly numLogits: number;
  readonly labels: ArrayLike<number>;
  readonly sampleWeights: SampleWeights;
}

/** The parts that measuring depends on. */
export interface MeasureOptions {
  readonly config: Config;
  readonly compute: Pick<Compute, 'evaluate'>;
  readonly data: LoadedData;
  readonly math: HostMath;
  /** Metrics that a program has brought along. */
  readonly customMetrics?: CustomMetrics | undefined;
}

/** More classes than this are worth a look at the five likeliest. */
const DEFAULT_TOP_K = 5;

/** A split with its outputs and the rows' own share of the dataset. */
interface Outcome extends Omit<MeasureOptions, 'compute'> {
  /** Dataset rows. */
  readonly indices: Uint32Array;
  readonly outputs: Float32Array;
  readonly targets: Float32Array | Uint32Array;
  readonly sampleWeights: SampleWeights;
  /** Mean loss. */
  readonly loss: number;
}

/** Runs the model over a split; undefined if the split is empty. No weight is touched. */
export async function measureSplit(
  split: keyof SplitIndices,
  { compute, ...options }: MeasureOptions,
): Promise<MeasuredSplit | undefined> {
  const { data } = options;
  const { dataset, sampleWeights } = data;
  const indices = data.splits[split];
  if (indices.length === 0) return undefined;
  const { outputs, lossSum } = await compute.evaluate(indices);
  const outcome: Outcome = {
    ...options,
    indices,
    outputs,
    targets: pickRows(targetView(dataset), indices, dataset.layout.targetWidth),
    sampleWeights: sampleWeights && pickRows(sampleWeights, indices, sampleWeightWidth(dataset.layout)),
    loss: lossSum / totalSampleWeight(dataset, indices),
  };
  const measured = MEASURES[predictionKindOf(options)](outcome);
  const custom = measureCustom(options.customMetrics, outputs, outcome.targets, {
    numRows: indices.length,
    outputWidth: outputs.length / indices.length,
    targetWidth: dataset.layout.targetWidth,
    classNames: data.classNames,
    targetNames: data.targetNames,
    weights: outcome.sampleWeights,
    columns: measured.columns,
  });
  return custom ? { ...measured, metrics: { ...measured.metrics, custom } } : measured;
}

/** The kind of prediction: a class, a class at each position, labels that apply or not, or numbers. */
type PredictionKind = 'classes' | 'sequences' | 'labels' | 'probabilities' | 'values';

const MEASURES: Readonly<Record<PredictionKind, (outcome: Outcome) => MeasuredSplit>> = {
  classes: measureClasses,
  sequences: measureSequences,
  labels: measureLabels,
  probabilities: (outcome) => {
    const { math } = outcome;
    return measureValues(
      outcome,
      Float64Array.from(outcome.outputs, (logit) => 1 / (1 + math.exp(-logit))),
    );
  },
  values: (outcome) => measureValues(outcome, outcome.outputs),
};

/** The kind of prediction that was trained, which new data do not change: they may lack what made it so. */
export function predictionKindOf({ config, data }: Pick<MeasureOptions, 'config' | 'data'>): PredictionKind {
  if (isSequence(data.dataset.layout)) return 'sequences';
  if (config.loss.kind === 'crossEntropy') return 'classes';
  if (config.loss.kind !== 'binaryCrossEntropy') return 'values';
  const { target } = data.transforms;
  return target.kind === 'labels' || target.isBinary ? 'labels' : 'probabilities';
}

function measureClasses(outcome: Outcome): MeasuredSplit {
  const { outputs, targets, sampleWeights, loss, math } = outcome;
  const labels = targets as Uint32Array;
  const metrics = classificationMetrics({
    outputs,
    labels,
    sampleWeights,
    loss,
    topK: topKOf(outcome),
    math: isLogLoss(outcome.config) ? undefined : math,
  });
  const scores = { logits: outputs, numLogits: outputs.length / labels.length, labels, sampleWeights };
  if (metrics.rocAuc === undefined) return { metrics, columns: [], scores };
  const differences = Float64Array.from(labels, (_, row) => outputs[2 * row + 1]! - outputs[2 * row]!);
  return { metrics, columns: [], scores, roc: rocCurve(differences, labels, sampleWeights) };
}

/** Measures from what `evaluationWidth` describes. */
function measureSequences(outcome: Outcome): MeasuredSplit {
  const { config, data, indices, outputs, sampleWeights, loss, math } = outcome;
  const { layout } = data.dataset;
  const { numClasses, targetWidth: positions } = layout;
  const width = outputs.length / indices.length;
  const pick = (place: number, length: number): Float32Array => {
    const picked = new Float32Array(indices.length * length);
    indices.forEach((_, row) => {
      const from = row * width + place;
      picked.set(outputs.subarray(from, from + length), row * length);
    });
    return picked;
  };
  const labels = outcome.targets as Uint32Array;
  const counted = countsClasses(layout)
    ? { labels, predicted: Uint32Array.from(pick(positions, positions)), numClasses }
    : undefined;
  const logLosses = isLogLoss(config) ? undefined : pick(width - 1, 1);
  const metrics = sequenceMetrics({
    counted,
    ranks: pick(0, positions),
    logLosses,
    sampleWeights,
    loss,
    topK: topKOf(outcome),
    exp: (x) => math.exp(x),
  });
  return { metrics, columns: [] };
}

function measureLabels(outcome: Outcome): MeasuredSplit {
  const { config, outputs, loss, data } = outcome;
  const sampleWeights = weightsOfCells(outcome.sampleWeights, data);
  const targets = outcome.targets as Float32Array;
  const numColumns = data.targetNames.length;
  const math = isLogLoss(config) ? undefined : outcome.math;
  const metrics = binaryMetrics({ outputs, targets, numColumns, sampleWeights, loss, math });
  if (numColumns > 1) return { metrics, columns: [] };
  const roc = rocCurve(Float64Array.from(outputs), targets, sampleWeights);
  return {
    metrics,
    columns: [],
    roc,
    scores: { logits: outputs, numLogits: 1, labels: targets, sampleWeights },
  };
}

/** Predictions are [rows, positions, target columns], in the units that were trained on. */
function measureValues(outcome: Outcome, predictions: Float32Array | Float64Array): MeasuredSplit {
  const { data, loss, math, targets } = outcome;
  const { targetNames, targetValues, transforms } = data;
  const sampleWeights = weightsOfCells(outcome.sampleWeights, data);
  const cells = cellsOf(outcome.indices, transforms.target.positions ?? 1);
  const isTransformed =
    transforms.target.kind === 'values' && transforms.target.columns.some(({ steps }) => steps.length > 0);
  const pickColumn = (values: Outcome['targets'] | Float64Array, column: number): Float64Array =>
    Float64Array.from(cells, (_, row) => values[row * targetNames.length + column]!);
  const trained = targetNames.map((_, column) => ({
    predicted: pickColumn(predictions, column),
    actual: pickColumn(targets, column),
  }));
  const columns = targetNames.map((name, column) => ({
    name,
    predicted: trained[column]!.predicted.map((value) => inverseTarget(transforms, column, value, math)),
    actual: Float64Array.from(cells, (cell) => targetValues[column]![cell]!),
  }));
  const transformed = isTransformed ? trained : undefined;
  return { metrics: regressionMetrics({ columns, transformed, loss, sampleWeights }), columns };
}

/** The weight of each cell of a target column, which is that of its row. */
export function weightsOfCells(sampleWeights: SampleWeights, { transforms }: LoadedData): SampleWeights {
  const { positions = 1 } = transforms.target;
  if (!sampleWeights || positions === 1) return sampleWeights;
  return Float32Array.from(
    { length: sampleWeights.length * positions },
    (_, at) => sampleWeights[Math.floor(at / positions)]!,
  );
}

function topKOf({ config, data }: Outcome): number | undefined {
  const { numClasses } = data.dataset.layout;
  return config.metrics.topK ?? (numClasses > DEFAULT_TOP_K ? DEFAULT_TOP_K : undefined);
}

/** Tells whether the loss of this cross-entropy is the log loss. */
function isLogLoss({ loss, classWeights }: Config): boolean {
  return unsmoothedLoss(loss) === undefined && classWeights === undefined;
}

/** Rows of `width` values, in the order of `indices`. */
function pickRows<T extends Float32Array | Uint32Array>(all: T, indices: Uint32Array, width: number): T {
  const picked = all.slice(0, indices.length * width) as T;
  indices.forEach((index, row) => picked.set(all.subarray(index * width, (index + 1) * width), row * width));
  return picked;
}
