// Exact metrics of a classification over a whole split, from the outputs of its rows, in f64. Rows count
// by their weight as in scikit-learn's `sample_weight`; sums run over the rows in their order, so a value
// depends on that order only, never on who computed the rows.
import { treeSum } from '../tree.ts';
import { rocCurve } from './roc.ts';
import { ratio, requireRows, totalOf, weigh } from './weighting.ts';
import type { SampleWeights } from './weighting.ts';

/** Ratios of one class, or their mean over classes; a ratio of 0 to 0 counts as 0. */
export interface ClassRatios {
  /** Share of right ones among the rows that are predicted to be of the class. */
  readonly precision: number;
  /** Share of the rows of the class that are predicted to be. */
  readonly recall: number;
  /** Harmonic mean of the two. */
  readonly f1: number;
}

/** The metrics of one class. */
export interface ClassMetrics extends ClassRatios {
  /** Rows that truly are of this class and have a weight above 0. */
  readonly support: number;
}

/** Share of rows whose right class is among the `k` largest outputs. */
export interface TopK {
  /** Largest outputs that count. */
  readonly k: number;
  /** The share, from 0 to 1. */
  readonly accuracy: number;
}

/** Metrics of a classification. */
export interface ClassificationMetrics {
  /** Mean loss: the sum over rows divided by the sum of their weights, those of classes included. */
  readonly loss: number;
  /** Share of rows whose largest output is the right class. */
  readonly accuracy: number;
  /** Metrics of each class, in their order; of several labels of each label. */
  readonly perClass: readonly ClassMetrics[];
  /** Means over the classes that occur among labels or predictions. */
  readonly macro: ClassRatios;
  /** Present above 5 classes, and where `metrics.topK` asks for it. */
  readonly topK?: TopK | undefined;
  /**
   * Area under the ROC curve, for two classes only; the mean over labels where there are several. Absent
   * where a class has no rows.
   */
  readonly rocAuc?: number | undefined;
  /** Mean of -log of the right class's probability; present where the loss is something else. */
  readonly logLoss?: number | undefined;
  /** Row counts as [actual][predicted]; absent above `MAX_CONFUSION_CLASSES` classes. */
  readonly confusion?: readonly (readonly number[])[] | undefined;
}

/** The confusion matrix grows with the square of the classes; above this it helps nobody. */
export const MAX_CONFUSION_CLASSES = 1000;

/** A split as `classificationMetrics` needs it. */
export interface ClassificationOutcome {
  /** Row-major [rows, classes]: logits. */
  readonly outputs: Float32Array;
  /** Actual class of each row. */
  readonly labels: Uint32Array;
  readonly loss: number;
  readonly sampleWeights?: SampleWeights;
  /** Asks for the share of rows whose class is among the largest `topK` outputs. */
  readonly topK?: number | undefined;
  /** Asks for the log loss, where the loss is something else. */
  readonly math?: ClassMath | undefined;
}

/** The functions whose bits the host may not decide. */
interface ClassMath {
  log(x: number): number;
  exp(x: number): number;
}

/**
 * Metrics of a classification; the largest output of a row is its prediction, the lowest class winning a
 * tie.
 */
export function classificationMetrics(outcome: ClassificationOutcome): ClassificationMetrics {
  const { outputs, labels, loss, sampleWeights, topK, math } = outcome;
  const numClasses = outputs.length / requireRows(labels.length);
  const predicted = Uint32Array.from(labels, (_, row) => argmax(outputs, row * numClasses, numClasses));
  const area =
    numClasses === 2 ? rocCurve(logitDifferences(outputs), labels, sampleWeights)?.area : undefined;
  return {
    loss,
    ...compareClasses({ labels, predicted, numClasses, sampleWeights }),
    ...(topK !== undefined && {
      topK: topKAccuracy(Float32Array.from(labels, rankIn(outputs, numClasses)), topK, sampleWeights),
    }),
    ...(area !== undefined && { rocAuc: area }),
    ...(math && { logLoss: logLossOf(outcome, numClasses, math) }),
  };
}

