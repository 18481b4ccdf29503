// A round on the cluster: rows to train on or to evaluate, the receiver of their results, the message
// for each task, and the error if it cannot end well.
import { shardsBetween } from '../../src/engine/engine.ts';
import type { EvaluatedShard, PartialSum, TaskRows } from '../../src/engine/engine.ts';
import { LockstepError } from '../../src/errors.ts';
import type { EvaluateMessage, TrainMessage } from '../../src/protocol/message-types.ts';
import { groupLevel } from '../../src/tree.ts';
import type { GiveUpCause, HopelessShards, RoundPlan, Task } from '../scheduler/outcome.ts';
import type { TrainingState } from '../training/training-state.ts';

/** Dataset rows that an error names: as many as fill a few lines. */
const MAX_NAMED_ROWS = 64;

/** The weights that rounds are computed with: those of a training, or an aggregator's copy of them. */
export interface RoundState extends Pick<
  TrainingState,
  'kernels' | 'memory' | 'model' | 'version' | 'weightsFingerprint' | 'step' | 'parameters' | 'currentBucket'
> {
  /** A bucket of the next version; undefined while it is not known. */
  nextBucket(index: number): ReturnType<TrainingState['nextBucket']>;
  /** The error for a sum that is not finite; undefined where others are to judge that. */
  divergence(bucket: number, address: number): LockstepError | undefined;
}

/** A task as its worker is told of it. */
interface GivenTask {
  readonly message: TrainMessage | EvaluateMessage;
  readonly rows: TaskRows;
}

/** The receiver of a round's results. */
export interface RoundResults {
  /**
   * Takes a bucket of a sum to which nothing more is added; returns the buckets of the next weights
   * that are finished now. The sum stays where it is until the next round.
   * @throws LockstepError (exit 6) where it is not finite
   */
  readonly takeSum: (sum: PartialSum) => readonly number[];
  readonly takeShard: (evaluated: EvaluatedShard) => void;
  /** The round restarts, so all that was taken is void. @throws Error where that is not possible */
  readonly restart: () => void;
}

/** One distributed computation: a training step, a part of an evaluation, or an aggregator's part of either. */
export class Round {
  readonly kind: 'train' | 'evaluate';
  readonly rows: TaskRows;
  readonly results: RoundResults;
  /** Counted over the run, restarts included; 0 until it begins. */
  number = 0;
  /** The error for the first sum that was not finite. */
  divergence: LockstepError | undefined;

  constructor(kind: Round['kind'], rows: TaskRows, results: RoundResults) {
    this.kind = kind;
    this.rows = rows;
    this.results = results;
  }

  get numShards(): number {
    return this.rows.numShards;
  }

  /** Takes a new number; a restart makes all results so far void. */
  begin(number: number, isRestart: boolean): void {
    if (isRestart) this.results.restart();
    this.number = number;
    this.divergence = undefined;
  }

  /** The plan that the scheduler needs; at the borders of at most `groups` groups tasks are to be cut. */
  plan(numBuckets: number, step: number, groups: number | undefined): RoundPlan {
    const { kind, numShards } = this;
    const { bounds, firstShard } = this.rows;
    const shards = { from: firstShard, to: firstShard + bounds.length - 1 };
    const shardRows = Array<number>(numShards).fill(0);
    for (let shard = shards.from; shard < shards.to; shard++) shardRows[shard] = this.rowsOf(shard).length;
    if (kind === 'evaluate') return { kind, numBuckets: 1, shardRows, shards, step };
    const groupShards = groups === undefined ? undefined : 2 ** groupLevel(numShards, groups);
    return { kind, numBuckets, shardRows, shards, step, groupShards };
  }

  /** The dataset rows of a shard; none of a shard that is not of this round. */
  rowsOf(shard: number): Uint32Array {
    const { bounds, firstShard, indices } = this.rows;
    return indices.subarray(bounds[shard - firstShard] ?? 0, bounds[shard - firstShard + 1] ?? 0);
  }

  /** The rows of shards [from, to). */
  part(from: number, to: number): TaskRows {
    const { firstShard } = this.rows;
    return shardsBetween(this.rows, from - firstShard, to - firstShard);
  }

  /** The message of a task, and its rows, which are to be the body. */
  task(run: string, state: RoundState, { id: task, from, to }: Task): GivenTask {
    const { kind, number: round } = this;
    const rows = this.part(from, to);
    const { numShards, firstShard, bounds } = rows;
    const fields = {
      run,
      round,
      task,
      version: state.version,
      weightsFingerprint: state.weightsFingerprint,
      numShards,
      firstShard,
      bounds: [...bounds],
    };
    const message =
      kind === 'train'
        ? ({ type: kind, ...fields, step: state.step } as const)
        : ({ type: kind, ...fields } as const);
    return { message, rows };
  }

  /** The error that ends the run because nobody can compute some shards. */
  hopeless({ from, to, cause, message }: HopelessShards): LockstepError {
    const names = to - from === 1 ? `shard ${from}` : `shards ${from} to ${to - 1}`;
    const shards = `${names} (dataset rows ${listOf(this.part(from, to).indices)})`;
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
