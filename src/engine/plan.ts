// The number of rows that a compute thread takes at once, and the memory that they need.
// Decided before anything runs.
//
//   once a process:   weights, of two steps | packed weights | dataset
//   once a thread:    targets | features and activations | two error blocks | scratch
//                     | gradients, one flat vector a partial sum
import { sizeOf } from '../shape.ts';
import type { Model } from '../model/model.ts';
import { mostRows } from '../model/shards.ts';
import type { Sharding } from '../model/shards.ts';
import { groupLevel } from '../tree.ts';
import { CountingWorkspace } from './workspace.ts';
import type { MicrobatchLimits, WorkspaceLengths } from './workspace.ts';

/** Activations of one microbatch are kept to about this size; larger tasks run in several. */
const ACTIVATION_BUDGET_BYTES = 32 * 2 ** 20;
/** Rows that are predicted in one microbatch, where their activations are small. */
const MAX_PREDICTED_ROWS = 1024;

/** Rows and shards of one microbatch, and the memory that follows from them. */
export interface EnginePlan extends MicrobatchLimits {
  /** Shards of the largest subtree computed in one microbatch: a power of two. */
  readonly maxShards: number;
  /** Most groups of shards in a batch, whose sums are rounded; undefined where no sum is. */
  readonly groups?: number | undefined;
  readonly lengths: WorkspaceLengths;
  readonly bytes: {
    readonly weights: number;
    readonly packedWeights: number;
    /** One partial sum; an aligned task needs no more. */
    readonly gradients: number;
    readonly activations: number;
    readonly scratch: number;
  };
}

/** The batches that an engine is planned for. */
export type PlannedBatches = Pick<Sharding, 'batchSize' | 'shards'> & Pick<EnginePlan, 'groups'>;

/** Plans microbatches for batches of at most `batchSize` rows in at most `shards` shards. */
export function planEngine(model: Model, { batchSize, shards, groups }: PlannedBatches): EnginePlan {
  const sharding = { batchSize, shards, model: model.spec };
  const sizes: MicrobatchLimits[] = [];
  const highest = groupLevel(Math.min(shards, batchSize), groups);
  for (let level = 0; level <= highest; level++) {
    sizes.push({ maxRows: mostRows(2 ** level, sharding), maxShards: 2 ** level });
  }
  return { ...planLargest(model, sizes), groups };
}

/** Plans microbatches that only predict: their rows are of no batch. */
export function planPredictions(model: Model): EnginePlan {
  const sizes: MicrobatchLimits[] = [];
  for (let maxRows = 1; maxRows <= MAX_PREDICTED_ROWS; maxRows *= 2) sizes.push({ maxRows, maxShards: 1 });
  return planLargest(model, sizes);
}

/**
 * The largest of these ascending sizes whose activations are within the budget;
 * the first one in any case.
 */
function planLargest(model: Model, [smallest, ...larger]: readonly MicrobatchLimits[]): EnginePlan {
  let plan = planMicrobatches(model, smallest as MicrobatchLimits);
  for (const limits of larger) {
    const next = planMicrobatches(model, limits);
    if (next.bytes.activations > ACTIVATION_BUDGET_BYTES) break;
    plan = next;
  }
  return plan;
}

/** Plans microbatches of a given size. */
export function planMicrobatches(model: Model, limits: MicrobatchLimits): EnginePlan {
  const { maxRows } = limits;
  const workspace = new CountingWorkspace(limits);
  // The features come in as the first activation, and the loss's gradient as the first error.
  workspace.activations(maxRows * sizeOf(model.inputShape));
  workspace.reserveError(maxRows * model.outputWidth);
  model.stack.createRunner(workspace);
  const { lengths } = workspace;
  return {
    ...limits,
    lengths,
    bytes: {
      weights: 2 * 4 * model.numParameters,
      packedWeights: 4 * model.stack.packedLengths.reduce((total, length) => total + length, 0),
      gradients: 4 * model.numParameters,
      activations: 4 * (lengths.activations + 2 * lengths.error),
      scratch: 4 * lengths.scratch,
    },
  };
}
