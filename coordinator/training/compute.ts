// The interface between the training loop and whoever computes: this process, or a cluster of workers.
import { EVALUATION_SHARD_ROWS } from '../../src/engine/samples.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';
import type { ThreadTimes } from '../../src/threads/shared-task.ts';

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

/** The work of a compute so far, as plain data, for people who watch. */
export interface ComputeActivity {
  readonly workers: readonly WorkerActivity[];
  /** Milliseconds of each thread of this process so far, where it computes itself. */
  readonly threads: readonly ThreadTimes[];
  /** The latest complete step of a cluster. */
  readonly step: StepTimeline | undefined;
}

/** One worker, and what it has done so far. */
export interface WorkerActivity {
  readonly worker: number;
  /** The name that the worker gives itself. */
  readonly name: string;
  readonly address: string;
  readonly threads: number;
  /** True if bodies travel in files in memory; they count as bytes all the same. */
  readonly sharesMemory: boolean;
  readonly tasks: number;
  readonly shards: number;
  /** Time that the worker says it has computed. */
  readonly computeMs: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Tasks that it could not compute. */
  readonly failures: number;
}

/** The times of one training step, in milliseconds since it began. */
export interface StepTimeline {
  /** The step, from 1. */
  readonly step: number;
  readonly wallMs: number;
  readonly tasks: readonly StepTask[];
}

/** One task of a step: shards [from, to). */
export interface StepTask {
  readonly worker: number;
  readonly from: number;
  readonly to: number;
  readonly sentMs: number;
  /** Arrival of the first and the last partial sum; absent if none came. */
  readonly firstSumMs?: number;
  readonly lastSumMs?: number;
  /** Time that the worker computed; absent until it has reported. */
  readonly computeMs?: number;
}

/** Runner of steps and evaluations with the weights of one training state. */
export interface Compute {
  /** Number of workers that take part now; 0 for this process alone. */
  readonly numWorkers: number;
  /** Threads of this process that compute; undefined where workers do. */
  readonly numThreads?: number | undefined;
  /** Tells what has been computed so far. */
  activity(): ComputeActivity;
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
