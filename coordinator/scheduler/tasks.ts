// The books of who was asked for what: tasks of the round under way, delivered or not, and every task that its worker
// has not reported on. A worker answers its tasks one after the other, in the order it got them, so all that it may
// speak of is the oldest of the latter. One that owes an earlier task is stuck or slow, and gets no new one.
import { lift, maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { RoundPlan } from './events.ts';

/** One task given to one worker. */
export interface Task {
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

/** Whether the task still owes a sum. */
export function isOpen(task: Task): boolean {
  return task.due.size > 0;
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
export class Tasks {
  #round = 0;
  #current = new Map<number, Task>();
  /** What each worker has not reported on, oldest first. */
  readonly #unreported = new Map<number, Task[]>();
  #lastId = 0;

  /** A round begins: what is owed of others is owed still, but nobody waits for it. */
  begin(round: number): void {
    this.#round = round;
    this.#current = new Map();
  }

  start(task: Omit<Task, 'id' | 'round' | 'due' | 'numRepeated' | 'isToldOf'>): Task {
    const due = new Set(task.asked);
    const fresh = { id: ++this.#lastId, round: this.#round, due, numRepeated: 0, isToldOf: false };
    const started = { ...task, ...fresh };
    this.#current.set(started.id, started);
    const unreported = this.#unreported.get(started.worker);
    if (unreported) unreported.push(started);
    else this.#unreported.set(started.worker, [started]);
    return started;
  }

  /** The only task that the worker may speak of; undefined if it has reported on all. */
  nextOf(worker: number): Task | undefined {
    return this.#unreported.get(worker)?.[0];
  }

  /** The worker has reported on the task `nextOf`, for good or bad. */
  report(worker: number): void {
    const unreported = this.#unreported.get(worker);
    unreported?.shift();
    if (unreported?.length === 0) this.#unreported.delete(worker);
  }

  /** What is owed in the round under way, oldest first. */
  open(): Task[] {
    return [...this.#current.values()].filter(isOpen);
  }

  /** All that is owed, of each worker the oldest first. */
  owed(): Task[] {
    return [...this.#unreported.values()].flat().filter(isOpen);
  }

  /** The task is given up: its shards are open again. */
  remove(task: Task): void {
    this.#current.delete(task.id);
  }

  /** Forgets a worker; returns what it owed in the round under way. */
  removeWorker(worker: number): Task[] {
    const unreported = this.#unreported.get(worker) ?? [];
    this.#unreported.delete(worker);
    const owed = unreported.filter((task) => isOpen(task) && this.#current.delete(task.id));
    return owed;
  }

  /** Whether the worker owes a task of an earlier round. */
  owesEarlier(worker: number): boolean {
    return this.#unreported.get(worker)?.some((task) => task.round < this.#round && isOpen(task)) ?? false;
  }
}
