// The step loop's decisions as a pure state machine: events in, commands out. No socket, clock or tensor
// is touched here; the time comes with each event, and values are named by slots that the driver keeps.
//
// A round is one distributed sum: the gradient of a batch, or the evaluation of a slice of a split. Its
// leaves are handed out as contiguous ranges ("attempts"). Each attempt answers with sums of maximal tree
// nodes, piece by piece. Because equal leaves give equal bits, it does not matter which attempt a sum came
// from: a lost worker's leaves go out again, a late range goes to an idle worker too, and the first answer
// is taken.
import { ReductionTree, isLifted, leavesUnder, maximalNodes } from '../src/tree.ts';
import type { TreeNode } from '../src/tree.ts';
import { divideLeaves } from './divide-leaves.ts';

/** What a round is about. */
export interface RoundPlan {
  readonly round: number;
  /** `sum` adds neighbours up to one result a piece; `collect` keeps every leaf by itself. */
  readonly mode: 'sum' | 'collect';
  readonly numPieces: number;
  /** Rows of each leaf; its length is the number of leaves. */
  readonly leafRows: readonly number[];
}

export type RoundEvent =
  | { readonly type: 'roundStarted'; readonly plan: RoundPlan }
  | { readonly type: 'workerReady'; readonly worker: number; readonly threads: number }
  | { readonly type: 'workerLost'; readonly worker: number }
  | { readonly type: 'sumReceived'; readonly worker: number; readonly sum: SumName }
  | {
      readonly type: 'rangeFinished';
      readonly worker: number;
      readonly round: number;
      readonly attempt: number;
    }
  | {
      readonly type: 'rangeFailed';
      readonly worker: number;
      readonly round: number;
      readonly attempt: number;
      readonly message: string;
    }
  | { readonly type: 'tick' };

/** Names a result: which sum it is, and which attempt it answers. */
export interface SumName {
  readonly round: number;
  readonly attempt: number;
  readonly node: TreeNode;
  readonly piece: number;
}

export type RoundCommand =
  | {
      readonly type: 'assign';
      readonly worker: number;
      readonly attempt: number;
      readonly from: number;
      readonly to: number;
    }
  /** Keep the value of the sum just received under this slot. */
  | { readonly type: 'store'; readonly slot: number }
  /** left += right, then forget right. */
  | { readonly type: 'merge'; readonly piece: number; readonly left: number; readonly right: number }
  | { readonly type: 'forget'; readonly slot: number }
  /** The piece's sum over all leaves is in the slot. */
  | { readonly type: 'pieceCompleted'; readonly piece: number; readonly slot: number }
  | { readonly type: 'roundCompleted'; readonly round: number }
  /** The worker broke the protocol of this round. */
  | { readonly type: 'evict'; readonly worker: number; readonly reason: string }
  /** No worker can compute these leaves. */
  | { readonly type: 'giveUp'; readonly from: number; readonly to: number; readonly message: string };

interface Worker {
  readonly id: number;
  readonly threads: number;
  /** Rows a millisecond; undefined until it has delivered a range. */
  speed: number | undefined;
}

interface Attempt {
  readonly id: number;
  readonly worker: number;
  readonly from: number;
  readonly to: number;
  readonly startedMs: number;
  /** Sums still to come: nodes times pieces. */
  sumsDue: number;
}

interface Round {
  readonly plan: RoundPlan;
  readonly trees: readonly ReductionTree<number>[];
  readonly attempts: Map<number, Attempt>;
  /** Workers that failed on a leaf, with the last message of each leaf. */
  readonly failures: Map<number, { workers: Set<number>; message: string }>;
  isComplete: boolean;
}

/** A range is late after this many times the expected time... */
const LATE_FACTOR = 3;
/** ...but not before this: timers and queues are no finer on a busy machine. */
const LATE_FLOOR_MS = 500;
/** Expected time of a range while no worker has delivered any: compiling and first touches included. */
const UNMEASURED_MS = 5_000;
/** Weight of the newest measurement in a worker's speed. */
const SPEED_SMOOTHING = 0.3;
/** Different workers that must fail on a leaf before the leaf is to blame. */
const MAX_FAILED_WORKERS = 3;
/** Copies of a leaf under way at once: one and a backup. */
const MAX_COPIES = 2;

/** See the head of this file. One instance a run. */
export class RoundMachine {
  readonly #workers = new Map<number, Worker>();
  #round: Round | undefined;
  /** Attempts of earlier rounds that were never delivered, with their workers: those get no new work. */
  readonly #stale = new Map<number, number>();
  #nextAttempt = 1;
  #nextSlot = 1;

