// The work to do next: shards that nobody has, sums that need a second witness, copies of late
// tasks, and now and then a shard for a worker that was too slow to get one, to see whether it
// still is. A copy costs only processor time.
//
// Sums wait in memory for their neighbours, and memory is limited. So no task is given out whose
// sums, together with all those present or in flight, might not fit, in whatever order they arrive:
// - fewer and larger tasks of whole subtrees result in few sums: 2n subtrees of equal
//   size hold n sums at most;
// - where the sums present leave no way for that, work goes out subtree by subtree. One always
//   fits: the sibling of a smallest subtree that is present becomes one sum with it. So no round
//   waits forever, if a single sum fits. Only shards that the coordinator tries itself, because
//   nobody else can compute them, may take more.
import { maximalNodes, mostEverHeld, mostHeld, nodeKey, shardsUnder } from '../../src/tree.ts';
import type { ReductionTree, ShardRange, TreeNode } from '../../src/tree.ts';
import type { Audit, Unwitnessed } from './audit.ts';
import { sumKey } from './tasks.ts';
import type { OwedTask, Tasks } from './tasks.ts';
import { divideShards } from './divide-shards.ts';
import type { Share } from './divide-shards.ts';
import type { PlannedTask, RoundPlan, SumRoom } from './outcome.ts';
import type { ShardFailures } from './shard-failures.ts';
import { isLate } from './lateness.ts';
import type { Pace } from './pace.ts';

/** A round, and the workers present for it. */
export interface WorkSituation {
  readonly plan: RoundPlan;
  readonly trees: readonly ReductionTree<number>[];
  readonly audit: Audit;
  readonly failures: ShardFailures;
  readonly tasks: Tasks;
  readonly pace: Pace;
  /** The instance of each worker. */
  readonly workers: ReadonlyMap<number, string>;
  readonly room: SumRoom;
  /** The time when the round began. */
  readonly beganMs: number;
  readonly nowMs: number;
}

/** Tasks and judgements to give out now. */
export interface Work {
  readonly tasks: readonly PlannedTask[];
  /** Nodes that only the referee can confirm: no other worker is able to. */
  readonly toJudge: readonly TreeNode[];
}

/** Time for which a measured speed counts. */
const SPEED_VALID_MS = 2_000;

/** Plans the work to give out now. */
export function planWork(situation: WorkSituation): Work {
  const planner = new Planner(situation);
  const tasks = planner.divideOpen();
  if (tasks.length > 0) return { tasks, toJudge: [] };
  if (planner.idle.length === 0 && !planner.hasUnwitnessed) return { tasks: [], toJudge: [] };
  const witnesses = planner.findWitnesses();
  return { tasks: [...witnesses.tasks, ...planner.copyLate(witnesses.tasks)], toJudge: witnesses.toJudge };
}

class Planner {
  readonly #situation: WorkSituation;
  readonly #open: readonly OwedTask[];
  readonly #dependable: readonly number[];
  readonly #missing: readonly number[];
  readonly #unwitnessed: readonly Unwitnessed[];
  /** Sums present or in flight; undefined where any number fits. */
  #expected: readonly TreeNode[] | undefined;
  /** Workers with nothing to do. */
  idle: number[];

  constructor(situation: WorkSituation) {
    this.#situation = situation;
    this.#open = situation.tasks.open();
    const workers = [...situation.workers.keys()];
    const free = workers.filter((worker) => !situation.tasks.owesEarlier(worker));
    this.#dependable = free.length > 0 ? free : workers;
    const busy = new Set(this.#open.map(({ worker }) => worker));
    this.idle = this.#dependable.filter((worker) => !busy.has(worker));
    this.#missing = missingShards(situation.trees);
    this.#unwitnessed = situation.audit.unwitnessed();
    this.#expected = this.#findExpected();
  }

  #findExpected(): readonly TreeNode[] | undefined {
    const { room, plan, trees } = this.#situation;
    const numShards = plan.shardRows.length;
    if (plan.kind === 'evaluate' || room.here >= mostEverHeld(numShards)) return undefined;
    const asked = this.#open.flatMap(({ from, to }) => maximalNodes(from, to, numShards));
    const nodes = [...trees.flatMap((tree) => tree.nodes), ...asked];
    return [...new Map(nodes.map((node) => [nodeKey(node), node])).values()];
  }

