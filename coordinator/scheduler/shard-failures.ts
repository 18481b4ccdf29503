// What has gone wrong with each shard of a batch, and when it is the shard's fault. It outlives a round that begins
// again, for the shards stay the same. Every count has a limit, so no shard is given out forever.
import type { GiveUpCause } from './events.ts';

/** Different workers that must fail on a shard before the shard is to blame. */
const MAX_FAILED_WORKERS = 3;
/** Lacks of memory on a shard: a first one may be the fault of other programs. */
const MAX_OUT_OF_MEMORY = 2;
/** Workers that may be lost, for whatever reason, while they have the shard. */
const MAX_LOST_WORKERS = 8;

/** Shards [from, to). */
interface Shards {
  readonly from: number;
  readonly to: number;
}

/** The verdict on some shards. */
export interface Hopeless extends Shards {
  readonly cause: GiveUpCause;
  readonly message: string;
}

/** A worker's word that it cannot compute something. */
export interface Failure {
  /** Who: sessions of one process are one worker. */
  readonly process: string;
  /** All processes that might compute it. */
  readonly others: readonly string[];
  readonly message: string;
  readonly isOutOfMemory: boolean;
}

interface ShardRecord {
  readonly failed: Set<string>;
  numFailed: number;
  numOutOfMemory: number;
  readonly lost: Set<string>;
}

/** See the head of this file. */
export class ShardFailures {
  readonly #shards = new Map<number, ShardRecord>();
  /** What lost workers had, for news of how they ended may come after their loss. */
  readonly #lost = new Map<string, readonly Shards[]>();

  /** A worker says that it cannot compute these shards. */
  fail(shards: Shards, { process, others, message, isOutOfMemory }: Failure): Hopeless | undefined {
    this.#forEach(shards, (record) => {
      record.failed.add(process);
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

  /** A worker is gone that had these shards, with a goodbye or without. */
  lose(owed: readonly Shards[], process: string): Hopeless | undefined {
    this.#lost.set(process, owed);
    for (const shards of owed) this.#forEach(shards, (record) => record.lost.add(process));
    const isHopeless = ({ lost }: ShardRecord): boolean => lost.size >= MAX_LOST_WORKERS;
    const message = `${MAX_LOST_WORKERS} workers were lost while they had them`;
    return firstOf(owed, (shards) => this.#verdict(shards, isHopeless, { cause: 'lost', message }));
  }

  /** A process that has these shards, or the ones that it had when it was lost, ended for lack of memory. */
  runOutOfMemory(owed: readonly Shards[], process: string): Hopeless | undefined {
    const all = [...owed, ...(this.#lost.get(process) ?? [])];
    for (const shards of all) this.#forEach(shards, (record) => record.numOutOfMemory++);
    const message = 'the worker process ended for lack of memory';
    return firstOf(all, (shards) => this.#outOfMemory(shards, message));
  }

  /** Whether the process has failed on the shard. */
  hasFailed(shard: number, process: string): boolean {
    return this.#shards.get(shard)?.failed.has(process) ?? false;
  }

  #outOfMemory(shards: Shards, message: string): Hopeless | undefined {
    const isHopeless = ({ numOutOfMemory }: ShardRecord): boolean => numOutOfMemory >= MAX_OUT_OF_MEMORY;
    return this.#verdict(shards, isHopeless, { cause: 'outOfMemory', message });
  }

  /** The first run of shards for which it is so. */
  #verdict(
    { from, to }: Shards,
    isHopeless: (record: ShardRecord) => boolean,
    why: { readonly cause: GiveUpCause; readonly message: string },
  ): Hopeless | undefined {
    const isAt = (shard: number): boolean => isHopeless(this.#record(shard));
    let first = from;
    while (first < to && !isAt(first)) first++;
    let end = first;
    while (end < to && isAt(end)) end++;
    return first === end ? undefined : { from: first, to: end, ...why };
  }

  #forEach({ from, to }: Shards, change: (record: ShardRecord) => void): void {
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

function firstOf<T>(shards: readonly Shards[], find: (shards: Shards) => T | undefined): T | undefined {
  for (const each of shards) {
    const found = find(each);
    if (found !== undefined) return found;
  }
  return undefined;
}
