// What has gone wrong with each leaf of a batch, and when it is the leaf's fault. It outlives a round that begins
// again, for the leaves stay the same. Every count has a limit, so no leaf is given out forever.
import type { GiveUpCause } from './events.ts';

/** Different workers that must fail on a leaf before the leaf is to blame. */
const MAX_FAILED_WORKERS = 3;
/** Lacks of memory on a leaf: a first one may be the fault of other programs. */
const MAX_OUT_OF_MEMORY = 2;
/** Workers that may be lost, for whatever reason, while they have the leaf. */
const MAX_LOST_WORKERS = 8;

/** Leaves [from, to). */
interface Leaves {
  readonly from: number;
  readonly to: number;
}

/** The verdict on some leaves. */
export interface Hopeless extends Leaves {
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

interface LeafRecord {
  readonly failed: Set<string>;
  numFailed: number;
  numOutOfMemory: number;
  readonly lost: Set<string>;
}

/** See the head of this file. */
export class LeafFailures {
  readonly #leaves = new Map<number, LeafRecord>();
  /** What lost workers had, for news of how they ended may come after their loss. */
  readonly #lost = new Map<string, readonly Leaves[]>();

  /** A worker says that it cannot compute these leaves. */
  fail(leaves: Leaves, { process, others, message, isOutOfMemory }: Failure): Hopeless | undefined {
    this.#forEach(leaves, (record) => {
      record.failed.add(process);
      record.numFailed++;
      if (isOutOfMemory) record.numOutOfMemory++;
    });
    const isHopeless = ({ failed, numFailed }: LeafRecord): boolean =>
      failed.size >= MAX_FAILED_WORKERS ||
      (numFailed >= MAX_FAILED_WORKERS && others.every((other) => failed.has(other)));
    return (
      this.#outOfMemory(leaves, message) ?? this.#verdict(leaves, isHopeless, { cause: 'failed', message })
    );
  }

  /** A worker is gone that had these leaves, with a goodbye or without. */
  lose(owed: readonly Leaves[], process: string): Hopeless | undefined {
    this.#lost.set(process, owed);
    for (const leaves of owed) this.#forEach(leaves, (record) => record.lost.add(process));
    const isHopeless = ({ lost }: LeafRecord): boolean => lost.size >= MAX_LOST_WORKERS;
    const message = `${MAX_LOST_WORKERS} workers were lost while they had them`;
    return firstOf(owed, (leaves) => this.#verdict(leaves, isHopeless, { cause: 'lost', message }));
  }

  /** A process that has these leaves, or the ones that it had when it was lost, ended for lack of memory. */
  runOutOfMemory(owed: readonly Leaves[], process: string): Hopeless | undefined {
    const all = [...owed, ...(this.#lost.get(process) ?? [])];
    for (const leaves of all) this.#forEach(leaves, (record) => record.numOutOfMemory++);
    const message = 'the worker process ended for lack of memory';
    return firstOf(all, (leaves) => this.#outOfMemory(leaves, message));
  }

  /** Whether the process has failed on the leaf. */
  hasFailed(leaf: number, process: string): boolean {
    return this.#leaves.get(leaf)?.failed.has(process) ?? false;
  }

  #outOfMemory(leaves: Leaves, message: string): Hopeless | undefined {
    const isHopeless = ({ numOutOfMemory }: LeafRecord): boolean => numOutOfMemory >= MAX_OUT_OF_MEMORY;
    return this.#verdict(leaves, isHopeless, { cause: 'outOfMemory', message });
  }

  /** The first run of leaves for which it is so. */
  #verdict(
    { from, to }: Leaves,
    isHopeless: (record: LeafRecord) => boolean,
    why: { readonly cause: GiveUpCause; readonly message: string },
  ): Hopeless | undefined {
    const isAt = (leaf: number): boolean => isHopeless(this.#record(leaf));
    let first = from;
    while (first < to && !isAt(first)) first++;
    let end = first;
    while (end < to && isAt(end)) end++;
    return first === end ? undefined : { from: first, to: end, ...why };
  }

  #forEach({ from, to }: Leaves, change: (record: LeafRecord) => void): void {
    for (let leaf = from; leaf < to; leaf++) change(this.#record(leaf));
  }

  #record(leaf: number): LeafRecord {
    const known = this.#leaves.get(leaf);
    if (known) return known;
    const fresh = { failed: new Set<string>(), numFailed: 0, numOutOfMemory: 0, lost: new Set<string>() };
    this.#leaves.set(leaf, fresh);
    return fresh;
  }
}

function firstOf<T>(leaves: readonly Leaves[], find: (leaves: Leaves) => T | undefined): T | undefined {
  for (const each of leaves) {
    const found = find(each);
    if (found !== undefined) return found;
  }
  return undefined;
}
