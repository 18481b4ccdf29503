// Who computes what next: leaves that nobody has, sums that want a second witness, copies of what is late, and now and
// then a leaf for a worker that was too slow to get one, to see whether it still is. A copy costs only processor time.
import { leavesUnder } from '../../src/tree.ts';
import type { ReductionTree, TreeNode } from '../../src/tree.ts';
import type { Answers, Unwitnessed } from './answers.ts';
import { sumKey } from './attempts.ts';
import type { Attempt, Attempts } from './attempts.ts';
import { divideLeaves } from './divide-leaves.ts';
import { COORDINATOR } from './events.ts';
import type { RoundPlan } from './events.ts';
import type { LeafFailures } from './leaf-failures.ts';
import type { Pace } from './pace.ts';

/** A round, and who is there for it. */
export interface WorkSituation {
  readonly plan: RoundPlan;
  readonly trees: readonly ReductionTree<number>[];
  readonly answers: Answers;
  readonly failures: LeafFailures;
  readonly attempts: Attempts;
  readonly pace: Pace;
  /** The process of each worker. */
  readonly workers: ReadonlyMap<number, string>;
  readonly nowMs: number;
}

/** What to do next. */
export interface Work {
  readonly ranges: readonly Range[];
  /** Nodes that no worker but those who answered can confirm. */
  readonly toJudge: readonly TreeNode[];
}

interface Range {
  readonly worker: number;
  readonly from: number;
  readonly to: number;
}

/** A range is late after this many times the expected time... */
const LATE_FACTOR = 3;
/** ...but not before this: it is what a garbage collection or another program takes without being a fault. */
const LATE_FLOOR_MS = 100;
/** Expected time of a range while no worker has delivered any: compiling and first touches included. */
const UNMEASURED_MS = 5_000;
/** How long a worker is taken to be as slow as it was. */
const SPEED_VALID_MS = 2_000;

/** See the head of this file. */
export function planWork(situation: WorkSituation): Work {
  const planner = new Planner(situation);
  const open = planner.openLeaves();
  if (open.length > 0) return { ranges: planner.divideOpen(open), toJudge: [] };
  if (planner.idle.length === 0 && !planner.hasUnwitnessed) return { ranges: [], toJudge: [] };
  const witnesses = planner.findWitnesses();
  return { ranges: [...witnesses.ranges, ...planner.copyLate(witnesses.ranges)], toJudge: witnesses.toJudge };
}

class Planner {
  readonly #now: WorkSituation;
  readonly #open: readonly Attempt[];
  readonly #dependable: readonly number[];
  readonly #missing: readonly number[];
  readonly #unwitnessed: readonly Unwitnessed[];
  /** Workers that have nothing to do. */
  idle: number[];

