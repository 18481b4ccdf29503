// The interface between the training loop and whoever computes: this process, or a cluster of workers.
import { EVALUATION_SHARD_ROWS } from '../../src/engine/samples.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';

/** Dataset rows in order, cut into shards. */
export interface Batch {
  readonly indices: Uint32Array;
  /** Shard i holds the rows [bounds[i], bounds[i + 1]) of `indices`. */
  readonly bounds: Uint32Array;
  /**
   * The divisor of the sum of gradients: the rows' `totalSampleWeight`, above 0. An
   * evaluation, which has none, says 1.
   */
  readonly weight: number;
}

/** The figures of one training step. */
export interface StepResult {
  /** Sum, in f64, of losses over the batch's samples. */
  readonly lossSum: number;
  /** Euclidean norm of the mean gradient. */
  readonly gradNorm: number;
}

/** The losses and outputs of some rows. */
export interface Evaluation {
  readonly lossSum: number;
  /** f32 [rows, evaluationWidth]. */
  readonly outputs: Float32Array;
}

/** Runner of steps and evaluations with the weights of one training state. */
export interface Compute {
  /** Number of workers that take part now; 0 for this process alone. */
  readonly numWorkers: number;
  /** Threads of this process that compute; undefined where workers do. */
  readonly numThreads?: number | undefined;
  /** Computes the batch's gradient, takes the optimizer step and commits it. */
  trainStep(batch: Batch): Promise<StepResult>;
  /** Computes losses and outputs of dataset rows, with the current weights. */
  evaluate(indices: Uint32Array): Promise<Evaluation>;
  /** Takes note that the weights were replaced outside a step. */
  weightsReplaced(): void;
  /** Sends all workers away: for good if the run is over, otherwise to come back when it resumes. */
  close(reason: string, isOver: boolean): Promise<void>;
}

/** Outputs, in f32, that fit in a message; 100,000 columns are far from it. */
const MAX_OUTPUTS_PER_SHARD = MAX_BODY_BYTES / 4;

/**
 * The rows of an evaluation shard whose rows give `width` f32 each. They are part of the bits of a
 * validation loss, so they depend on the model alone.
 */
export function evaluationShardRows(width: number): number {
  return Math.max(1, Math.min(EVALUATION_SHARD_ROWS, Math.floor(MAX_OUTPUTS_PER_SHARD / width)));
}