  /** Handles one event at the given monotonic time, and returns what to do, in order. */
  handle(event: RoundEvent, nowMs: number): RoundCommand[] {
    switch (event.type) {
      case 'roundStarted':
        for (const { id, worker } of this.#round?.attempts.values() ?? []) this.#stale.set(id, worker);
        this.#round = startRound(event.plan);
        return this.#assignMissing(nowMs);
      case 'workerReady':
        this.#workers.set(event.worker, { id: event.worker, threads: event.threads, speed: undefined });
        return this.#assignMissing(nowMs);
      case 'workerLost':
        return this.#loseWorker(event.worker, nowMs);
      case 'sumReceived':
        return this.#takeSum(event.worker, event.sum, nowMs);
      case 'rangeFinished':
        return this.#finishRange(event, nowMs);
      case 'rangeFailed':
        return this.#failRange(event, nowMs);
      case 'tick':
        return this.#assignMissing(nowMs);
      default:
        return event satisfies never;
    }
  }

  #attemptOf(worker: number, round: number, attempt: number): Attempt | undefined {
    if (this.#round?.plan.round !== round) return undefined;
    const found = this.#round.attempts.get(attempt);
    return found?.worker === worker ? found : undefined;
  }

  #loseWorker(worker: number, nowMs: number): RoundCommand[] {
    this.#workers.delete(worker);
    for (const [attempt, owner] of this.#stale) if (owner === worker) this.#stale.delete(attempt);
    const attempts = this.#round?.attempts;
    for (const attempt of attempts?.values() ?? [])
      if (attempt.worker === worker) attempts?.delete(attempt.id);
    return this.#assignMissing(nowMs);
  }

  #takeSum(worker: number, sum: SumName, nowMs: number): RoundCommand[] {
    const round = this.#round;
    const attempt = this.#attemptOf(worker, sum.round, sum.attempt);
    if (!round || !attempt) return [];
    const tree = round.trees[sum.piece];
    if (!tree || !isLifted(sum.node, tree.numLeaves))
      return [evict(worker, 'sent a sum that does not exist')];
    const leaves = leavesUnder(sum.node, tree.numLeaves);
    if (leaves.from < attempt.from || leaves.to > attempt.to)
      return [evict(worker, 'sent a sum it was not asked for')];
    attempt.sumsDue--;
    if (attempt.sumsDue === 0) this.#deliver(attempt, nowMs);
    const slot = this.#nextSlot++;
    const added = tree.add(sum.node, slot);
    if (!added) return [];
    const commands: RoundCommand[] = [{ type: 'store', slot }];
    for (const dropped of added.dropped) commands.push({ type: 'forget', slot: dropped });
    if (round.plan.mode === 'sum') {
      for (const merge of added.merges) commands.push({ type: 'merge', piece: sum.piece, ...merge });
      if (tree.isComplete) commands.push({ type: 'pieceCompleted', piece: sum.piece, slot: added.slot });
    }
    commands.push(...this.#completeRound());
    if (attempt.sumsDue === 0) commands.push(...this.#assignMissing(nowMs));
    return commands;
  }

  #completeRound(): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isComplete || !round.trees.every((tree) => tree.isComplete)) return [];
    round.isComplete = true;
    return [{ type: 'roundCompleted', round: round.plan.round }];
  }

  /** A worker says that it is done with a range; its sums, if it sent them all, were here before. */
  #finishRange(event: { worker: number; round: number; attempt: number }, nowMs: number): RoundCommand[] {
    if (this.#stale.get(event.attempt) === event.worker) this.#stale.delete(event.attempt);
    const attempt = this.#attemptOf(event.worker, event.round, event.attempt);
    if (attempt) return [evict(event.worker, 'finished a range without sending all of its sums')];
    return this.#assignMissing(nowMs);
  }

  #failRange(
    event: { worker: number; round: number; attempt: number; message: string },
    nowMs: number,
  ): RoundCommand[] {
    const attempt = this.#attemptOf(event.worker, event.round, event.attempt);
    const round = this.#round;
    if (!round || !attempt) return [];
    round.attempts.delete(attempt.id);
    for (let leaf = attempt.from; leaf < attempt.to; leaf++) {
      const failure = round.failures.get(leaf) ?? { workers: new Set<number>(), message: '' };
      failure.workers.add(event.worker);
      failure.message = event.message;
      round.failures.set(leaf, failure);
    }
    const isHopeless = [...this.#workers.keys()].every((id) =>
      round.failures.get(attempt.from)?.workers.has(id),
    );
    const numFailed = round.failures.get(attempt.from)?.workers.size ?? 0;
    if (isHopeless || numFailed >= MAX_FAILED_WORKERS) {
      return [{ type: 'giveUp', from: attempt.from, to: attempt.to, message: event.message }];
    }
    return this.#assignMissing(nowMs);
  }

