// The step loop's decisions as a pure state machine: events in, commands out. No socket, clock or tensor
// is touched here; the time comes with each event, and values are named by slots that the driver keeps.
//
// A round is one distributed sum: the gradient of a batch, or the evaluation of a slice of a split. Its
// shards are handed out as contiguous runs (tasks). Each task answers with sums of maximal tree
// nodes, bucket by bucket. Because equal shards give equal bits, it does not matter which task a sum came
// from: a lost worker's shards go out again, a late task goes to an idle worker too, and the first answer
// is taken. For the same reason an answer that differs from another is a lie: the coordinator then computes
// the node itself, whoever was wrong is banned, and the round begins again without it. It also computes itself what
// workers say that nobody can, before it believes them.
import { ReductionTree, isLifted, shardsUnder, lift } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { Answers } from './answers.ts';
import type { AuditPolicy } from './answers.ts';
import { Tasks, isOpen, rowsIn, sumKey, sumsOf } from './tasks.ts';
import type { Task } from './tasks.ts';
import { COORDINATOR } from './events.ts';
import type {
  DigestKind,
  TaskName,
  RoundCommand,
  RoundEvent,
  RoundPlan,
  SumName,
  SumRoom,
} from './events.ts';
import { ShardFailures } from './shard-failures.ts';
import type { Hopeless } from './shard-failures.ts';
import { findOverdue } from './overdue.ts';
import { Pace } from './pace.ts';
import { isLate, missingShards, planWork } from './plan-work.ts';
import { TrackRecords } from './track-records.ts';

interface Round {
  readonly number: number;
  readonly plan: RoundPlan;
  readonly trees: readonly ReductionTree<number>[];
  readonly answers: Answers;
  /** Of the shards, however often the round has begun. */
  readonly failures: ShardFailures;
  readonly numBegun: number;
  readonly beganMs: number;
  /** Why the run ends if the coordinator, which is trying, cannot compute this either. */
  lastHope: Hopeless | undefined;
  /** A sum is not finite, so this round ends with a ban or as diverged. */
  isSpoilt: boolean;
  isOver: boolean;
}

type EventOf<Type extends RoundEvent['type']> = Extract<RoundEvent, { readonly type: Type }>;

/** Beginnings of one round with workers; each but the first costs a process its place. Then the coordinator takes it. */
const MAX_BEGINNINGS = 16;
/** Characters of a worker's own words that go into a reason. */
const MAX_QUOTED = 200;
/** Tasks in a row on which a process fails before it is kept out. */
const MAX_FAILED_IN_ROW = 5;

/** See the head of this file. One instance a run. */
export class RoundMachine {
  readonly #policy: AuditPolicy;
  readonly #room: SumRoom;
  readonly #pace = new Pace();
  readonly #tasks = new Tasks();
  /** The process of each worker. */
  readonly #workers = new Map<number, string>();
  readonly #records = new TrackRecords();
  #round: Round | undefined;
  #numRounds = 0;
  #nextSlot = 1;

  constructor(policy: AuditPolicy, room: SumRoom = { here: Infinity, ofTask: Infinity }) {
    this.#policy = policy;
    this.#room = room;
  }

  /** Whether the worker may speak of the range: it owes it, and is through with those that it got before. */
  owes(worker: number, name: TaskName): boolean {
    return this.#owed(worker, name) !== undefined;
  }

