// Exact metrics of a classification of every position of a sequence, from the rank of the right class at each
// position and the predicted class: outputs themselves never leave the workers, there is one for each class.
import { compareClasses, topKAccuracy } from './classification.ts';
import type { ClassificationMetrics, TopK } from './classification.ts';
import { treeSum } from '../tree.ts';
import { requireRows, totalOf } from './weighting.ts';
import type { SampleWeights } from './weighting.ts';

/** Metrics of sequences; each position counts with its weight. There are none of each class where they are many. */
export interface SequenceMetrics extends Partial<
  Pick<ClassificationMetrics, 'perClass' | 'macro' | 'confusion'>
> {
  /** Mean loss: the sum over positions divided by the sum of their weights, those of classes included. */
  readonly loss: number;
  /** Share of positions whose largest output is the right class. */
  readonly accuracy: number;
  /** Present above 5 classes, and where `metrics.topK` asks for it. */
  readonly topK?: TopK | undefined;
  /** Mean of -log of the right class's probability; present where the loss is something else. */
  readonly logLoss?: number | undefined;
  /** e to the mean log loss. */
  readonly perplexity: number;
}

/** A split as `sequenceMetrics` needs it. */
export interface SequenceOutcome {
  /** [rows, positions]: how many classes come before the right one. */
  readonly ranks: Float32Array;
  /** Classes at positions, where they are counted one by one. */
  readonly counted?:
    | {
        /** [rows, positions]. */
        readonly labels: Uint32Array;
        readonly predicted: Uint32Array;
        readonly numClasses: number;
      }
    | undefined;
  readonly loss: number;
  /** Weights, [rows, positions]. */
  readonly sampleWeights?: SampleWeights;
  readonly topK?: number | undefined;
  /** [rows]: sums over positions; given where the loss is not the log loss. */
  readonly logLosses?: Float32Array | undefined;
  /** An exponential that is not the host's. */
  readonly exp: (x: number) => number;
}

/** Metrics of a split of sequences. */
export function sequenceMetrics(outcome: SequenceOutcome): SequenceMetrics {
  const { counted, ranks, loss, logLosses, sampleWeights, topK, exp } = outcome;
  requireRows(ranks.length);
  const logLoss = logLosses && treeSum(logLosses) / totalOf(sampleWeights, ranks.length);
  return {
    loss,
    ...(counted && compareClasses({ ...counted, sampleWeights })),
    accuracy: topKAccuracy(ranks, 1, sampleWeights).accuracy,
    ...(topK !== undefined && { topK: topKAccuracy(ranks, topK, sampleWeights) }),
    ...(logLoss !== undefined && { logLoss }),
    perplexity: exp(logLoss ?? loss),
  };
}