  /** All sums of an attempt are here: its worker is free, and its speed is known. */
  #deliver(attempt: Attempt, nowMs: number): void {
    this.#round?.attempts.delete(attempt.id);
    const worker = this.#workers.get(attempt.worker);
    if (!worker) return;
    const measured = this.#rowsIn(attempt) / Math.max(nowMs - attempt.startedMs, 0.01);
    worker.speed =
      worker.speed === undefined ? measured : worker.speed + SPEED_SMOOTHING * (measured - worker.speed);
  }

  /** Rows a millisecond: measured; or by the number of threads, at the mean speed of the measured ones'. */
  #speedOf(worker: Worker): number {
    if (worker.speed !== undefined) return worker.speed;
    return worker.threads * (this.#meanThreadSpeed() ?? 1);
  }

  #meanThreadSpeed(): number | undefined {
    let threads = 0;
    let speed = 0;
    for (const worker of this.#workers.values()) {
      if (worker.speed === undefined) continue;
      threads += worker.threads;
      speed += worker.speed;
    }
    return threads === 0 ? undefined : speed / threads;
  }

  #isLate(attempt: Attempt, nowMs: number): boolean {
    const worker = this.#workers.get(attempt.worker);
    const isMeasured = this.#meanThreadSpeed() !== undefined;
    const expectedMs = worker && isMeasured ? this.#rowsIn(attempt) / this.#speedOf(worker) : UNMEASURED_MS;
    return nowMs - attempt.startedMs >= Math.max(LATE_FACTOR * expectedMs, LATE_FLOOR_MS);
  }

  /** Leaves of which some piece is not covered yet. */
  #missingLeaves(): number[] {
    const missing = new Set<number>();
    for (const tree of this.#round?.trees ?? []) {
      for (const { from, to } of tree.missing()) for (let leaf = from; leaf < to; leaf++) missing.add(leaf);
    }
    return [...missing].sort((a, b) => a - b);
  }

  /** Hands out what nobody computes; once all is under way, gives idle workers copies of what is late. */
  #assignMissing(nowMs: number): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isComplete || this.#workers.size === 0) return [];
    const attempts = [...round.attempts.values()];
    const isUnderWay = (leaf: number): boolean => attempts.some((a) => a.from <= leaf && leaf < a.to);
    const missing = this.#missingLeaves();
    const open = missing.filter((leaf) => !isUnderWay(leaf));
    if (open.length > 0) return this.#assign(open, this.#leastLoaded(), nowMs);
    const idle = this.#dependable().filter((worker) => !attempts.some((a) => a.worker === worker.id));
    if (idle.length === 0) return [];
    const late = attempts.filter((attempt) => this.#isLate(attempt, nowMs));
    const copies = (leaf: number): number => attempts.filter((a) => a.from <= leaf && leaf < a.to).length;
    const isLate = (leaf: number): boolean => late.some((a) => a.from <= leaf && leaf < a.to);
    return this.#assign(
      missing.filter((leaf) => isLate(leaf) && copies(leaf) < MAX_COPIES),
      idle,
      nowMs,
    );
  }

  /** Workers that owe nothing from earlier rounds; all of them if there is no such worker. */
  #dependable(): Worker[] {
    const stuck = new Set(this.#stale.values());
    const workers = [...this.#workers.values()];
    const free = workers.filter((worker) => !stuck.has(worker.id));
    return free.length > 0 ? free : workers;
  }

  /** Workers without work, or all of them: a worker queues what it is given. */
  #leastLoaded(): Worker[] {
    const busy = new Set([...(this.#round?.attempts.values() ?? [])].map((attempt) => attempt.worker));
    const workers = this.#dependable();
    const idle = workers.filter((worker) => !busy.has(worker.id));
    return idle.length > 0 ? idle : workers;
  }

  #assign(leaves: readonly number[], workers: readonly Worker[], nowMs: number): RoundCommand[] {
    const commands: RoundCommand[] = [];
    for (const run of contiguousRuns(leaves)) {
      const failures = this.#round?.failures.get(run.from)?.workers;
      const willing = workers.filter((worker) => !failures?.has(worker.id));
      const shares = (willing.length > 0 ? willing : workers).map((worker) => ({
        id: worker.id,
        speed: this.#speedOf(worker),
      }));
      for (const range of divideLeaves(run.from, run.to, shares)) {
        const attempt = this.#startAttempt(range, nowMs);
        commands.push({
          type: 'assign',
          worker: attempt.worker,
          attempt: attempt.id,
          from: attempt.from,
          to: attempt.to,
        });
      }
    }
    return commands;
  }

  #startAttempt(range: { worker: number; from: number; to: number }, nowMs: number): Attempt {
    const { leafRows, numPieces, mode } = (this.#round as Round).plan;
    const numSums =
      mode === 'sum' ? maximalNodes(range.from, range.to, leafRows.length).length : range.to - range.from;
    const attempt = { id: this.#nextAttempt++, ...range, startedMs: nowMs, sumsDue: numSums * numPieces };
    this.#round?.attempts.set(attempt.id, attempt);
    return attempt;
  }

  #rowsIn({ from, to }: { readonly from: number; readonly to: number }): number {
    let rows = 0;
    for (let leaf = from; leaf < to; leaf++) rows += this.#round?.plan.leafRows[leaf] ?? 0;
    return rows;
  }
}

function startRound(plan: RoundPlan): Round {
  const trees = Array.from({ length: plan.numPieces }, () => new ReductionTree<number>(plan.leafRows.length));
  return { plan, trees, attempts: new Map(), failures: new Map(), isComplete: false };
}

function evict(worker: number, reason: string): RoundCommand {
  return { type: 'evict', worker, reason };
}

function contiguousRuns(leaves: readonly number[]): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (const leaf of leaves) {
    const last = runs[runs.length - 1];
    if (last?.to === leaf) last.to = leaf + 1;
    else runs.push({ from: leaf, to: leaf + 1 });
  }
  return runs;
}
