// The books of who was asked for what: ranges of the round under way, delivered or not, and every range that its worker
// has not reported on. A worker answers its ranges one after the other, in the order it got them, so all that it may
// speak of is the oldest of the latter. One that owes an earlier range is stuck or slow, and gets no new one.
import { lift, maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { RoundPlan } from './events.ts';

/** One range given to one worker. */
export interface Attempt {
  readonly id: number;
  readonly round: number;
  /** Of that round. */
  readonly plan: RoundPlan;
  readonly worker: number;
  /** Shards [from, to). */
  readonly from: number;
  readonly to: number;
  readonly rows: number;
  readonly givenMs: number;
  /** Every sum that it was asked for, by `sumKey`. */
  readonly asked: ReadonlySet<string>;
  /** Those that have not come yet. */
  readonly due: Set<string>;
  /** Sums that have come again. */
  numRepeated: number;
  /** Whether a user was told how long it takes. */
  isToldOf: boolean;
}

/** Names a bucket of a node within a round. */
export function sumKey({ level, index }: TreeNode, bucket: number): string {
  return `${level}/${index}/${bucket}`;
}

/** Whether the attempt still owes a sum. */
export function isOpen(attempt: Attempt): boolean {
  return attempt.due.size > 0;
}

/** Rows of shards [from, to). */
export function rowsIn({ shardRows }: RoundPlan, from: number, to: number): number {
  return shardRows.slice(from, to).reduce((sum, rows) => sum + rows, 0);
}

/** The sums that shards [from, to) come back as, by `sumKey`. */
export function sumsOf({ mode, numBuckets, shardRows }: RoundPlan, from: number, to: number): Set<string> {
  const numShards = shardRows.length;
  const shards = Array.from({ length: to - from }, (_, shard) => ({ level: 0, index: from + shard }));
  const nodes =
    mode === 'sum' ? maximalNodes(from, to, numShards) : shards.map((shard) => lift(shard, numShards));
  const buckets = Array.from({ length: numBuckets }, (_, bucket) => bucket);
  return new Set(nodes.flatMap((node) => buckets.map((bucket) => sumKey(node, bucket))));
}

/** See the head of this file. */
export class Attempts {
  #round = 0;
  #current = new Map<number, Attempt>();
  /** What each worker has not reported on, oldest first. */
  readonly #unreported = new Map<number, Attempt[]>();
  #lastId = 0;

  /** A round begins: what is owed of others is owed still, but nobody waits for it. */
  begin(round: number): void {
    this.#round = round;
    this.#current = new Map();
  }

  start(attempt: Omit<Attempt, 'id' | 'round' | 'due' | 'numRepeated' | 'isToldOf'>): Attempt {
    const due = new Set(attempt.asked);
    const fresh = { id: ++this.#lastId, round: this.#round, due, numRepeated: 0, isToldOf: false };
    const started = { ...attempt, ...fresh };
    this.#current.set(started.id, started);
    const unreported = this.#unreported.get(started.worker);
    if (unreported) unreported.push(started);
    else this.#unreported.set(started.worker, [started]);
    return started;
  }

  /** The only range that the worker may speak of; undefined if it has reported on all. */
  nextOf(worker: number): Attempt | undefined {
    return this.#unreported.get(worker)?.[0];
  }

  /** The worker has reported on the range `nextOf`, for good or bad. */
  report(worker: number): void {
    const unreported = this.#unreported.get(worker);
    unreported?.shift();
    if (unreported?.length === 0) this.#unreported.delete(worker);
  }

  /** What is owed in the round under way, oldest first. */
  open(): Attempt[] {
    return [...this.#current.values()].filter(isOpen);
  }

  /** All that is owed, of each worker the oldest first. */
  owed(): Attempt[] {
    return [...this.#unreported.values()].flat().filter(isOpen);
  }

  /** The range is given up: its shards are open again. */
  remove(attempt: Attempt): void {
    this.#current.delete(attempt.id);
  }

  /** Forgets a worker; returns what it owed in the round under way. */
  removeWorker(worker: number): Attempt[] {
    const unreported = this.#unreported.get(worker) ?? [];
    this.#unreported.delete(worker);
    const owed = unreported.filter((attempt) => isOpen(attempt) && this.#current.delete(attempt.id));
    return owed;
  }

  /** Whether the worker owes a range of an earlier round. */
  owesEarlier(worker: number): boolean {
    return (
      this.#unreported.get(worker)?.some((attempt) => attempt.round < this.#round && isOpen(attempt)) ?? false
    );
  }
}