  /** The kind of digest that a sum must come with; undefined if nobody waits for the sum: it is `sumUnwanted`. */
  inspect(worker: number, sum: SumName): DigestKind | undefined {
    const task = this.#owed(worker, sum);
    if (!this.#round || !task || !this.#isWanted(task)) return undefined;
    const node = nodeOf(task, sum);
    const isKnown = task.asked.has(sumKey(node, sum.bucket));
    return isKnown && this.#round.answers.isAudited(node) ? 'strong' : 'fast';
  }

  /** Handles one event at the given monotonic time, and returns what to do, in order. */
  handle(event: RoundEvent, nowMs: number): RoundCommand[] {
    switch (event.type) {
      case 'roundStarted':
        return this.#begin(event.plan, nowMs);
      case 'workerReady':
        this.#workers.set(event.worker, event.process);
        this.#pace.join(event.worker, nowMs);
        return this.#giveWork(nowMs);
      case 'workerLost':
        return this.#loseWorker(event, nowMs);
      case 'outOfMemory':
        return this.#countOutOfMemory(event.process);
      case 'sumReceived':
        return this.#takeSum(event, nowMs);
      case 'sumUnwanted':
        return this.#dropSum(event, nowMs);
      case 'taskFinished':
        return this.#finishTask(event, nowMs);
      case 'taskFailed':
        return this.#failTask(event, nowMs);
      case 'judged':
        return this.#settleDoubt(event, nowMs);
      case 'sumNotFinite':
        return this.#doubtAll(event.round);
      case 'tick':
        return [...findOverdue(this.#tasks.owed(), this.#pace, nowMs), ...this.#giveWork(nowMs)];
      default:
        return event satisfies never;
    }
  }

  #begin(plan: RoundPlan, nowMs: number, before?: Round, again?: string): RoundCommand[] {
    if (!before && this.#round) this.#records.follow(this.#round, plan);
    const number = ++this.#numRounds;
    this.#tasks.begin(number);
    const numShards = plan.shardRows.length;
    this.#round = {
      number,
      plan,
      trees: Array.from({ length: plan.numBuckets }, () => new ReductionTree<number>(numShards)),
      answers: new Answers(this.#policy),
      failures: before?.failures ?? new ShardFailures(),
      numBegun: (before?.numBegun ?? 0) + 1,
      beganMs: nowMs,
      lastHope: undefined,
      isSpoilt: false,
      isOver: false,
    };
    const begin = { type: 'begin', round: number, again } as const;
    if (this.#round.numBegun <= MAX_BEGINNINGS) return [begin, ...this.#giveWork(nowMs)];
    const message = `the round began ${MAX_BEGINNINGS} times: ${again}`;
    return [begin, ...this.#tryHere({ from: 0, to: numShards, cause: 'dishonest', message }, nowMs)];
  }

  #owed(worker: number, { round, task }: TaskName): Task | undefined {
    const next = this.#tasks.nextOf(worker);
    return next?.round === round && next.id === task ? next : undefined;
  }

  /** Whether somebody waits for the range: its round is neither over nor begun again. */
  #isWanted({ round }: Task): boolean {
    return this.#round?.number === round && !this.#round.isOver;
  }

  #loseWorker({ worker }: EventOf<'workerLost'>, nowMs: number): RoundCommand[] {
    const process = this.#workers.get(worker);
    if (process === undefined) return [];
    const owed = this.#removeWorker(worker);
    const hopeless = this.#round?.failures.lose(owed, process);
    return hopeless ? this.#tryHere(hopeless, nowMs) : this.#giveWork(nowMs);
  }

  #removeWorker(worker: number): Task[] {
    this.#workers.delete(worker);
    this.#pace.leave(worker);
    return this.#tasks.removeWorker(worker);
  }

  #countOutOfMemory(process: string): RoundCommand[] {
    const owed = this.#tasks.open().filter(({ worker }) => this.#workers.get(worker) === process);
    const hopeless = this.#round?.failures.runOutOfMemory(owed, process);
    return hopeless ? this.#giveUp(hopeless) : [];
  }

