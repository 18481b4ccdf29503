// The scheduler's duties to its workers and its user, checked from outside at every step: it keeps the
// minimum of workers, ends rests, gives work to free workers, makes no needless copies, and reports missing
// workers. Right weights say nothing about these.
import type {
  RestingWorker,
  RoundPlan,
  SlowWorker,
  SumRoom,
  Task,
} from '../../coordinator/scheduler/outcome.ts';
import { shardsUnder, maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { Upward } from './wire.ts';

/** The settings of the watched scheduler. */
export interface WatchOptions {
  readonly minWorkers: number;
  readonly waitMs: number;
  readonly auditShare: number;
  readonly room: SumRoom;
  /** Longest time between two ticks. */
  readonly tickMs: number;
  readonly complain: (what: string) => void;
}

interface Given {
  readonly round: number;
  readonly from: number;
  readonly to: number;
  readonly givenMs: number;
}

interface Watched {
  readonly pid: number;
  /** Time at which it takes part at the latest, and at the earliest unless it is needed. */
  dueMs: number;
  /** The same where it is needed. */
  neededMs: number;
  isAdmitted: boolean;
  /** Tasks that it has not reported on, by number. */
  readonly owed: Map<number, Given>;
  /** Time since which it has nothing to do. */
  freeSinceMs: number;
}

type Answer = Extract<Upward, { readonly type: 'sum' }>;
type Report = Extract<Upward, { readonly type: 'finished' | 'failure' }>;

/** The longest rests, of workers in general and of those that are needed. */
const MAX_REST_MS = { vanishing: 30_000, bans: 600_000 } as const;
const MAX_NEEDED_REST_MS = 10_000;
/** One of the workers that have had nothing to do for this long is tried in the next round. */
const MAX_IDLE_MS = 2_000;
/** Among processes: the coordinator's own engine. */
const COORDINATOR = 0;
/** Nothing is late before this time. */
const MIN_LATE_MS = 100;
/** A late task is not reported, and no worker is disconnected for it, before this time. */
const MIN_OVERDUE_MS = 60_000;
const MIN_STUCK_MS = 600_000;
/** Time between two notes about missing workers. */
const MAX_SILENCE_MS = 30_000;

/** The watch over one simulated coordinator. Times are those of the virtual clock. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #workers = new Map<number, Watched>();
  readonly #banned = new Set<number>();
  /** Processes that failed on a shard, and need not be asked again. */
  readonly #failed = new Set<number>();
  /**
   * By process, the step of the first round that it took part in, and of the first one that rests on its word
   * alone.
   */
  readonly #touchedFrom = new Map<number, number>();
  readonly #believedFrom = new Map<number, number>();
  /** Shards of this round that the coordinator computes itself. */
  readonly #own = new Set<number>();
  #step = 0;
  #round = 0;
  /** Workers that had been idle for a long time when the round began. */
  #idle: readonly number[] = [];
  #numShards = 0;
  #isSum = false;
  /** Number of shards of this round that were given out, counting repeats. */
  #numGiven = 0;
  /** By shard and bucket, the processes that have sent it: a copy of such a shard may be a witness. */
  readonly #witnesses = new Map<string, Set<number>>();
  #numBuckets = 0;
  #belowSinceMs: number | undefined = 0;
  #lastNoteMs: number;

  constructor(options: WatchOptions, nowMs: number) {
    this.#options = options;
    this.#belowSinceMs = nowMs;
    this.#lastNoteMs = nowMs;
  }

  ready(worker: number, pid: number, nowMs: number): void {
    this.#workers.set(worker, {
      pid,
      dueMs: nowMs,
      neededMs: nowMs,
      isAdmitted: false,
      owed: new Map(),
      freeSinceMs: nowMs,
    });
  }

  gone(worker: number, nowMs: number): void {
    this.#workers.delete(worker);
    this.#count(nowMs);
  }

  admitted(worker: number, nowMs: number): void {
    const watched = this.#workers.get(worker);
    if (!watched) return this.#options.complain(`worker ${worker} was admitted, and is not there`);
    if (this.#banned.has(watched.pid)) this.#options.complain(`banned process ${watched.pid} was admitted`);
    const others = [...this.#workers.values()].filter(
      ({ pid, isAdmitted }) => isAdmitted && pid === watched.pid,
    );
    if (others.length > 0) this.#options.complain(`process ${watched.pid} takes part twice`);
    const isShort = this.#numAdmitted() < this.#options.minWorkers;
    if (nowMs < (isShort ? watched.neededMs : watched.dueMs))
      this.#options.complain(`the rest of worker ${worker} is cut short`);
    watched.isAdmitted = true;
    watched.freeSinceMs = nowMs;
    this.#count(nowMs);
  }

  rests({ worker, restMs, cause }: RestingWorker, nowMs: number): void {
    const { minWorkers, complain } = this.#options;
    const isForBans = cause === 'bans';
    if (this.#numAdmitted() < minWorkers && !isForBans)
      complain(`worker ${worker} has to rest, and is needed`);
    if (restMs > MAX_REST_MS[cause]) complain(`worker ${worker} has to rest for ${restMs} ms`);
    const watched = this.#workers.get(worker);
    if (!watched) return;
    watched.dueMs = nowMs + restMs;
    watched.neededMs = nowMs + (isForBans ? Math.min(restMs, MAX_NEEDED_REST_MS) : 0);
  }

  /** Steps that rest on a liar's word alone are rolled back; those that it cannot have touched stay. */
  lied(worker: number, pid: number, trustedSteps: number | undefined, nowMs: number): void {
    const [touched, believed] = [this.#touchedFrom.get(pid), this.#believedFrom.get(pid)];
    const isEnough = believed === undefined || (trustedSteps !== undefined && trustedSteps <= believed);
    const isTooMuch = trustedSteps !== undefined && (touched === undefined || trustedSteps < touched);
    if (!isEnough || isTooMuch) {
      const known = `touched ${touched}, is believed since ${believed}`;
      this.#options.complain(`process ${pid} ${known}, and ${trustedSteps} steps are trusted`);
    }
    this.banned(worker, pid, nowMs);
  }

  banned(worker: number, pid: number, nowMs: number): void {
    this.#banned.add(pid);
    this.gone(worker, nowMs);
  }

  /** The training is back at this step. */
  wentBack(step: number): void {
    for (const known of [this.#touchedFrom, this.#believedFrom]) {
      for (const [pid, from] of known) if (from >= step) known.delete(pid);
    }
  }

  /** The user was told that workers are missing. */
  noted(nowMs: number): void {
    this.#lastNoteMs = nowMs;
  }

  starved(nowMs: number): void {
    const waitedMs = this.#belowSinceMs === undefined ? 0 : nowMs - this.#belowSinceMs;
    if (waitedMs < this.#options.waitMs) this.#options.complain(`starved after ${waitedMs} ms`);
  }

  began(
    round: number,
    isAgain: boolean,
    { kind, shardRows, numBuckets, step }: RoundPlan,
    nowMs: number,
  ): void {
    this.#idle = this.#longIdle(nowMs);
    if (!isAgain && this.#numAdmitted() < this.#options.minWorkers) {
      this.#options.complain('a round began without enough workers');
    }
    this.#round = round;
    this.#step = step;
    this.#own.clear();
    this.#numShards = shardRows.length;
    this.#isSum = kind === 'train';
    this.#numGiven = 0;
    this.#numBuckets = numBuckets;
    this.#witnesses.clear();
  }

  /** A round has begun, and all of its first tasks are given out. */
  givenOut(): void {
    const { complain } = this.#options;
    for (let shard = 0; shard < this.#numShards && this.#numAdmitted() > 0; shard++) {
      if (this.#underWaySinceMs(shard) === -Infinity && !this.#own.has(shard))
        complain(`shard ${shard} is given to nobody`);
    }
    // A shard that tries one may find no room.
    if (this.#options.room.here < this.#numShards) return;
    const isLeftOut = (id: number): boolean => this.#workers.get(id)?.owed.size === 0;
    const isTried = this.#numGiven > this.#numShards;
    if (this.#idle.length > 0 && this.#idle.every(isLeftOut) && !isTried) {
      complain(`workers ${this.#idle.join(', ')} are left out`);
    }
  }

  /** The coordinator computes a shard itself. */
  takenOver(shard: number): void {
    this.#own.add(shard);
  }

  /** Workers that have been idle for a long time; none if the scheduler may have its reasons. */
  #longIdle(nowMs: number): number[] {
    const free = [...this.#workers].filter(([, { isAdmitted, owed }]) => isAdmitted && owed.size === 0);
    if (free.some(([, { pid }]) => this.#failed.has(pid))) return [];
    return free.filter(([, { freeSinceMs }]) => nowMs - freeSinceMs >= MAX_IDLE_MS).map(([id]) => id);
  }

  assigned({ worker, id, from, to }: Task, nowMs: number): void {
    const { complain } = this.#options;
    const watched = this.#workers.get(worker);
    if (watched?.isAdmitted !== true) return complain(`a task for worker ${worker}, which takes no part`);
    if (from < 0 || from >= to || to > this.#numShards) complain(`shards [${from}, ${to}) do not exist`);
    const { length: numSums } = this.#isSum ? maximalNodes(from, to, this.#numShards) : [];
    if (numSums > this.#options.room.ofTask) complain(`shards [${from}, ${to}) come back as ${numSums} sums`);
    if (to - from > 1) this.#checkCopies(from, to, nowMs);
    this.#numGiven += to - from;
    watched.owed.set(id, { round: this.#round, from, to, givenMs: nowMs });
  }

  /**
   * Tasks of others are copied once they are late; except single shards, which try a worker that was left
   * out.
   */
  #checkCopies(from: number, to: number, nowMs: number): void {
    if (this.#hasWitness(from, to, nowMs))
      this.#options.complain(`shards [${from}, ${to}) get two witnesses`);
    for (let shard = from; shard < to; shard++) {
      const sinceMs = this.#isReceived(shard) ? Infinity : nowMs - this.#underWaySinceMs(shard);
      if (sinceMs < MIN_LATE_MS) this.#options.complain(`shard ${shard} is copied after ${sinceMs} ms`);
    }
  }

  /**
   * True if a process without a result is in time with exactly these shards, of which a result waits for it.
   */
  #hasWitness(from: number, to: number, nowMs: number): boolean {
    // Copies of shards that have arrived in part are of use for the rest.
    if (!this.#buckets().every((bucket) => this.#witnesses.has(`${from}/${bucket}`))) return false;
    const pids = this.#buckets().flatMap((bucket) => [...(this.#witnesses.get(`${from}/${bucket}`) ?? [])]);
    return [...this.#workers.values()].some(({ pid, owed }) => {
      const tasks = [...owed.values()].filter(({ round }) => round === this.#round);
      const isInTime = tasks.every(({ givenMs }) => nowMs - givenMs < MIN_LATE_MS);
      return isInTime && !pids.includes(pid) && tasks.some((given) => given.from === from && given.to === to);
    });
  }

  /** Time since which a worker with the shard owes anything in this round; -Infinity if no worker has it. */
  #underWaySinceMs(shard: number): number {
    const tasks = [...this.#workers.values()].map(({ owed }) =>
      [...owed.values()].filter(({ round }) => round === this.#round),
    );
    const holders = tasks.filter((owed) => owed.some(({ from, to }) => from <= shard && shard < to));
    const oldest = Math.min(...holders.flat().map(({ givenMs }) => givenMs));
    return oldest === Infinity ? -Infinity : oldest;
  }

  #isReceived(shard: number): boolean {
    return this.#buckets().some((bucket) => this.#witnesses.has(`${shard}/${bucket}`));
  }

  #buckets(): number[] {
    return Array.from({ length: this.#numBuckets }, (_, bucket) => bucket);
  }

  /** A sum has arrived that is waited for. */
  answered(worker: number, { node, bucket }: Answer, nowMs: number): void {
    const watched = this.#workers.get(worker);
    if (!watched) return;
    watched.freeSinceMs = nowMs;
    this.#witness(watched.pid, node, bucket);
  }

  /** The coordinator has computed a node itself. */
  judged(node: TreeNode): void {
    for (const bucket of this.#buckets()) this.#witness(COORDINATOR, node, bucket);
  }

  #witness(pid: number, node: TreeNode, bucket: number): void {
    const { from, to } = shardsUnder(node, this.#numShards);
    for (let shard = from; shard < to; shard++) {
      const name = `${shard}/${bucket}`;
      this.#witnesses.set(name, (this.#witnesses.get(name) ?? new Set()).add(pid));
    }
  }

  /** This many sums of a bucket are in memory. */
  holds(numSums: number): void {
    const { room, complain } = this.#options;
    // Shards that the coordinator tries come in addition.
    if (this.#own.size > 0) return;
    if (numSums > room.here)
      complain(`${numSums} sums of a bucket are in memory, with room for ${room.here}`);
  }

  /** A round is complete: where all is audited, nothing rests on the word of one process. */
  completed(kind: RoundPlan['kind']): void {
    const from = this.#step - (kind === 'train' ? 0 : 1);
    const alone = [...this.#witnesses].filter(([, pids]) => pids.size < 2 && !pids.has(COORDINATOR));
    for (const pids of this.#witnesses.values())
      for (const pid of pids) noteFirst(this.#touchedFrom, pid, from);
    for (const [, pids] of alone) for (const pid of pids) noteFirst(this.#believedFrom, pid, from);
    if (this.#options.auditShare < 1) return;
    const lonely = alone.map(([name]) => name);
    if (lonely.length > 0)
      this.#options.complain(`one process vouches for shard/bucket ${lonely.join(', ')}`);
  }

  /** The user was told that a worker is late. */
  overdue({ worker, owedMs }: SlowWorker, nowMs: number): void {
    this.#checkOwed(worker, Math.max(owedMs, MIN_OVERDUE_MS), nowMs);
  }

  /** A worker is disconnected for a task that it owes. */
  stuck({ worker, owedMs }: SlowWorker, nowMs: number): void {
    this.#checkOwed(worker, Math.max(owedMs, MIN_STUCK_MS), nowMs);
  }

  #checkOwed(worker: number, owedMs: number, nowMs: number): void {
    const owed = [...(this.#workers.get(worker)?.owed.values() ?? [])];
    const longestMs = nowMs - Math.min(...owed.map(({ givenMs }) => givenMs));
    // A task that a worker was given before it was done with another one has been computed for less time.
    if (longestMs < owedMs)
      this.#options.complain(`worker ${worker} is said to be late after ${longestMs} ms`);
  }

  /** A worker is done with a task, successfully or not. */
  reported(worker: number, { type, task }: Report, nowMs: number): void {
    const watched = this.#workers.get(worker);
    if (!watched) return;
    watched.owed.delete(task);
    watched.freeSinceMs = nowMs;
    if (type === 'failure') this.#failed.add(watched.pid);
  }

  /** Notes that the scheduler has just been told the time. */
  ticked(nowMs: number): void {
    const { minWorkers, waitMs, tickMs, complain } = this.#options;
    const isShort = this.#numAdmitted() < minWorkers;
    for (const [id, { isAdmitted, dueMs, neededMs }] of this.#workers) {
      if (!isAdmitted && nowMs >= (isShort ? neededMs : dueMs)) complain(`worker ${id} is left waiting`);
    }
    if (this.#belowSinceMs === undefined) return;
    const toldMs = Math.max(this.#lastNoteMs, this.#belowSinceMs);
    if (nowMs - toldMs > MAX_SILENCE_MS + tickMs) complain('nobody is told that workers are missing');
    if (nowMs - this.#belowSinceMs > waitMs + tickMs) complain('missing workers are waited for forever');
  }

  #numAdmitted(): number {
    return [...this.#workers.values()].filter(({ isAdmitted }) => isAdmitted).length;
  }

  #count(nowMs: number): void {
    if (this.#numAdmitted() >= this.#options.minWorkers) this.#belowSinceMs = undefined;
    else this.#belowSinceMs ??= nowMs;
  }
}

function noteFirst(steps: Map<number, number>, pid: number, step: number): void {
  steps.set(pid, Math.min(steps.get(pid) ?? step, step));
}