/** A split as `binaryMetrics` needs it. */
export interface BinaryOutcome {
  /** Row-major [rows, columns]: a logit above 0 predicts the label. */
  readonly outputs: Float32Array;
  /** Row-major [rows, columns]: 0 or 1. */
  readonly targets: Float32Array;
  readonly numColumns: number;
  readonly loss: number;
  readonly sampleWeights?: SampleWeights;
  /** Asks for the log loss, where the loss is something else. */
  readonly math?: ClassMath | undefined;
}

/**
 * Metrics of labels that are there or not. Of one column they are those of a classification with classes
 * 0 and 1; of several each is a label of its own: the accuracy is over all cells, and `perClass` has one
 * entry a column.
 */
export function binaryMetrics(outcome: BinaryOutcome): ClassificationMetrics {
  const { outputs, targets, numColumns, loss, sampleWeights, math } = outcome;
  const numRows = requireRows(targets.length / numColumns);
  const columns = Array.from({ length: numColumns }, (_, column) => {
    const pick = (values: Float32Array, row: number): number => values[row * numColumns + column]!;
    const labels = Uint32Array.from({ length: numRows }, (_, row) => pick(targets, row));
    const scores = Float64Array.from({ length: numRows }, (_, row) => pick(outputs, row));
    const predicted = Uint32Array.from(scores, (score) => Number(score > 0));
    const area = rocCurve(scores, labels, sampleWeights)?.area;
    return { ...compareClasses({ labels, predicted, numClasses: 2, sampleWeights }), area };
  });
  const areas = columns.flatMap(({ area }) => area ?? []);
  const rest = {
    ...(areas.length > 0 && { rocAuc: meanOf(areas) }),
    ...(math && { logLoss: binaryLogLoss(outcome, math) }),
  };
  const [first] = columns;
  if (columns.length === 1 && first) {
    const { area: _, ...classes } = first;
    return { loss, ...classes, ...rest };
  }
  const perClass = columns.map(({ perClass: [, present] }) => present!);
  const accuracy = meanOf(columns.map((column) => column.accuracy));
  return { loss, accuracy, perClass, macro: meanRatios(perClass), ...rest };
}

/** Share of rows whose rank (0: the largest output) is below k. */
export function topKAccuracy(ranks: Float32Array, k: number, sampleWeights: SampleWeights): TopK {
  const hits = Float64Array.from(ranks, (rank, row) => (rank < k ? (sampleWeights?.[row] ?? 1) : 0));
  return { k, accuracy: treeSum(hits) / totalOf(sampleWeights, ranks.length) };
}

interface Comparison {
  readonly labels: Uint32Array;
  readonly predicted: Uint32Array;
  readonly numClasses: number;
  readonly sampleWeights: SampleWeights;
}

type Compared = Pick<ClassificationMetrics, 'accuracy' | 'perClass' | 'macro' | 'confusion'>;

/** Compares predicted classes with the right ones. */
export function compareClasses(comparison: Comparison): Compared {
  const { labels, numClasses, sampleWeights } = comparison;
  const counts = countClasses(comparison);
  const perClass = Array.from({ length: numClasses }, (_, label) => {
    const [correct, guessed, actual] = [
      counts.correct[label]!,
      counts.predicted[label]!,
      counts.actual[label]!,
    ];
    return {
      precision: ratio(correct, guessed),
      recall: ratio(correct, actual),
      f1: ratio(2 * correct, guessed + actual),
      support: counts.support[label]!,
    };
  });
  const occurring = perClass.filter((_, label) => counts.actual[label]! + counts.predicted[label]! > 0);
  return {
    accuracy: treeSum(counts.correct) / totalOf(sampleWeights, labels.length),
    perClass,
    macro: meanRatios(occurring),
    confusion: numClasses > MAX_CONFUSION_CLASSES ? undefined : confusionMatrix(comparison),
  };
}

