// What the training loop needs of whoever computes: this process, or a cluster of workers.
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';

/** Dataset rows in order, cut into shards. */
export interface CutRows {
  readonly indices: Uint32Array;
  /** Shard i holds the rows [bounds[i], bounds[i + 1]) of `indices`. */
  readonly bounds: Uint32Array;
}

/** One batch, cut into shards. */
export interface Batch extends CutRows {
  /** Divides the sum of gradients: the rows' `totalWeight`, above 0. */
  readonly weight: number;
}

/** What a step came to. */
export interface StepResult {
  /** f64 sum of losses over the batch's samples. */
  readonly lossSum: number;
  /** Euclidean norm of the mean gradient. */
  readonly gradNorm: number;
}

/** What the model says of some rows. */
export interface Evaluation {
  readonly lossSum: number;
  /** f32 [rows, evaluationWidth]. */
  readonly outputs: Float32Array;
}

/** Runs steps and evaluations with the weights of one training state. */
export interface Compute {
  /** Workers that take part now; 0 for this process alone. */
  readonly numWorkers: number;
  /** Computes the batch's gradient, takes the optimizer step and commits it. */
  trainStep(batch: Batch): Promise<StepResult>;
  /** Losses and outputs of dataset rows, with the current weights. */
  evaluate(indices: Uint32Array): Promise<Evaluation>;
  /** The weights were replaced outside a step. */
  weightsReplaced(): void;
  /** Sends everyone away: for good if the run is over, else to come back when it goes on. */
  close(reason: string, isOver: boolean): Promise<void>;
}

/** Rows of one shard of an evaluation's loss tree, where the outputs of that many fit one message. */
const EVALUATION_LEAF_ROWS = 256;
/** f32 that a message carries; 100,000 columns are far from it. */
const MAX_OUTPUTS_PER_LEAF = MAX_BODY_BYTES / 4;

/**
 * Rows of an evaluation shard that give `width` f32 each: part of the bits of a validation loss, so it depends on the
 * model alone.
 */
export function evaluationShardRows(width: number): number {
  return Math.max(1, Math.min(EVALUATION_LEAF_ROWS, Math.floor(MAX_OUTPUTS_PER_LEAF / width)));
}
