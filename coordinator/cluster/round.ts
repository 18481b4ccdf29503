// A round on the cluster: a batch to train on or to evaluate, the results so far, the message for
// each of its tasks, and the error if it cannot end well.
import { shardsBetween } from '../../src/engine/engine.ts';
import type { TaskRows } from '../../src/engine/engine.ts';
import { LockstepError } from '../../src/errors.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { groupLevel } from '../../src/tree.ts';
import type { GiveUpCause, HopelessShards, RoundPlan, Task } from '../scheduler/outcome.ts';
import type { Batch } from '../training/compute.ts';
import type { TrainingState } from '../training/training-state.ts';

/** Dataset rows that an error names: as many as fill a few lines. */
const MAX_NAMED_ROWS = 64;

/** One distributed computation: a training step, or a part of an evaluation. */
export class Round {
  readonly kind: 'train' | 'evaluate';
  readonly batch: Batch;
  /** Losses by shard of an evaluation. */
  readonly shardLosses: Float64Array;
  /** f32 [rows, evaluationWidth] of an evaluation. */
  readonly outputs: Float32Array;
  /** Counted over the run, restarts included; 0 until it begins. */
  number = 0;
  lossSum = Number.NaN;
  /** The error for the first sum that was not finite. */
  divergence: LockstepError | undefined;

  constructor(kind: Round['kind'], batch: Batch, outputs = new Float32Array(0)) {
    this.kind = kind;
    this.batch = batch;
    this.shardLosses = new Float64Array(kind === 'evaluate' ? batch.bounds.length - 1 : 0);
    this.outputs = outputs;
  }

  get numShards(): number {
    return this.batch.bounds.length - 1;
  }

  /** Forgets all results so far, and takes a new number. */
  begin(number: number): void {
    this.number = number;
    this.lossSum = Number.NaN;
    this.divergence = undefined;
  }

  /** The plan that the scheduler needs; `groups` is the most that a batch has, where sums are rounded. */
  plan(numBuckets: number, step: number, groups: number | undefined): RoundPlan {
    const { bounds } = this.batch;
    const shardRows = Array.from(
      { length: bounds.length - 1 },
      (_, shard) => (bounds[shard + 1] as number) - (bounds[shard] as number),
    );
    if (this.kind === 'evaluate') return { kind: this.kind, numBuckets: 1, shardRows, step };
    const groupShards = groups === undefined ? undefined : 2 ** groupLevel(this.numShards, groups);
    return { kind: this.kind, numBuckets, shardRows, step, groupShards };
  }

  /** The rows of shards [from, to). */
  rows(from: number, to: number): TaskRows {
    return shardsBetween({ ...this.batch, numShards: this.numShards, firstShard: 0 }, from, to);
  }

  /** The encoded `train` or `evaluate` message of a task. */
  taskMessage(run: string, state: TrainingState, { id: task, from, to }: Task): Buffer {
    const { kind, number: round } = this;
    const { numShards, firstShard, bounds, indices } = this.rows(from, to);
    const fields = {
      run,
      round,
      task,
      version: state.version,
      weightsFingerprint: state.fingerprint,
      numShards,
      firstShard,
      bounds: [...bounds],
    };
    const message =
      kind === 'train'
        ? ({ type: kind, ...fields, step: state.step } as const)
        : ({ type: kind, ...fields } as const);
    return encodeMessage(message, new Uint8Array(indices.buffer));
  }

  /** The error that ends the run because nobody can compute some shards. */
  hopeless({ from, to, cause, message }: HopelessShards): LockstepError {
    const rows = this.batch.indices.subarray(this.batch.bounds[from], this.batch.bounds[to]);
    const names = to - from === 1 ? `shard ${from}` : `shards ${from} to ${to - 1}`;
    const shards = `${names} (dataset rows ${listOf(rows)})`;
    const { code, what, help } = GIVE_UP[cause];
    return new LockstepError({
      category: 'failure',
      code,
      message: `${what.replace('{kind}', this.kind).replace('{shards}', shards)}: ${message}`,
      help,
    });
  }
}

/** Rows are shuffled, so that only a list tells which they are. */
function listOf(rows: Uint32Array): string {
  const named = rows.subarray(0, MAX_NAMED_ROWS).join(', ');
  return rows.length <= MAX_NAMED_ROWS ? named : `${named} and ${rows.length - MAX_NAMED_ROWS} more`;
}

const GIVE_UP: Readonly<
  Record<GiveUpCause, { readonly code: `E_${string}`; readonly what: string; readonly help: string }>
> = {
  failed: {
    code: 'E_POISON_SHARD',
    what: 'no worker can {kind} {shards}',
    help: 'look at these rows of the data, and at the memory of the workers',
  },
  outOfMemory: {
    code: 'E_SHARD_MEMORY',
    what: 'no worker has the memory to {kind} {shards}',
    help: 'use more shards, a smaller batchSize or a smaller model, or give workers more memory',
  },
  lost: {
    code: 'E_POISON_SHARD',
    what: 'no worker survives to {kind} {shards}',
    help: 'look above for why the workers ended, and at these rows of the data',
  },
  dishonest: {
    code: 'E_DISHONEST_WORKERS',
    what: 'cannot {kind} {shards}',
    help: 'give the token to workers that you trust, and look at the memory of their machines',
  },
};
