// A round as the cluster sees it: what is computed, who waits for it, and what of it goes into a message.
import { LockstepError } from '../../src/errors.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { CutRows } from '../training/compute.ts';
import type { GiveUpCause, RoundCommand, RoundPlan } from '../scheduler/events.ts';
import type { TrainingState } from '../training/training-state.ts';

type GiveUp = Extract<RoundCommand, { readonly type: 'giveUp' }>;

/** What a round computes. */
export interface RoundTask {
  readonly kind: 'train' | 'evaluate';
  readonly batch: CutRows;
  /** Divides the sum of gradients; 1 in an evaluation, which has none. */
  readonly weight: number;
  /** Where the outputs of an evaluation go: f32 [rows, evaluationWidth]. */
  readonly outputs?: Float32Array;
}

/** As many as fill a few lines. */
const MAX_NAMED_ROWS = 64;

/** See the head of this file. */
export class ActiveRound {
  readonly kind: RoundTask['kind'];
  readonly batch: CutRows;
  readonly weight: number;
  /** Losses by shard, of an evaluation. */
  readonly shardLosses: Float64Array;
  readonly outputs: Float32Array;
  /** 0 until it has begun. */
  round = 0;
  lossSum = Number.NaN;
  /** The first sum that was not finite. */
  divergence: LockstepError | undefined;
  /** Whether some bucket of the sum is not finite. */
  isSpoilt = false;

  constructor({ kind, batch, weight, outputs = new Float32Array(0) }: RoundTask) {
    this.kind = kind;
    this.batch = batch;
    this.weight = weight;
    this.shardLosses = new Float64Array(kind === 'evaluate' ? batch.bounds.length - 1 : 0);
    this.outputs = outputs;
  }

  /** Forgets all that has come, and takes a new number. */
  begin(round: number): void {
    this.round = round;
    this.lossSum = Number.NaN;
    this.divergence = undefined;
    this.isSpoilt = false;
  }

  /** What the machine needs to know. */
  plan(numBuckets: number, step: number): RoundPlan {
    const { bounds } = this.batch;
    const shardRows = Array.from(
      { length: bounds.length - 1 },
      (_, shard) => (bounds[shard + 1] as number) - (bounds[shard] as number),
    );
    return this.kind === 'train'
      ? { mode: 'sum', numBuckets, shardRows, step }
      : { mode: 'collect', numBuckets: 1, shardRows, step };
  }

  /** The message that asks for shards [from, to). */
  taskMessage(run: string, state: TrainingState, task: number, from: number, to: number): Buffer {
    const { batch, kind, round } = this;
    const firstRow = batch.bounds[from] as number;
    const bounds = Array.from(batch.bounds.subarray(from, to + 1), (bound) => bound - firstRow);
    const indices = batch.indices.slice(firstRow, batch.bounds[to]);
    const fields = {
      run,
      round,
      task,
      version: state.version,
      weights: state.fingerprint,
      numShards: batch.bounds.length - 1,
      firstShard: from,
      bounds,
    };
    const message =
      kind === 'train'
        ? ({ type: kind, ...fields, step: state.step } as const)
        : ({ type: kind, ...fields } as const);
    return encodeMessage(message, new Uint8Array(indices.buffer));
  }

  /** Why the run ends when nobody can compute some shards. */
  unable({ from, to, cause, message }: GiveUp): LockstepError {
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