function countClasses({ labels, predicted, numClasses, sampleWeights }: Comparison) {
  const counts = {
    actual: new Float64Array(numClasses),
    predicted: new Float64Array(numClasses),
    correct: new Float64Array(numClasses),
    support: new Float64Array(numClasses),
  };
  labels.forEach((label, row) => {
    const guess = predicted[row]!;
    const weight = sampleWeights ? sampleWeights[row]! : 1;
    counts.actual[label]! += weight;
    counts.predicted[guess]! += weight;
    if (guess === label) counts.correct[label]! += weight;
    if (weight > 0) counts.support[label]! += 1;
  });
  return counts;
}

function confusionMatrix({ labels, predicted, numClasses, sampleWeights }: Comparison): number[][] {
  const matrix = Array.from({ length: numClasses }, () => new Array<number>(numClasses).fill(0));
  labels.forEach((label, row) => {
    if (sampleWeights?.[row] !== 0) matrix[label]![predicted[row]!]! += 1;
  });
  return matrix;
}

function meanRatios(classes: readonly ClassRatios[]): ClassRatios {
  const mean = (key: keyof ClassRatios): number => meanOf(classes.map((ratios) => ratios[key]));
  return { precision: mean('precision'), recall: mean('recall'), f1: mean('f1') };
}

function meanOf(values: readonly number[]): number {
  return treeSum(values) / values.length;
}

/** The place of the largest of some values, the first of equal ones, counted from `offset`. */
export function argmax(values: Float32Array, offset: number, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i++) if (values[offset + i]! > values[offset + best]!) best = i;
  return best;
}

/** Ranks as the kernel `labelRanks` gives them. */
function rankIn(outputs: Float32Array, numClasses: number): (label: number, row: number) => number {
  return (label, row) => {
    const offset = row * numClasses;
    const value = outputs[offset + label]!;
    let numBehind = 0;
    for (let j = 0; j < numClasses; j++) {
      const other = outputs[offset + j]!;
      if (other < value || (other === value && j > label)) numBehind++;
    }
    return numClasses - 1 - numBehind;
  };
}

/** log p(1) - log p(0) of each row. */
function logitDifferences(outputs: Float32Array): Float64Array {
  return Float64Array.from(
    { length: outputs.length / 2 },
    (_, row) => outputs[2 * row + 1]! - outputs[2 * row]!,
  );
}

function logLossOf(
  { outputs, labels, sampleWeights }: ClassificationOutcome,
  numClasses: number,
  math: ClassMath,
): number {
  const losses = Float64Array.from(labels, (label, row) => {
    const logits = outputs.subarray(row * numClasses, (row + 1) * numClasses);
    const max = logits.reduce((largest, value) => Math.max(largest, value), Number.NEGATIVE_INFINITY);
    const sum = logits.reduce((total, value) => total + math.exp(value - max), 0);
    return math.log(sum) + max - logits[label]!;
  });
  return treeSum(weigh(losses, sampleWeights)) / totalOf(sampleWeights, labels.length);
}

/**
 * The mean log loss of rows; that of a row is the mean over its labels of log(1 + e^-|y|) + max(y, 0)
 * - y t.
 */
function binaryLogLoss(
  { outputs, targets, numColumns, sampleWeights }: BinaryOutcome,
  math: ClassMath,
): number {
  const numRows = targets.length / numColumns;
  const losses = Float64Array.from({ length: numRows }, (_, row) => {
    let sum = 0;
    for (let at = row * numColumns; at < (row + 1) * numColumns; at++) {
      const logit = outputs[at]!;
      sum += math.log(1 + math.exp(-Math.abs(logit))) + Math.max(logit, 0) - logit * targets[at]!;
    }
    return sum / numColumns;
  });
  return treeSum(weigh(losses, sampleWeights)) / totalOf(sampleWeights, numRows);
}