  #takeSum({ worker, sum, digest, isFinite }: EventOf<'sumReceived'>, nowMs: number): RoundCommand[] {
    const round = this.#round;
    const task = this.#owed(worker, sum);
    if (!round || !task || !this.#isWanted(task)) return [];
    const { bucket } = sum;
    const node = nodeOf(task, sum);
    const wasOpen = isOpen(task);
    const refusal = bookSum(task, node, bucket);
    if (refusal !== undefined) return [{ type: 'evict', worker, reason: refusal }];
    const isLast = wasOpen && !isOpen(task);
    const process = this.#processOf(worker);
    if (isLast) this.#deliver(task, process, nowMs);
    const isContested = round.answers.add(node, bucket, { worker, process, digest });
    if (isContested && round.answers.liars(node).size > 0) return this.#punish(node, nowMs);
    const commands = this.#store(round, node, bucket);
    if (!isFinite && round.plan.mode === 'sum') round.isSpoilt = true;
    if (isContested || !isFinite) commands.push(...this.#doubt(node));
    else commands.push(...this.#completeBucket(round, bucket, commands));
    commands.push(...this.#completeRound());
    return isLast ? [...commands, ...this.#giveWork(nowMs)] : commands;
  }

  #processOf(worker: number): string {
    return worker === COORDINATOR.worker ? COORDINATOR.process : (this.#workers.get(worker) as string);
  }

  #deliver({ worker, rows, givenMs }: Task, process: string, nowMs: number): void {
    this.#pace.deliver(worker, rows, givenMs, nowMs);
    this.#records.deliver(process);
    const isTrying = this.#tasks.open().some((task) => task.worker === COORDINATOR.worker);
    if (worker === COORDINATOR.worker && !isTrying && this.#round) this.#round.lastHope = undefined;
  }

  /** Adds a sum to the tree of its bucket, unless its shards are there already. */
  #store(round: Round, node: TreeNode, bucket: number): RoundCommand[] {
    const slot = this.#nextSlot++;
    const added = (round.trees[bucket] as ReductionTree<number>).add(node, slot);
    if (!added) return [];
    round.answers.take(node, bucket);
    const forgotten = added.dropped.map((dropped) => ({ type: 'forget' as const, slot: dropped }));
    const isSum = round.plan.mode === 'sum';
    const merges = added.merges.map((merge) => ({ type: 'merge' as const, bucket, ...merge }));
    return [{ type: 'store', slot }, ...forgotten, ...(isSum ? merges : [])];
  }

  /** The bucket goes to the optimizer as soon as it is whole; what an audit finds later makes the round begin again. */
  #completeBucket(round: Round, bucket: number, stored: readonly RoundCommand[]): RoundCommand[] {
    const { root } = round.trees[bucket] as ReductionTree<number>;
    if (stored.length === 0 || round.isSpoilt || round.plan.mode !== 'sum' || root === undefined) return [];
    return [{ type: 'bucketCompleted', bucket, slot: root }];
  }

  #completeRound(): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isOver || round.isSpoilt || round.answers.isInDoubt) return [];
    if (!round.trees.every((tree) => tree.isComplete)) return [];
    if (round.answers.unwitnessed(round.plan.shardRows.length).length > 0) return [];
    round.isOver = true;
    return [{ type: 'roundCompleted', round: round.number }];
  }

  /** A sum of a round that is over, or has begun again: it is owed, and of no use. */
  #dropSum({ worker, sum }: EventOf<'sumUnwanted'>, nowMs: number): RoundCommand[] {
    const task = this.#owed(worker, sum);
    if (!task) return [];
    const wasOpen = isOpen(task);
    const refusal = bookSum(task, nodeOf(task, sum), sum.bucket);
    if (refusal !== undefined) return [{ type: 'evict', worker, reason: refusal }];
    if (!wasOpen || isOpen(task)) return [];
    this.#pace.deliver(worker, task.rows, task.givenMs, nowMs);
    this.#records.deliver(this.#processOf(worker));
    return this.#giveWork(nowMs);
  }

