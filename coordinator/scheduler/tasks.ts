// The books of which worker owes which partial sums: tasks of the current round, delivered or not,
// and every task that its worker has not reported on. A worker computes its tasks one after the
// other, in the order it got them, so the only task it may speak of is the oldest of the latter. A
// worker that owes an earlier task is stuck or slow, and gets no new one.
import { isLifted, lift, maximalNodes, nodeKey } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { PlannedTask, RoundPlan, SumName, Task } from './outcome.ts';

/** A task that its worker has not reported on, and the sums that it results in. */
export interface OwedTask extends Task {
  readonly round: number;
  /** The plan of that round. */
  readonly plan: RoundPlan;
  readonly rows: number;
  readonly givenMs: number;
  /** All sums that the worker was asked for, by `sumKey`. */
  readonly asked: ReadonlySet<string>;
  /** Sums that have not arrived yet. */
  readonly due: Set<string>;
  /** Sums that arrived more than once. */
  numRepeated: number;
  /** True once a user was told how long it takes. */
  isToldOf: boolean;
}

/** The name of a node's bucket within a round. */
export function sumKey(node: TreeNode, bucket: number): string {
  return `${nodeKey(node)}/${bucket}`;
}

/** Tells whether the task still owes a sum. */
export function isOpen(task: OwedTask): boolean {
  return task.due.size > 0;
}

/** The node that a sum is about: workers name the shards of an evaluation, not the nodes that they equal. */
export function nodeOf({ plan }: OwedTask, { node }: SumName): TreeNode {
  return plan.kind === 'evaluate' ? lift(node, plan.shardRows.length) : node;
}

/** Notes that a sum has arrived; returns the reason to evict its sender, if there is one. */
export function bookSum(task: OwedTask, node: TreeNode, bucket: number): string | undefined {
  const { numBuckets, shardRows } = task.plan;
  const key = sumKey(node, bucket);
  if (!task.asked.has(key)) {
    const isReal = bucket < numBuckets && isLifted(node, shardRows.length);
    return isReal ? 'sent a sum it was not asked for' : 'sent a sum that does not exist';
  }
  if (task.due.delete(key)) return undefined;
  return ++task.numRepeated > 2 * task.asked.size ? 'sent the same sums again and again' : undefined;
}

/** The number of rows in shards [from, to). */
function rowsIn({ shardRows }: RoundPlan, from: number, to: number): number {
  return shardRows.slice(from, to).reduce((sum, rows) => sum + rows, 0);
}

/** The sums that a task of shards [from, to) results in, by `sumKey`. */
function sumsOf({ kind, numBuckets, shardRows }: RoundPlan, from: number, to: number): Set<string> {
  const numShards = shardRows.length;
  const shards = Array.from({ length: to - from }, (_, shard) => ({ level: 0, index: from + shard }));
  const nodes =
    kind === 'train' ? maximalNodes(from, to, numShards) : shards.map((shard) => lift(shard, numShards));
  const buckets = Array.from({ length: numBuckets }, (_, bucket) => bucket);
  return new Set(nodes.flatMap((node) => buckets.map((bucket) => sumKey(node, bucket))));
}

/** All tasks of a run that somebody may still answer. */
export class Tasks {
  #round = 0;
  #current = new Map<number, OwedTask>();
  /** Tasks that each worker has not reported on, oldest first. */
  readonly #unreported = new Map<number, OwedTask[]>();
  #lastId = 0;

  /** Begins a round: tasks of earlier ones are still owed, but nobody waits for them. */
  begin(round: number): void {
    this.#round = round;
    this.#current = new Map();
  }

  /** Gives shards to a worker. */
  start({ worker, from, to }: PlannedTask, plan: RoundPlan, nowMs: number): Task {
    const asked = sumsOf(plan, from, to);
    const task: OwedTask = {
      id: ++this.#lastId,
      worker,
      from,
      to,
      round: this.#round,
      plan,
      rows: rowsIn(plan, from, to),
      givenMs: nowMs,
      asked,
      due: new Set(asked),
      numRepeated: 0,
      isToldOf: false,
    };
    this.#current.set(task.id, task);
    const unreported = this.#unreported.get(worker);
    if (unreported) unreported.push(task);
    else this.#unreported.set(worker, [task]);
    return task;
  }

  /** The only task that the worker may speak of; undefined if it has reported on all of them. */
  nextOf(worker: number): OwedTask | undefined {
    return this.#unreported.get(worker)?.[0];
  }

  /** Notes that the worker has reported on the task `nextOf`, done or failed. */
  report(worker: number): void {
    const unreported = this.#unreported.get(worker);
    unreported?.shift();
    if (unreported?.length === 0) this.#unreported.delete(worker);
  }

  /** Tasks of the current round that still owe a sum, oldest first. */
  open(): OwedTask[] {
    return [...this.#current.values()].filter(isOpen);
  }

  /** All tasks that still owe a sum, each worker's oldest first. */
  owed(): OwedTask[] {
    return [...this.#unreported.values()].flat().filter(isOpen);
  }

  /** Gives a task up: its shards are open again. */
  remove(task: OwedTask): void {
    this.#current.delete(task.id);
  }

  /** Forgets a worker; returns the tasks that it owed in the current round. */
  removeWorker(worker: number): OwedTask[] {
    const unreported = this.#unreported.get(worker) ?? [];
    this.#unreported.delete(worker);
    const owed = unreported.filter((task) => isOpen(task) && this.#current.delete(task.id));
    return owed;
  }

  /** Tells whether the worker owes a task of an earlier round. */
  owesEarlier(worker: number): boolean {
    return this.#unreported.get(worker)?.some((task) => task.round < this.#round && isOpen(task)) ?? false;
  }
}
