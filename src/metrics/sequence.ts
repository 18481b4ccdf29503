// Exact metrics of a classification of every position of a sequence, from the rank of the right class at each
// position: outputs themselves never leave the workers, being classes times as many.
import { topKAccuracy } from './classification.ts';
import type { TopK } from './classification.ts';
import { requireRows } from './weighting.ts';
import type { RowWeights } from './weighting.ts';

/** Metrics of sequences; each position counts with its weight. */
export interface SequenceMetrics {
  /** Mean loss: the sum over positions divided by the sum of their weights, those of classes included. */
  readonly loss: number;
  /** Share of positions whose largest output is the right class. */
  readonly accuracy: number;
  readonly topK?: TopK | undefined;
  /** e^loss; present where the loss is the plain cross-entropy. */
  readonly perplexity?: number | undefined;
}

/** What `sequenceMetrics` needs to know of a split. */
export interface SequenceOutcome {
  /** [rows, positions]: how many classes come before the right one. */
  readonly ranks: Float32Array;
  readonly loss: number;
  /** [rows, positions] */
  readonly weights?: RowWeights;
  readonly topK?: number | undefined;
  /** Asks for the perplexity, by an exponential that is not the host's. */
  readonly exp?: ((x: number) => number) | undefined;
}

/** Metrics of a split of sequences. */
export function sequenceMetrics({ ranks, loss, weights, topK, exp }: SequenceOutcome): SequenceMetrics {
  requireRows(ranks.length);
  return {
    loss,
    accuracy: topKAccuracy(ranks, 1, weights).accuracy,
    ...(topK !== undefined && { topK: topKAccuracy(ranks, topK, weights) }),
    ...(exp && { perplexity: exp(loss) }),
  };
}