  /** A worker says that it is done with a range, or gives it up because its round is over. */
  #finishTask({ worker, ...name }: EventOf<'taskFinished'>, nowMs: number): RoundCommand[] {
    const task = this.#owed(worker, name);
    if (!task) return [];
    if (isOpen(task) && this.#isWanted(task)) {
      return [{ type: 'evict', worker, reason: 'finished a task without sending all of its sums' }];
    }
    if (isOpen(task)) this.#pace.giveUp(worker, task.rows, task.givenMs, nowMs);
    this.#report(task);
    return this.#giveWork(nowMs);
  }

  #failTask(event: EventOf<'taskFailed'>, nowMs: number): RoundCommand[] {
    const { worker, message } = event;
    const task = this.#owed(worker, event);
    if (!task) return [];
    const isMissed = isOpen(task) && this.#isWanted(task);
    this.#report(task);
    const { lastHope } = this.#round ?? {};
    if (isMissed && worker === COORDINATOR.worker) {
      return this.#giveUp(lastHope && { ...lastHope, from: task.from, to: task.to }, message);
    }
    const process = this.#workers.get(worker);
    if (process === undefined) return this.#giveWork(nowMs);
    const hopeless =
      isMissed && this.#round
        ? this.#round.failures.fail(task, { ...event, process, others: this.#notLate(this.#round, nowMs) })
        : undefined;
    const sentAway = this.#sendAway(event, process);
    return [...sentAway, ...(hopeless ? this.#tryHere(hopeless, nowMs) : this.#giveWork(nowMs))];
  }

  /** Processes that may still compute something: one that hangs is not waited for. */
  #notLate({ beganMs }: Round, nowMs: number): string[] {
    const situation = { open: this.#tasks.open(), pace: this.#pace, beganMs, nowMs };
    return [...this.#workers].filter(([worker]) => !isLate(situation, worker)).map(([, process]) => process);
  }

  /** The worker is through with the range, and may speak of its next one. */
  #report(task: Task): void {
    this.#tasks.report(task.worker);
    if (isOpen(task)) this.#tasks.remove(task);
  }

  /** Who failed begins afresh, and gets nothing before; who has failed again and again does not come back. */
  #sendAway({ worker, message }: EventOf<'taskFailed'>, process: string): RoundCommand[] {
    this.#removeWorker(worker);
    const numFailed = this.#records.fail(process);
    if (numFailed < MAX_FAILED_IN_ROW) return [{ type: 'evict', worker, reason: 'failed on a task' }];
    const reason = `failed on ${numFailed} tasks in a row: ${message.slice(0, MAX_QUOTED)}`;
    return [{ type: 'ban', worker, process, reason, trustedSteps: undefined }];
  }

  /** Before a run ends for shards that nobody can compute, the coordinator tries each that has not come from anyone. */
  #tryHere(hopeless: Hopeless, nowMs: number): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isOver) return [];
    const isMeant = (shard: number): boolean => hopeless.from <= shard && shard < hopeless.to;
    const shards = round.lastHope ? [] : missingShards(round.trees).filter(isMeant);
    if (shards.length === 0) return this.#giveWork(nowMs);
    round.lastHope = hopeless;
    const { worker } = COORDINATOR;
    const own = shards.map((shard) => this.#assign({ worker, from: shard, to: shard + 1 }, nowMs));
    return [...own, ...this.#giveWork(nowMs)];
  }

  /** `own`: why the coordinator cannot compute these shards, if it has tried. */
  #giveUp(hopeless: Hopeless | undefined, own?: string): RoundCommand[] {
    if (!this.#round || this.#round.isOver || !hopeless) return [];
    this.#round.isOver = true;
    const message = hopeless.message + (own === undefined ? '' : `; nor can the coordinator: ${own}`);
    return [{ type: 'giveUp', ...hopeless, message }];
  }

  /** Has the coordinator compute a node. */
  #doubt(node: TreeNode): RoundCommand[] {
    const round = this.#round as Round;
    if (!round.answers.doubt(node)) return [];
    const digest = round.answers.isAudited(node) ? 'strong' : 'fast';
    return [{ type: 'judge', round: round.number, node, digest }];
  }

  /** Parts that are finite may come from liars, and add up to what is not. */
  #doubtAll(number: number): RoundCommand[] {
    const round = this.#round;
    if (round?.number !== number || round.isSpoilt) return [];
    round.isSpoilt = true;
    round.isOver = false;
    const commands = round.answers.taken().flatMap((node) => this.#doubt(node));
    return [...commands, ...this.#endSpoilt()];
  }

  #settleDoubt({ round: number, node, digests }: EventOf<'judged'>, nowMs: number): RoundCommand[] {
    const round = this.#round;
    if (round?.number !== number || round.isOver) return [];
    if (round.answers.judge(node, digests).size > 0) return this.#punish(node, nowMs);
    return [...this.#endSpoilt(), ...this.#completeRound(), ...this.#giveWork(nowMs)];
  }

  /** Once all that is in doubt turned out to be right, a sum that is not finite is real. */
  #endSpoilt(): RoundCommand[] {
    const round = this.#round as Round;
    if (!round.isSpoilt || round.answers.isInDoubt) return [];
    round.isOver = true;
    return [{ type: 'diverged' }];
  }

  /** Sends away who was wrong about a node, and begins the round again: other sums of theirs are part of it. */
  #punish(node: TreeNode, nowMs: number): RoundCommand[] {
    const round = this.#round as Round;
    const { from, to } = shardsUnder(node, round.plan.shardRows.length);
    const what = round.plan.mode === 'sum' ? 'gradient of shards' : 'evaluation of shards';
    const reason = `its ${what} ${from} to ${to - 1} is not what they give`;
    const liars = round.answers.liars(node);
    // Not only in the session in which it lied: the process may have come back since.
    for (const [worker, process] of this.#workers) if (liars.has(process)) this.#removeWorker(worker);
    const bans = [...liars].map(([process, worker]): RoundCommand => {
      const trustedSteps = this.#records.trustedSteps(process);
      return { type: 'ban', worker, process, reason, trustedSteps };
    });
    return [...bans, ...this.#begin(round.plan, nowMs, round, 'a worker was wrong')];
  }

  /** Hands out what is open, what is to be confirmed, and what is late. */
  #giveWork(nowMs: number): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isOver || round.isSpoilt || this.#workers.size === 0) return [];
    if (round.lastHope?.cause === 'dishonest') return [];
    const [tasks, pace, workers, room] = [this.#tasks, this.#pace, this.#workers, this.#room];
    const work = planWork({ ...round, tasks, pace, workers, room, nowMs });
    const commands = work.tasks.map((range) => this.#assign(range, nowMs));
    return [...commands, ...work.toJudge.flatMap((node) => this.#doubt(node))];
  }

  #assign({ worker, from, to }: Pick<Task, 'worker' | 'from' | 'to'>, nowMs: number): RoundCommand {
    const { plan } = this.#round as Round;
    const [rows, asked] = [rowsIn(plan, from, to), sumsOf(plan, from, to)];
    const { id: task } = this.#tasks.start({ plan, worker, from, to, rows, asked, givenMs: nowMs });
    return { type: 'assign', worker, task, from, to };
  }
}

/** The node that a sum is about: of an evaluation workers name shards. */
function nodeOf({ plan }: Task, { node }: SumName): TreeNode {
  return plan.mode === 'collect' ? lift(node, plan.shardRows.length) : node;
}

/** Notes that a sum has come; returns why its sender is to be evicted for it. */
function bookSum(task: Task, node: TreeNode, bucket: number): string | undefined {
  const { numBuckets, shardRows } = task.plan;
  const key = sumKey(node, bucket);
  if (!task.asked.has(key)) {
    const isReal = bucket < numBuckets && isLifted(node, shardRows.length);
    return isReal ? 'sent a sum it was not asked for' : 'sent a sum that does not exist';
  }
  if (task.due.delete(key)) return undefined;
  return ++task.numRepeated > 2 * task.asked.size ? 'sent the same sums again and again' : undefined;
}
