// The books of who was asked for what: ranges of the round under way, and those of earlier rounds that their workers
// have not reported on. A worker that owes an earlier range is stuck or slow, and gets no new one.
import { lift, maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { RoundPlan } from './events.ts';

/** One range given to one worker. */
export interface Attempt {
  readonly id: number;
  readonly worker: number;
  /** Leaves [from, to). */
  readonly from: number;
  readonly to: number;
  readonly rows: number;
  readonly givenMs: number;
  /** Every sum that it was asked for, by `sumKey`. */
  readonly asked: ReadonlySet<string>;
  /** Those that have not come yet. */
  readonly due: Set<string>;
  /** Whether a user was told how long it takes. */
  isToldOf: boolean;
}

/** Names a piece of a node within a round. */
export function sumKey({ level, index }: TreeNode, piece: number): string {
  return `${level}/${index}/${piece}`;
}

/** Whether the attempt still owes a sum. */
export function isOpen(attempt: Attempt): boolean {
  return attempt.due.size > 0;
}

/** Rows of leaves [from, to). */
export function rowsIn({ leafRows }: RoundPlan, from: number, to: number): number {
  return leafRows.slice(from, to).reduce((sum, rows) => sum + rows, 0);
}

/** The sums that leaves [from, to) come back as, by `sumKey`. */
export function sumsOf({ mode, numPieces, leafRows }: RoundPlan, from: number, to: number): Set<string> {
  const numLeaves = leafRows.length;
  const leaves = Array.from({ length: to - from }, (_, leaf) => ({ level: 0, index: from + leaf }));
  const nodes =
    mode === 'sum' ? maximalNodes(from, to, numLeaves) : leaves.map((leaf) => lift(leaf, numLeaves));
  const pieces = Array.from({ length: numPieces }, (_, piece) => piece);
  return new Set(nodes.flatMap((node) => pieces.map((piece) => sumKey(node, piece))));
}

/** See the head of this file. */
export class Attempts {
  #current = new Map<number, Attempt>();
  readonly #stale = new Map<number, Attempt>();
  #lastId = 0;

  start(attempt: Omit<Attempt, 'id' | 'due' | 'isToldOf'>): Attempt {
    const id = ++this.#lastId;
    const started = { ...attempt, id, due: new Set(attempt.asked), isToldOf: false };
    this.#current.set(started.id, started);
    return started;
  }

  /** An attempt of the round under way, delivered or not. */
  find(id: number, worker: number): Attempt | undefined {
    const found = this.#current.get(id);
    return found?.worker === worker ? found : undefined;
  }

  /** What is owed in the round under way, oldest first. */
  open(): Attempt[] {
    return [...this.#current.values()].filter(isOpen);
  }

  /** All that is owed, earlier rounds included, oldest first. */
  owed(): Attempt[] {
    return [...this.#stale.values(), ...this.open()];
  }

  remove(attempt: Attempt): void {
    this.#current.delete(attempt.id);
  }

  /** Forgets a worker; returns what it owed in the round under way. */
  removeWorker(worker: number): Attempt[] {
    const owed = this.open().filter((attempt) => attempt.worker === worker);
    for (const attempt of owed) this.remove(attempt);
    for (const { id, worker: owner } of this.#stale.values()) if (owner === worker) this.#stale.delete(id);
    return owed;
  }

  /** The round is over: what is still owed is stale. */
  endRound(): void {
    for (const attempt of this.open()) this.#stale.set(attempt.id, attempt);
    this.#current = new Map();
  }

  /** A worker has reported on a range of an earlier round, which is returned; undefined if it owed none of that number. */
  settle(id: number, worker: number): Attempt | undefined {
    const stale = this.#stale.get(id);
    if (stale?.worker !== worker) return undefined;
    this.#stale.delete(id);
    return stale;
  }

  /** Whether the worker owes a range of an earlier round. */
  owesEarlier(worker: number): boolean {
    return [...this.#stale.values()].some((attempt) => attempt.worker === worker);
  }
}