  /** Counts the tasks as given out if their sums will fit; returns false if they will not. */
  #admit(tasks: readonly PlannedTask[]): boolean {
    const { room, plan } = this.#situation;
    if (plan.kind === 'evaluate') return true;
    const numShards = plan.shardRows.length;
    const { shards = { from: 0, to: numShards } } = plan;
    const asked = tasks.map(({ from, to }) => maximalNodes(from, to, numShards));
    if (asked.some(({ length }) => length > Math.max(1, room.ofTask))) return false;
    if (!this.#expected) return true;
    const missing = new Set(this.#missing);
    const isPresent = (shard: number): boolean => hasShard(shards, shard) && !missing.has(shard);
    const most = (sums: readonly TreeNode[]): number => mostHeld(numShards, isPresent, sums);
    const expected = [...this.#expected, ...asked.flat()];
    if (most(expected) > Math.max(room.here, most(this.#expected))) return false;
    this.#expected = expected;
    return true;
  }

  get hasUnwitnessed(): boolean {
    return this.#unwitnessed.length > 0;
  }

  /**
   * Divides missing shards that nobody computes among idle workers or, where none of them
   * is able, among all: a worker queues its tasks. Divides none where their sums do not fit
   * now. Unproven workers prove themselves on copies once others have delivered: one that
   * hangs then holds up nobody.
   */
  divideOpen(): PlannedTask[] {
    const shards = this.#missing.filter((shard) => !this.#open.some((task) => hasShard(task, shard)));
    const isProven = (worker: number): boolean => this.#situation.pace.isProven(worker);
    const unproven = new Set(this.idle.filter((worker) => !isProven(worker)));
    if (!this.#dependable.some(isProven)) unproven.clear();
    const isKnown = (worker: number): boolean => !unproven.has(worker);
    const known = [this.idle.filter(isKnown), this.#dependable.filter(isKnown)];
    const tasks = this.#divide(shards, [...known, this.idle, this.#dependable]);
    if (tasks.length === 0) return [];
    return [...tasks, ...this.#tryUnproven([...unproven], tasks, shards), ...this.#tryLeftOut(tasks, shards)];
  }

  /** Gives each a copy of another shard: so that one bad shard cannot take all of them down. */
  #tryUnproven(
    unproven: readonly number[],
    tasks: readonly PlannedTask[],
    shards: readonly number[],
  ): PlannedTask[] {
    const waiting = unproven.filter((worker) => !tasks.some((task) => task.worker === worker));
    return waiting.slice(0, shards.length).flatMap((worker, index): PlannedTask[] => {
      const shard = shards[shards.length - 1 - index] as number;
      const copy = [{ worker, from: shard, to: shard + 1 }];
      return !this.#hasFailed(shard, worker) && this.#admit(copy) ? copy : [];
    });
  }

  /**
   * Gives a copy of the last shard to the worker idle for longest: to one only, or a
   * bad shard would meet all.
   */
  #tryLeftOut(tasks: readonly PlannedTask[], shards: readonly number[]): PlannedTask[] {
    const { nowMs, pace } = this.#situation;
    const shard = shards[shards.length - 1] as number;
    const isLeftOut = (worker: number): boolean =>
      pace.isProven(worker) &&
      !tasks.some((task) => task.worker === worker) &&
      nowMs - pace.beganMs(worker, 0) >= SPEED_VALID_MS &&
      !this.#hasFailed(shard, worker);
    const [worker] = this.idle.filter(isLeftOut).sort((a, b) => pace.beganMs(a, 0) - pace.beganMs(b, 0));
    const copy = worker === undefined ? [] : [{ worker, from: shard, to: shard + 1 }];
    return this.#admit(copy) ? copy : [];
  }

  /** Gives each sum that needs one a second witness, or the referee if no worker is able. */
  findWitnesses(): Work {
    const { plan } = this.#situation;
    const loads = new Map(this.idle.map((worker) => [worker, 0]));
    const chosen = new Map<number, PlannedTask[]>();
    const toJudge: TreeNode[] = [];
    for (const sum of this.#unwitnessed) {
      const asked = this.#askedFor(sum);
      if (asked.some((worker) => !this.#isLate(worker))) continue;
      const able = this.#dependable.filter((worker) => this.#canWitness(worker, sum, asked.length > 0));
      const worker = leastOf(able, loads);
      const { from, to } = shardsUnder(sum.node, plan.shardRows.length);
      if (worker !== undefined) {
        if (!this.#admit([{ worker, from, to }])) continue;
        loads.set(worker, (loads.get(worker) as number) + (to - from) / this.#situation.pace.speedOf(worker));
        extend(chosen, { worker, from, to }, plan.kind === 'evaluate');
      } else if (able.every((busy) => this.#isLate(busy))) toJudge.push(sum.node);
    }
    this.idle = this.idle.filter((worker) => !chosen.has(worker));
    return { tasks: [...chosen.values()].flat(), toJudge };
  }

  /**
   * Tells whether a worker may confirm a sum. Late joiners and replacements must have delivered: a
   * series of workers that hang would hold up the round.
   */
  #canWitness(worker: number, { node, instances }: Unwitnessed, isReplacement: boolean): boolean {
    const { beganMs, pace, plan, workers } = this.#situation;
    const { from } = shardsUnder(node, plan.shardRows.length);
    const mayHang = pace.isLateJoiner(worker, beganMs) || (isReplacement && !pace.isProven(worker));
    return !mayHang && !instances.has(workers.get(worker) as string) && !this.#hasFailed(from, worker);
  }

  /** Workers of other processes that have been asked for the sum. */
  #askedFor({ node, instances }: Unwitnessed): number[] {
    const { plan, workers } = this.#situation;
    const buckets = Array.from({ length: plan.numBuckets }, (_, bucket) => sumKey(node, bucket));
    const isAsked = ({ worker, due }: OwedTask): boolean =>
      !instances.has(workers.get(worker) as string) && buckets.some((key) => due.has(key));
    return this.#open.filter(isAsked).map(({ worker }) => worker);
  }

  /**
   * Copies each shard that everyone who has it is late with, for they may be stuck for good: once,
   * to a worker that has delivered before. Others may be stuck like those who are late, so among
   * them the copies double each time.
   */
  copyLate(given: readonly PlannedTask[]): PlannedTask[] {
    if (this.idle.length === 0) return [];
    const copiesOf = (shard: number): OwedTask[] => this.#open.filter((task) => hasShard(task, shard));
    const isLate = (shard: number): boolean => {
      const copies = copiesOf(shard);
      const isWithAll = copies.length > 0 && copies.every(({ worker }) => this.#isLate(worker));
      return isWithAll && !given.some((task) => hasShard(task, shard));
    };
    const late = this.#missing.filter(isLate);
    const proven = this.idle.filter((worker) => this.#situation.pace.isProven(worker));
    if (proven.length > 0) return this.#divide(late, [proven]);
    const tasks: PlannedTask[] = [];
    const numCopies = Math.max(0, ...late.map((shard) => copiesOf(shard).length));
    for (let copy = 0, idle = this.idle; copy < numCopies && idle.length > 0; copy++) {
      const more = this.#divide(late, [idle]);
      tasks.push(...more);
      idle = idle.filter((worker) => !more.some((task) => task.worker === worker));
    }
    return tasks;
  }

  #isLate(worker: number): boolean {
    return isLate(worker, { ...this.#situation, open: this.#open });
  }

  #hasFailed(shard: number, worker: number): boolean {
    return this.#situation.failures.hasFailed(shard, this.#situation.workers.get(worker) as string);
  }

  /**
   * Divides all of the shards in blocks as small as there is room for, or as many of them as fit.
   * `groups` are the workers to choose from, the best ones first.
   */
  #divide(shards: readonly number[], groups: readonly (readonly number[])[]): PlannedTask[] {
    const numShards = this.#situation.plan.shardRows.length;
    const runs = contiguousRuns(shards);
    for (let block = 1; block < 2 * numShards; block *= 2) {
      const tasks = runs.flatMap((run) => this.#divideRun(run, block, groups));
      if (this.#admit(tasks)) return tasks;
    }
    const [first = [], ...others] = groups;
    const subtrees = runs.flatMap(({ from, to }) => maximalNodes(from, to, numShards));
    const given: PlannedTask[] = [];
    for (const subtree of subtrees.sort((a, b) => a.level - b.level)) {
      const free = first.filter((worker) => !given.some((task) => task.worker === worker));
      if (free.length === 0 && given.length > 0) break;
      const tasks = this.#divideRun(shardsUnder(subtree, numShards), 2 * numShards, [free, ...others]);
      if (this.#admit(tasks)) given.push(...tasks);
    }
    return given;
  }

  /**
   * Divides shards in a row, cut at multiples of `block`, among those of the first group who have
   * not failed on them, else of the next; where all have failed, they try again.
   */
  #divideRun({ from, to }: ShardRange, block: number, groups: readonly (readonly number[])[]): PlannedTask[] {
    const isWilling = (worker: number): boolean => !this.#hasFailed(from, worker);
    const choices = [...groups.map((group) => group.filter(isWilling)), ...groups];
    const workers = choices.find(({ length }) => length > 0) ?? [];
    const [first, end] = [Math.floor(from / block), Math.ceil(to / block)];
    return divideShards(first, end, this.#bestOf(workers, end - first)).map((task) => ({
      worker: task.worker,
      from: Math.max(from, task.from * block),
      to: Math.min(to, task.to * block),
    }));
  }

  /**
   * The best `count` workers, who can have a shard each: those who have delivered come
   * first, then the fastest.
   */
  #bestOf(workers: readonly number[], count: number): Share[] {
    const { pace } = this.#situation;
    const shares = workers.map((id) => ({ id, speed: pace.speedOf(id) }));
    if (shares.length <= count) return shares;
    const rank = ({ id }: Share): number => (pace.isProven(id) ? 0 : 1);
    const best = [...shares].sort((a, b) => rank(a) - rank(b) || b.speed - a.speed).slice(0, count);
    const chosen = new Set(best);
    return shares.filter((share) => chosen.has(share));
  }
}

function hasShard({ from, to }: ShardRange, shard: number): boolean {
  return from <= shard && shard < to;
}

/** Shards with a bucket that no sum covers yet. */
export function missingShards(trees: readonly ReductionTree<number>[]): number[] {
  const missing = new Set<number>();
  for (const tree of trees) {
    for (const { from, to } of tree.missing()) for (let shard = from; shard < to; shard++) missing.add(shard);
  }
  return [...missing].sort((a, b) => a - b);
}

function leastOf(workers: readonly number[], loads: ReadonlyMap<number, number>): number | undefined {
  const idle = workers.filter((worker) => loads.has(worker));
  const least = Math.min(...idle.map((worker) => loads.get(worker) as number));
  return idle.find((worker) => loads.get(worker) === least);
}

/**
 * Adds a task to its worker's; shards in a row can be one task only where each
 * results in a sum of its own.
 */
function extend(tasks: Map<number, PlannedTask[]>, task: PlannedTask, canJoin: boolean): void {
  const own = tasks.get(task.worker) ?? [];
  const last = own[own.length - 1];
  if (canJoin && last?.to === task.from) own[own.length - 1] = { ...last, to: task.to };
  else own.push(task);
  tasks.set(task.worker, own);
}

function contiguousRuns(shards: readonly number[]): ShardRange[] {
  const runs: { from: number; to: number }[] = [];
  for (const shard of shards) {
    const last = runs[runs.length - 1];
    if (last?.to === shard) last.to = shard + 1;
    else runs.push({ from: shard, to: shard + 1 });
  }
  return runs;
}
