// Failures by shard of a batch, and when the shard is to blame for them. They outlive a
// round that restarts, for the shards stay the same. Every count has a limit, so no
// shard is given out forever.
import type { ShardRange } from '../../src/tree.ts';
import type { HopelessShards, TaskFailure } from './outcome.ts';

/** Different workers that must fail on a shard before the shard is to blame. */
const MAX_FAILED_WORKERS = 3;
/** Times that memory may run out on a shard: the first may be the fault of other programs. */
const MAX_OUT_OF_MEMORY = 2;
/** Workers that may be lost, for whatever reason, while they have the shard. */
const MAX_LOST_WORKERS = 8;

/** A failure, and who else might do better. */
export interface Failure extends TaskFailure {
  /** The process that failed: its sessions count as one worker. */
  readonly instance: string;
  /** All processes that might compute the shards. */
  readonly others: readonly string[];
}

interface ShardRecord {
  readonly failed: Set<string>;
  numFailed: number;
  numOutOfMemory: number;
  readonly lost: Set<string>;
}

/** The failures of one batch's shards. */
export class ShardFailures {
  readonly #shards = new Map<number, ShardRecord>();
  /** Shards that lost workers had, by instance: how a worker ended may be reported only later. */
  readonly #lost = new Map<string, readonly ShardRange[]>();

  /** Notes that a worker cannot compute these shards. */
  fail(
    shards: ShardRange,
    { instance, others, message, isOutOfMemory }: Failure,
  ): HopelessShards | undefined {
    this.#forEach(shards, (record) => {
      record.failed.add(instance);
      record.numFailed++;
      if (isOutOfMemory) record.numOutOfMemory++;
    });
    const isHopeless = ({ failed, numFailed }: ShardRecord): boolean =>
      failed.size >= MAX_FAILED_WORKERS ||
      (numFailed >= MAX_FAILED_WORKERS && others.every((other) => failed.has(other)));
    return (
      this.#outOfMemory(shards, message) ?? this.#verdict(shards, isHopeless, { cause: 'failed', message })
    );
  }

  /** Notes that a worker holding these shards left, politely or not. */
  lose(owed: readonly ShardRange[], instance: string): HopelessShards | undefined {
    this.#lost.set(instance, owed);
    for (const shards of owed) this.#forEach(shards, (record) => record.lost.add(instance));
    const isHopeless = ({ lost }: ShardRecord): boolean => lost.size >= MAX_LOST_WORKERS;
    const message = `${MAX_LOST_WORKERS} workers were lost while they had them`;
    return firstOf(owed, (shards) => this.#verdict(shards, isHopeless, { cause: 'lost', message }));
  }

  /**
   * Notes that a process ended for lack of memory, with these shards or those that
   * it had when it was lost.
   */
  runOutOfMemory(owed: readonly ShardRange[], instance: string): HopelessShards | undefined {
    const all = [...owed, ...(this.#lost.get(instance) ?? [])];
    for (const shards of all) this.#forEach(shards, (record) => record.numOutOfMemory++);
    const message = 'the worker process ended for lack of memory';
    return firstOf(all, (shards) => this.#outOfMemory(shards, message));
  }

  /** Tells whether the process has failed on the shard. */
  hasFailed(shard: number, instance: string): boolean {
    return this.#shards.get(shard)?.failed.has(instance) ?? false;
  }

  #outOfMemory(shards: ShardRange, message: string): HopelessShards | undefined {
    const isHopeless = ({ numOutOfMemory }: ShardRecord): boolean => numOutOfMemory >= MAX_OUT_OF_MEMORY;
    return this.#verdict(shards, isHopeless, { cause: 'outOfMemory', message });
  }

  /** The first run of hopeless shards, if there is one. */
  #verdict(
    { from, to }: ShardRange,
    isHopeless: (record: ShardRecord) => boolean,
    why: Pick<HopelessShards, 'cause' | 'message'>,
  ): HopelessShards | undefined {
    const isAt = (shard: number): boolean => isHopeless(this.#record(shard));
    let first = from;
    while (first < to && !isAt(first)) first++;
    let end = first;
    while (end < to && isAt(end)) end++;
    return first === end ? undefined : { from: first, to: end, ...why };
  }

  #forEach({ from, to }: ShardRange, change: (record: ShardRecord) => void): void {
    for (let shard = from; shard < to; shard++) change(this.#record(shard));
  }

  #record(shard: number): ShardRecord {
    const known = this.#shards.get(shard);
    if (known) return known;
    const fresh = { failed: new Set<string>(), numFailed: 0, numOutOfMemory: 0, lost: new Set<string>() };
    this.#shards.set(shard, fresh);
    return fresh;
  }
}

function firstOf<T>(
  shards: readonly ShardRange[],
  find: (shards: ShardRange) => T | undefined,
): T | undefined {
  for (const each of shards) {
    const found = find(each);
    if (found !== undefined) return found;
  }
  return undefined;
}