  constructor(situation: WorkSituation) {
    this.#now = situation;
    this.#open = situation.attempts.open();
    const workers = [...situation.workers.keys()];
    const free = workers.filter((worker) => !situation.attempts.owesEarlier(worker));
    this.#dependable = free.length > 0 ? free : workers;
    const busy = new Set(this.#open.map(({ worker }) => worker));
    this.idle = this.#dependable.filter((worker) => !busy.has(worker));
    this.#missing = missingLeaves(situation.trees);
    this.#unwitnessed = situation.answers.unwitnessed(situation.plan.leafRows.length);
  }

  get hasUnwitnessed(): boolean {
    return this.#unwitnessed.length > 0;
  }

  /** Missing leaves that nobody computes. */
  openLeaves(): number[] {
    return this.#missing.filter((leaf) => !this.#open.some((attempt) => hasLeaf(attempt, leaf)));
  }

  /** Among idle workers or, where none of them will do, all: a worker queues what it is given. */
  divideOpen(leaves: readonly number[]): Range[] {
    const ranges = this.#divide(leaves, this.idle, this.#dependable);
    return [...ranges, ...this.#tryLeftOut(ranges, leaves)];
  }

  /** A copy of the last leaf for the idle worker that has got nothing for longest: one, or a bad leaf would meet all. */
  #tryLeftOut(ranges: readonly Range[], leaves: readonly number[]): Range[] {
    const { nowMs, pace } = this.#now;
    const leaf = leaves[leaves.length - 1] as number;
    const isLeftOut = (worker: number): boolean =>
      !ranges.some((range) => range.worker === worker) &&
      nowMs - pace.beganMs(worker, 0) >= SPEED_VALID_MS &&
      !this.#hasFailed(leaf, worker);
    const [worker] = this.idle.filter(isLeftOut).sort((a, b) => pace.beganMs(a, 0) - pace.beganMs(b, 0));
    return worker === undefined ? [] : [{ worker, from: leaf, to: leaf + 1 }];
  }

  /** Gives each sum that wants one a second witness, or the coordinator if no other worker will do. */
  findWitnesses(): Work {
    const { plan } = this.#now;
    const loads = new Map(this.idle.map((worker) => [worker, 0]));
    const chosen = new Map<number, Range[]>();
    const toJudge: TreeNode[] = [];
    for (const sum of this.#unwitnessed) {
      if (this.#isBeingWitnessed(sum)) continue;
      const able = this.#dependable.filter((worker) => this.#canWitness(worker, sum));
      const worker = leastOf(able, loads);
      const { from, to } = leavesUnder(sum.node, plan.leafRows.length);
      if (worker !== undefined) {
        loads.set(worker, (loads.get(worker) as number) + (to - from) / this.#now.pace.speedOf(worker));
        extend(chosen, { worker, from, to }, plan.mode === 'collect');
      } else if (able.every((busy) => this.#isLate(busy))) toJudge.push(sum.node);
    }
    this.idle = this.idle.filter((worker) => !chosen.has(worker));
    return { ranges: [...chosen.values()].flat(), toJudge };
  }

  #canWitness(worker: number, { node, processes }: Unwitnessed): boolean {
    const { plan, workers } = this.#now;
    const { from } = leavesUnder(node, plan.leafRows.length);
    return !processes.has(workers.get(worker) as string) && !this.#hasFailed(from, worker);
  }

  /** Whether an attempt under way will confirm the sum in time. */
  #isBeingWitnessed({ node, processes }: Unwitnessed): boolean {
    const { plan, workers } = this.#now;
    const pieces = Array.from({ length: plan.numPieces }, (_, piece) => sumKey(node, piece));
    return this.#open.some(
      ({ worker, due }) =>
        !processes.has(workers.get(worker) as string) &&
        pieces.some((key) => due.has(key)) &&
        !this.#isLate(worker),
    );
  }

  /** Another copy of each leaf that everyone who has it is late with: who is late may be stuck for good. */
  copyLate(given: readonly Range[]): Range[] {
    if (this.idle.length === 0) return [];
    const isLate = (leaf: number): boolean => {
      const copies = this.#open.filter((attempt) => hasLeaf(attempt, leaf));
      return (
        copies.every(({ worker }) => this.#isLate(worker)) && !given.some((range) => hasLeaf(range, leaf))
      );
    };
    return this.#divide(this.#missing.filter(isLate), this.idle, []);
  }

  /**
   * Whether the oldest range that a worker owes ought to be here; those behind it wait for their turn. The coordinator is
   * not lost without the run, and computes what others failed on.
   */
  #isLate(worker: number): boolean {
    const { nowMs, pace } = this.#now;
    if (worker === COORDINATOR.worker) return false;
    const oldest = this.#open.find((attempt) => attempt.worker === worker);
    if (!oldest) return false;
    const expectedMs = pace.expectedMs(worker, oldest.rows) ?? UNMEASURED_MS;
    const lateMs = Math.max(LATE_FACTOR * expectedMs, LATE_FLOOR_MS);
    return nowMs - pace.beganMs(worker, oldest.givenMs) >= lateMs;
  }

  #hasFailed(leaf: number, worker: number): boolean {
    return this.#now.failures.hasFailed(leaf, this.#now.workers.get(worker) as string);
  }

  /** Among those of `first` who have not failed on the leaves, else those of `then`; where all have, they try again. */
  #divide(leaves: readonly number[], first: readonly number[], then: readonly number[]): Range[] {
    return contiguousRuns(leaves).flatMap(({ from, to }) => {
      const isWilling = (worker: number): boolean => !this.#hasFailed(from, worker);
      const choices = [first.filter(isWilling), then.filter(isWilling), first, then];
      const workers = choices.find(({ length }) => length > 0) ?? [];
      const shares = workers.map((id) => ({ id, speed: this.#now.pace.speedOf(id) }));
      return divideLeaves(from, to, shares);
    });
  }
}

function hasLeaf({ from, to }: Attempt | Range, leaf: number): boolean {
  return from <= leaf && leaf < to;
}

/** Leaves of which some piece is not covered yet. */
export function missingLeaves(trees: readonly ReductionTree<number>[]): number[] {
  const missing = new Set<number>();
  for (const tree of trees) {
    for (const { from, to } of tree.missing()) for (let leaf = from; leaf < to; leaf++) missing.add(leaf);
  }
  return [...missing].sort((a, b) => a - b);
}

function leastOf(workers: readonly number[], loads: ReadonlyMap<number, number>): number | undefined {
  const idle = workers.filter((worker) => loads.has(worker));
  const least = Math.min(...idle.map((worker) => loads.get(worker) as number));
  return idle.find((worker) => loads.get(worker) === least);
}

/** Adds a range to its worker's; leaves in a row can travel as one range only where each is answered by itself. */
function extend(ranges: Map<number, Range[]>, range: Range, canJoin: boolean): void {
  const own = ranges.get(range.worker) ?? [];
  const last = own[own.length - 1];
  if (canJoin && last?.to === range.from) own[own.length - 1] = { ...last, to: range.to };
  else own.push(range);
  ranges.set(range.worker, own);
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
