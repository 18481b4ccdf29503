// The step loop's decisions as a pure state machine: events in, commands out. No socket, clock or tensor
// is touched here; the time comes with each event, and values are named by slots that the driver keeps.
//
// A round is one distributed sum: the gradient of a batch, or the evaluation of a slice of a split. Its
// leaves are handed out as contiguous ranges ("attempts"). Each attempt answers with sums of maximal tree
// nodes, piece by piece. Because equal leaves give equal bits, it does not matter which attempt a sum came
// from: a lost worker's leaves go out again, a late range goes to an idle worker too, and the first answer
// is taken. For the same reason an answer that differs from another is a lie: the coordinator then computes
// the node itself, whoever was wrong is banned, and the round begins again without it. It also computes itself what
// workers say that nobody can, before it believes them.
import { ReductionTree, isLifted, leavesUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { Answers } from './answers.ts';
import type { AuditPolicy } from './answers.ts';
import { Attempts, isOpen, rowsIn, sumKey, sumsOf } from './attempts.ts';
import type { Attempt } from './attempts.ts';
import { COORDINATOR } from './events.ts';
import type { DigestKind, RoundCommand, RoundEvent, RoundPlan, SumName } from './events.ts';
import { LeafFailures } from './leaf-failures.ts';
import type { Hopeless } from './leaf-failures.ts';
import { findOverdue } from './overdue.ts';
import { Pace } from './pace.ts';
import { missingLeaves, planWork } from './plan-work.ts';
import { TrackRecords } from './track-records.ts';

interface Round {
  readonly number: number;
  readonly plan: RoundPlan;
  readonly trees: readonly ReductionTree<number>[];
  readonly answers: Answers;
  /** Of the leaves, however often the round has begun. */
  readonly failures: LeafFailures;
  readonly numBegun: number;
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
/** Ranges in a row on which a process fails before it is kept out. */
const MAX_FAILED_IN_ROW = 5;

/** See the head of this file. One instance a run. */
export class RoundMachine {
  readonly #policy: AuditPolicy;
  readonly #pace = new Pace();
  readonly #attempts = new Attempts();
  /** The process of each worker. */
  readonly #workers = new Map<number, string>();
  readonly #records = new TrackRecords();
  #round: Round | undefined;
  #numRounds = 0;
  #nextSlot = 1;

  constructor(policy: AuditPolicy) {
    this.#policy = policy;
  }

  /** The kind of digest that a sum must come with; undefined if nobody waits for the sum. */
  inspect(worker: number, sum: SumName): DigestKind | undefined {
    const attempt = this.#attemptOf(worker, sum.round, sum.attempt);
    if (!this.#round || !attempt || this.#round.isOver) return undefined;
    const isKnown = attempt.asked.has(sumKey(sum.node, sum.piece));
    return isKnown && this.#round.answers.isAudited(sum.node) ? 'strong' : 'fast';
  }

  /** Handles one event at the given monotonic time, and returns what to do, in order. */
  handle(event: RoundEvent, nowMs: number): RoundCommand[] {
    switch (event.type) {
      case 'roundStarted':
        return this.#begin(event.plan, nowMs);
      case 'workerReady':
        this.#workers.set(event.worker, event.process);
        this.#pace.join(event.worker, event.threads, nowMs);
        return this.#giveWork(nowMs);
      case 'workerLost':
        return this.#loseWorker(event, nowMs);
      case 'outOfMemory':
        return this.#countOutOfMemory(event.process);
      case 'sumReceived':
        return this.#takeSum(event, nowMs);
      case 'rangeFinished':
        return this.#finishRange(event, nowMs);
      case 'rangeFailed':
        return this.#failRange(event, nowMs);
      case 'judged':
        return this.#settleDoubt(event, nowMs);
      case 'sumNotFinite':
        return this.#doubtAll(event.round);
      case 'tick':
        return [...findOverdue(this.#attempts.owed(), this.#pace, nowMs), ...this.#giveWork(nowMs)];
      default:
        return event satisfies never;
    }
  }

  #begin(plan: RoundPlan, nowMs: number, before?: Round, again?: string): RoundCommand[] {
    this.#attempts.endRound();
    if (!before && this.#round) this.#records.follow(this.#round, plan);
    const number = ++this.#numRounds;
    const numLeaves = plan.leafRows.length;
    this.#round = {
      number,
      plan,
      trees: Array.from({ length: plan.numPieces }, () => new ReductionTree<number>(numLeaves)),
      answers: new Answers(this.#policy),
      failures: before?.failures ?? new LeafFailures(),
      numBegun: (before?.numBegun ?? 0) + 1,
      lastHope: undefined,
      isSpoilt: false,
      isOver: false,
    };
    const begin = { type: 'begin', round: number, again } as const;
    if (this.#round.numBegun <= MAX_BEGINNINGS) return [begin, ...this.#giveWork(nowMs)];
    const message = `the round began ${MAX_BEGINNINGS} times: ${again}`;
    return [begin, ...this.#tryHere({ from: 0, to: numLeaves, cause: 'dishonest', message }, nowMs)];
  }

  #attemptOf(worker: number, round: number, attempt: number): Attempt | undefined {
    return this.#round?.number === round ? this.#attempts.find(attempt, worker) : undefined;
  }

  #loseWorker({ worker, isPolite }: EventOf<'workerLost'>, nowMs: number): RoundCommand[] {
    const process = this.#workers.get(worker);
    if (process === undefined) return [];
    const owed = this.#removeWorker(worker);
    const hopeless = isPolite ? undefined : this.#round?.failures.lose(owed, process);
    return hopeless ? this.#tryHere(hopeless, nowMs) : this.#giveWork(nowMs);
  }

  #removeWorker(worker: number): Attempt[] {
    this.#workers.delete(worker);
    this.#pace.leave(worker);
    return this.#attempts.removeWorker(worker);
  }

  #countOutOfMemory(process: string): RoundCommand[] {
    const owed = this.#attempts.open().filter(({ worker }) => this.#workers.get(worker) === process);
    const hopeless = this.#round?.failures.runOutOfMemory(owed, process);
    return hopeless ? this.#giveUp(hopeless) : [];
  }

  #takeSum({ worker, sum, digest, isFinite }: EventOf<'sumReceived'>, nowMs: number): RoundCommand[] {
    const round = this.#round;
    const attempt = this.#attemptOf(worker, sum.round, sum.attempt);
    if (!round || !attempt || round.isOver) return [];
    const { node, piece } = sum;
    const key = sumKey(node, piece);
    if (!attempt.asked.has(key)) {
      const isReal = piece < round.plan.numPieces && isLifted(node, round.plan.leafRows.length);
      const what = isReal ? 'a sum it was not asked for' : 'a sum that does not exist';
      return [{ type: 'evict', worker, reason: `sent ${what}` }];
    }
    const isLast = attempt.due.delete(key) && !isOpen(attempt);
    const process = this.#processOf(worker);
    if (isLast) this.#deliver(attempt, process, nowMs);
    const isContested = round.answers.add(node, piece, { worker, process, digest });
    if (isContested && round.answers.liars(node).size > 0) return this.#punish(node, nowMs);
    const commands = this.#store(round, node, piece);
    if (!isFinite && round.plan.mode === 'sum') round.isSpoilt = true;
    if (isContested || !isFinite) commands.push(...this.#doubt(node));
    else commands.push(...this.#completePiece(round, piece, commands));
    commands.push(...this.#completeRound());
    return isLast ? [...commands, ...this.#giveWork(nowMs)] : commands;
  }

  #processOf(worker: number): string {
    return worker === COORDINATOR.worker ? COORDINATOR.process : (this.#workers.get(worker) as string);
  }

  #deliver({ worker, rows, givenMs }: Attempt, process: string, nowMs: number): void {
    this.#pace.deliver(worker, rows, givenMs, nowMs);
    this.#records.deliver(process);
    const isTrying = this.#attempts.open().some((attempt) => attempt.worker === COORDINATOR.worker);
    if (worker === COORDINATOR.worker && !isTrying && this.#round) this.#round.lastHope = undefined;
  }

  /** Adds a sum to the tree of its piece, unless its leaves are there already. */
  #store(round: Round, node: TreeNode, piece: number): RoundCommand[] {
    const slot = this.#nextSlot++;
    const added = (round.trees[piece] as ReductionTree<number>).add(node, slot);
    if (!added) return [];
    round.answers.take(node, piece);
    const forgotten = added.dropped.map((dropped) => ({ type: 'forget' as const, slot: dropped }));
    const isSum = round.plan.mode === 'sum';
    const merges = added.merges.map((merge) => ({ type: 'merge' as const, piece, ...merge }));
    return [{ type: 'store', slot }, ...forgotten, ...(isSum ? merges : [])];
  }

  /** The piece goes to the optimizer as soon as it is whole; what an audit finds later makes the round begin again. */
  #completePiece(round: Round, piece: number, stored: readonly RoundCommand[]): RoundCommand[] {
    const { root } = round.trees[piece] as ReductionTree<number>;
    if (stored.length === 0 || round.isSpoilt || round.plan.mode !== 'sum' || root === undefined) return [];
    return [{ type: 'pieceCompleted', piece, slot: root }];
  }

  #completeRound(): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isOver || round.isSpoilt || round.answers.isInDoubt) return [];
    if (!round.trees.every((tree) => tree.isComplete)) return [];
    if (round.answers.unwitnessed(round.plan.leafRows.length).length > 0) return [];
    round.isOver = true;
    return [{ type: 'roundCompleted', round: round.number }];
  }

  /** A worker says that it is done with a range; its sums, if it sent them all, were here before. */
  #finishRange(
    { worker, round, attempt, computeMs }: EventOf<'rangeFinished'>,
    nowMs: number,
  ): RoundCommand[] {
    const attempted = this.#settle(worker, round, attempt);
    if (attempted === 'open') {
      return [{ type: 'evict', worker, reason: 'finished a range without sending all of its sums' }];
    }
    if (attempted && computeMs > 0) this.#pace.deliver(worker, attempted.rows, attempted.givenMs, nowMs);
    return this.#giveWork(nowMs);
  }

  /** An attempt that came too late for its round, and is owed no more; or whether it is still open. */
  #settle(worker: number, round: number, id: number): Attempt | 'open' | undefined {
    const current = this.#attemptOf(worker, round, id);
    if (!current) return this.#attempts.settle(id, worker);
    if (!isOpen(current)) return undefined;
    if (this.#round?.isOver !== true) return 'open';
    this.#attempts.remove(current);
    return current;
  }

  #failRange(event: EventOf<'rangeFailed'>, nowMs: number): RoundCommand[] {
    const { worker, message } = event;
    const attempt = this.#attemptOf(worker, event.round, event.attempt);
    const settled = this.#settle(worker, event.round, event.attempt);
    const isOwed = settled === 'open' && attempt !== undefined;
    if (isOwed) this.#attempts.remove(attempt);
    const { lastHope } = this.#round ?? {};
    if (isOwed && worker === COORDINATOR.worker) {
      return this.#giveUp(lastHope && { ...lastHope, from: attempt.from, to: attempt.to }, message);
    }
    const process = this.#workers.get(worker);
    if (!settled || process === undefined) return this.#giveWork(nowMs);
    const others = [...this.#workers.values()];
    const hopeless = isOwed ? this.#round?.failures.fail(attempt, { ...event, process, others }) : undefined;
    const sentAway = this.#sendAway(event, process);
    return [...sentAway, ...(hopeless ? this.#tryHere(hopeless, nowMs) : this.#giveWork(nowMs))];
  }

  /** Who failed begins afresh, and gets nothing before; who has failed again and again does not come back. */
  #sendAway({ worker, message }: EventOf<'rangeFailed'>, process: string): RoundCommand[] {
    this.#removeWorker(worker);
    const numFailed = this.#records.fail(process);
    if (numFailed < MAX_FAILED_IN_ROW) return [{ type: 'evict', worker, reason: 'failed on a range' }];
    const reason = `failed on ${numFailed} ranges in a row: ${message.slice(0, MAX_QUOTED)}`;
    return [{ type: 'ban', worker, process, reason, trustedSteps: undefined }];
  }

  /** Before a run ends for leaves that nobody can compute, the coordinator tries each that has not come from anyone. */
  #tryHere(hopeless: Hopeless, nowMs: number): RoundCommand[] {
    const round = this.#round;
    if (!round || round.isOver) return [];
    const isMeant = (leaf: number): boolean => hopeless.from <= leaf && leaf < hopeless.to;
    const leaves = round.lastHope ? [] : missingLeaves(round.trees).filter(isMeant);
    if (leaves.length === 0) return this.#giveWork(nowMs);
    round.lastHope = hopeless;
    const { worker } = COORDINATOR;
    const own = leaves.map((leaf) => this.#assign({ worker, from: leaf, to: leaf + 1 }, nowMs));
    return [...own, ...this.#giveWork(nowMs)];
  }

  /** `own`: why the coordinator cannot compute these leaves, if it has tried. */
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
    const { from, to } = leavesUnder(node, round.plan.leafRows.length);
    const what = round.plan.mode === 'sum' ? 'gradient of shards' : 'evaluation of leaves';
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
    const [attempts, pace, workers] = [this.#attempts, this.#pace, this.#workers];
    const work = planWork({ ...round, attempts, pace, workers, nowMs });
    const commands = work.ranges.map((range) => this.#assign(range, nowMs));
    return [...commands, ...work.toJudge.flatMap((node) => this.#doubt(node))];
  }

  #assign({ worker, from, to }: Pick<Attempt, 'worker' | 'from' | 'to'>, nowMs: number): RoundCommand {
    const { plan } = this.#round as Round;
    const [rows, asked] = [rowsIn(plan, from, to), sumsOf(plan, from, to)];
    const { id: attempt } = this.#attempts.start({ worker, from, to, rows, asked, givenMs: nowMs });
    return { type: 'assign', worker, attempt, from, to };
  }
}
