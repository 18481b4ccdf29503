// Decisions on rounds. A round is one distributed sum: the gradient of a batch, or the evaluation
// of a slice of a split. Its shards are given out as tasks, and each task results in partial sums
// of maximal tree nodes, bucket by bucket. Because equal shards give equal bits, it does not matter
// which task a sum belongs to: a lost worker's shards go out again, a late task goes to an idle
// worker too, and the first sum of a node is taken. For the same reason a sum that differs from
// another is a lie: the coordinator then computes the node itself, whoever was wrong is banned, and
// the round restarts without it. Before it believes workers that say nobody can compute some
// shards, it tries those itself.
import { ReductionTree, shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { Audit, TrackRecords } from './audit.ts';
import type { AuditPolicy } from './audit.ts';
import { COORDINATOR } from './outcome.ts';
import type {
  BannedWorker,
  DigestKind,
  DoubtedNode,
  HopelessShards,
  Outcome,
  PlannedTask,
  RoundPlan,
  SumDigest,
  SumName,
  SumRoom,
  TaskFailure,
  TaskName,
} from './outcome.ts';
import { findOverdue, isLate } from './lateness.ts';
import { Pace } from './pace.ts';
import { missingShards, planWork } from './plan-work.ts';
import { ShardFailures } from './shard-failures.ts';
import { Tasks, bookSum, isOpen, nodeOf, sumKey } from './tasks.ts';
import type { OwedTask } from './tasks.ts';

interface RoundState {
  readonly number: number;
  readonly plan: RoundPlan;
  /** Trees of partial sums, one for each bucket. */
  readonly trees: readonly ReductionTree<number>[];
  readonly audit: Audit;
  /** Failures of the shards, however often the round has started. */
  readonly failures: ShardFailures;
  readonly numStarts: number;
  readonly beganMs: number;
  /** Shards that end the run if the coordinator, which is trying, cannot compute them either. */
  lastHope: HopelessShards | undefined;
  isOver: boolean;
}

/** A process to be kept out, and one of its workers. */
export interface Offender extends Omit<BannedWorker, 'name' | 'mayReturn'> {
  readonly instance: string;
}

/**
 * Starts of one round with workers; each but the first costs a process its place. Then
 * the coordinator takes over.
 */
const MAX_STARTS = 16;
/** Characters of a worker's own words that go into a reason. */
const MAX_QUOTED = 200;
/** Tasks in a row that a process may fail on before it is kept out. */
const MAX_FAILED_IN_ROW = 5;

/** The decisions on all rounds of one run. Times are monotonic milliseconds. */
export class RoundScheduler {
  readonly #policy: AuditPolicy;
  readonly #room: SumRoom;
  readonly #ban: (offender: Offender, outcome: Outcome) => void;
  readonly #pace = new Pace();
  readonly #tasks = new Tasks();
  /** The instance of each worker. */
  readonly #workers = new Map<number, string>();
  readonly #records = new TrackRecords();
  #round: RoundState | undefined;
  #numRounds = 0;
  #nextSlot = 1;

  /** `ban` keeps a process out of the roster. */
  constructor(policy: AuditPolicy, room: SumRoom, ban: (offender: Offender, outcome: Outcome) => void) {
    this.#policy = policy;
    this.#room = room;
    this.#ban = ban;
  }

  /** Tells whether the worker may speak of the task: it owes it, and has reported on all those before it. */
  owes(worker: number, name: TaskName): boolean {
    return this.#owed(worker, name) !== undefined;
  }

  /** The kind of digest that a sum needs; undefined if nobody waits for the sum: then it is to be dropped. */
  inspect(worker: number, sum: SumName): DigestKind | undefined {
    const task = this.#owed(worker, sum);
    if (!this.#round || !task || !this.#isWanted(task)) return undefined;
    const node = nodeOf(task, sum);
    return task.asked.has(sumKey(node, sum.bucket)) ? this.#round.audit.digestKind(node) : 'fast';
  }

  /** Begins the next round. */
  begin(plan: RoundPlan, outcome: Outcome): void {
    if (this.#round) this.#records.recordRound(this.#round, plan);
    this.#start(plan, outcome);
  }

  /** Gives up the round: nobody waits for its results. */
  abandon(): void {
    if (this.#round) this.#round.isOver = true;
  }

  addWorker(worker: number, instance: string, outcome: Outcome): void {
    this.#workers.set(worker, instance);
    this.#pace.join(worker, outcome.nowMs);
    this.#giveWork(outcome);
  }

  /** Removes a worker, whose shards go to others at once. */
  removeWorker(worker: number, outcome: Outcome): void {
    const instance = this.#workers.get(worker);
    if (instance === undefined) return;
    const owed = this.#forgetWorker(worker);
    this.#tryHere(this.#round?.failures.lose(owed, instance), outcome);
  }

  /** Notes that the process of a worker, whose session may be over by now, ended for lack of memory. */
  noteOutOfMemory(instance: string, outcome: Outcome): void {
    const owed = this.#tasks.open().filter(({ worker }) => this.#workers.get(worker) === instance);
    this.#giveUp(this.#round?.failures.runOutOfMemory(owed, instance), outcome);
  }

  /**
   * Takes a partial sum that `inspect` found to be wanted: compares it with others,
   * and stores it if it is new.
   */
  acceptSum(worker: number, sum: SumName, { digest, isFinite }: SumDigest, outcome: Outcome): void {
    const round = this.#round;
    const task = this.#owed(worker, sum);
    if (!round || !task || !this.#isWanted(task)) return;
    const node = nodeOf(task, sum);
    const wasOpen = isOpen(task);
    if (!this.#book(task, node, sum.bucket, outcome)) return;
    const instance = this.#instanceOf(worker);
    const verdict = round.audit.examine(node, sum.bucket, { worker, instance, digest }, isFinite);
    if (verdict === 'false') return this.#punish(node, outcome);
    if (!isFinite && round.plan.kind === 'train') round.audit.markNotFinite();
    this.#store(round, node, sum.bucket, outcome);
    if (verdict === 'doubtful') this.#doubt(node, outcome);
    this.#completeRound(outcome);
    if (wasOpen && !isOpen(task)) this.#giveWork(outcome);
  }

  /** Books a sum of a round that is over or was restarted: it is owed, and of no use. */
  dropSum(worker: number, sum: SumName, outcome: Outcome): void {
    const task = this.#owed(worker, sum);
    if (!task) return;
    const wasOpen = isOpen(task);
    this.#book(task, nodeOf(task, sum), sum.bucket, outcome);
    if (wasOpen && !isOpen(task)) this.#giveWork(outcome);
  }

  /** Takes a worker's report that it is done with a task, or gives it up because its round is over. */
  finishTask(worker: number, name: TaskName, outcome: Outcome): void {
    const task = this.#owed(worker, name);
    if (!task) return;
    if (isOpen(task) && this.#isWanted(task)) {
      outcome.evicted.push({ worker, reason: 'finished a task without sending all of its sums' });
      return;
    }
    if (isOpen(task)) this.#pace.giveUp(worker, task.rows, task.givenMs, outcome.nowMs);
    this.#report(task);
    this.#giveWork(outcome);
  }

  /**
   * Takes a worker's report that it cannot compute a task: its shards go to others, or
   * the coordinator tries them.
   */
  failTask(worker: number, name: TaskName, failure: TaskFailure, outcome: Outcome): void {
    const task = this.#owed(worker, name);
    if (!task) return;
    const isMissed = isOpen(task) && this.#isWanted(task);
    this.#report(task);
    const round = this.#round;
    if (isMissed && worker === COORDINATOR.worker) {
      const hopeless = round?.lastHope && { ...round.lastHope, from: task.from, to: task.to };
      return this.#giveUp(hopeless, outcome, failure.message);
    }
    const instance = this.#workers.get(worker);
    if (instance === undefined) return this.#giveWork(outcome);
    const hopeless =
      isMissed && round
        ? round.failures.fail(task, { ...failure, instance, others: this.#notLate(round, outcome.nowMs) })
        : undefined;
    this.#sendAway(worker, instance, failure.message, outcome);
    this.#tryHere(hopeless, outcome);
  }

  /** Takes the digests, by bucket, that the coordinator found for a node in doubt. */
  settle(number: number, node: TreeNode, digests: readonly string[], outcome: Outcome): void {
    const round = this.#round;
    if (round?.number !== number || round.isOver) return;
    if (round.audit.settle(node, digests).size > 0) return this.#punish(node, outcome);
    this.#endNotFinite(round, outcome);
    this.#completeRound(outcome);
    this.#giveWork(outcome);
  }

  /** Doubts every part of a sum that is not finite: the parts are finite, but some may be made up. */
  doubtRound(number: number, outcome: Outcome): void {
    const round = this.#round;
    if (round?.number !== number || round.audit.isNotFinite) return;
    round.audit.markNotFinite();
    round.isOver = false;
    for (const node of round.audit.taken()) this.#doubt(node, outcome);
    this.#endNotFinite(round, outcome);
  }

  /** Finds workers that are late, and gives out what is open. */
  tick(outcome: Outcome): void {
    findOverdue(this.#tasks.owed(), this.#pace, outcome);
    this.#giveWork(outcome);
  }

  #start(plan: RoundPlan, outcome: Outcome, before?: RoundState, again?: string): void {
    const number = ++this.#numRounds;
    this.#tasks.begin(number);
    const numShards = plan.shardRows.length;
    this.#round = {
      number,
      plan,
      trees: Array.from({ length: plan.numBuckets }, () => new ReductionTree<number>(numShards, plan.shards)),
      audit: new Audit(this.#policy, numShards),
      failures: before?.failures ?? new ShardFailures(),
      numStarts: (before?.numStarts ?? 0) + 1,
      beganMs: outcome.nowMs,
      lastHope: undefined,
      isOver: false,
    };
    outcome.begun = { round: number, again };
    if (this.#round.numStarts <= MAX_STARTS) return this.#giveWork(outcome);
    const message = `the round started ${MAX_STARTS} times: ${again}`;
    this.#tryHere({ from: 0, to: numShards, cause: 'dishonest', message }, outcome);
  }

  #owed(worker: number, { round, task }: TaskName): OwedTask | undefined {
    const next = this.#tasks.nextOf(worker);
    return next?.round === round && next.id === task ? next : undefined;
  }

  /** Tells whether somebody waits for the task: its round is neither over nor restarted. */
  #isWanted({ round }: OwedTask): boolean {
    return this.#round?.number === round && !this.#round.isOver;
  }

  #instanceOf(worker: number): string {
    return worker === COORDINATOR.worker ? COORDINATOR.instance : (this.#workers.get(worker) as string);
  }

  #forgetWorker(worker: number): OwedTask[] {
    this.#workers.delete(worker);
    this.#pace.leave(worker);
    return this.#tasks.removeWorker(worker);
  }

  /** Books a sum, with which its task may be delivered; returns false if its sender is evicted for it. */
  #book(task: OwedTask, node: TreeNode, bucket: number, outcome: Outcome): boolean {
    const { worker, rows, givenMs } = task;
    const wasOpen = isOpen(task);
    const refusal = bookSum(task, node, bucket);
    if (refusal !== undefined) {
      outcome.evicted.push({ worker, reason: refusal });
      return false;
    }
    if (!wasOpen || isOpen(task)) return true;
    this.#pace.deliver(worker, rows, givenMs, outcome.nowMs);
    this.#records.deliver(this.#instanceOf(worker));
    const isTrying = this.#tasks.open().some((open) => open.worker === COORDINATOR.worker);
    if (worker === COORDINATOR.worker && this.#round && this.#isWanted(task) && !isTrying) {
      this.#round.lastHope = undefined;
    }
    return true;
  }

  /** Adds a sum to the tree of its bucket, unless its shards are in it already. */
  #store(round: RoundState, node: TreeNode, bucket: number, outcome: Outcome): void {
    const slot = this.#nextSlot++;
    const tree = round.trees[bucket] as ReductionTree<number>;
    const added = tree.add(node, slot);
    if (!added) return;
    round.audit.take(node, bucket);
    const isTraining = round.plan.kind === 'train';
    // A complete bucket goes to the optimizer at once; if an audit finds a lie later, the round restarts.
    const isPassedOn = isTraining && !round.audit.isNotFinite && tree.isMaximal(added.node);
    outcome.sum = {
      slot,
      bucket,
      completed: isPassedOn ? { slot: added.slot, node: added.node } : undefined,
      freed: added.freed,
      merges: isTraining ? added.merges : [],
    };
  }

  #completeRound(outcome: Outcome): void {
    const round = this.#round;
    if (!round || round.isOver || !round.trees.every((tree) => tree.isComplete) || !round.audit.isSettled)
      return;
    round.isOver = true;
    outcome.isComplete = true;
  }

  /** The instances that may still compute something: one that hangs is not waited for. */
  #notLate({ beganMs }: RoundState, nowMs: number): string[] {
    const times = { open: this.#tasks.open(), pace: this.#pace, beganMs, nowMs };
    return [...this.#workers].filter(([worker]) => !isLate(worker, times)).map(([, instance]) => instance);
  }

  /** Notes that the worker is done with the task, and may speak of its next one. */
  #report(task: OwedTask): void {
    this.#tasks.report(task.worker);
    if (isOpen(task)) this.#tasks.remove(task);
  }

  /** Sends a worker that failed away to start over; one that failed again and again does not come back. */
  #sendAway(worker: number, instance: string, message: string, outcome: Outcome): void {
    this.#forgetWorker(worker);
    const numFailed = this.#records.fail(instance);
    if (numFailed < MAX_FAILED_IN_ROW) {
      outcome.evicted.push({ worker, reason: 'failed on a task' });
    } else {
      const reason = `failed on ${numFailed} tasks in a row: ${message.slice(0, MAX_QUOTED)}`;
      this.#ban({ worker, instance, reason, trustedSteps: undefined }, outcome);
    }
  }

  /** Has the coordinator try each hopeless shard that nobody has delivered, before a run ends for them. */
  #tryHere(hopeless: HopelessShards | undefined, outcome: Outcome): void {
    const round = this.#round;
    if (hopeless && round && !round.isOver && !round.lastHope) {
      const isMeant = (shard: number): boolean => hopeless.from <= shard && shard < hopeless.to;
      const shards = missingShards(round.trees).filter(isMeant);
      if (shards.length > 0) round.lastHope = hopeless;
      for (const shard of shards) this.#assign({ ...COORDINATOR, from: shard, to: shard + 1 }, outcome);
    }
    this.#giveWork(outcome);
  }

  /**
   * Ends the run for hopeless shards; `own` is the reason why the coordinator cannot
   * compute them, if it has tried.
   */
  #giveUp(hopeless: HopelessShards | undefined, outcome: Outcome, own?: string): void {
    if (!this.#round || this.#round.isOver || !hopeless) return;
    this.#round.isOver = true;
    const message = hopeless.message + (own === undefined ? '' : `; nor can the coordinator: ${own}`);
    outcome.failure = { type: 'hopeless', ...hopeless, message };
  }

  /** Has the referee compute a node, unless it does already or has done so. */
  #doubt(node: TreeNode, outcome: Outcome): void {
    const { audit, number } = this.#round as RoundState;
    if (!audit.doubt(node)) return;
    const doubted: DoubtedNode = { round: number, node, digestKind: audit.digestKind(node) };
    outcome.doubted.push(doubted);
  }

  /**
   * Ends a round whose sum is not finite once everything in doubt has turned out to be
   * right: then it really is not.
   */
  #endNotFinite(round: RoundState, outcome: Outcome): void {
    if (!round.audit.isNotFinite || round.audit.isInDoubt) return;
    round.isOver = true;
    outcome.failure = { type: 'diverged' };
  }

  /** Bans whoever was wrong about a node, and restarts the round: other sums of theirs are part of it. */
  #punish(node: TreeNode, outcome: Outcome): void {
    const round = this.#round as RoundState;
    const { from, to } = shardsUnder(node, round.plan.shardRows.length);
    const what = round.plan.kind === 'train' ? 'gradient' : 'evaluation';
    const reason = `its ${what} of shards ${from} to ${to - 1} is wrong`;
    const liars = round.audit.liars(node);
    // Not only in the session in which it lied: the process may have come back since.
    for (const [worker, instance] of this.#workers) if (liars.has(instance)) this.#forgetWorker(worker);
    for (const [instance, worker] of liars) {
      const trustedSteps = this.#records.trustedSteps(instance);
      this.#ban({ worker, instance, reason, trustedSteps }, outcome);
    }
    this.#start(round.plan, outcome, round, 'a worker was wrong');
  }

  /** Gives out open shards, sums to be confirmed, and copies of what is late. */
  #giveWork(outcome: Outcome): void {
    const round = this.#round;
    if (!round || round.isOver || round.audit.isNotFinite || this.#workers.size === 0) return;
    if (round.lastHope?.cause === 'dishonest') return;
    const [tasks, pace, workers, room] = [this.#tasks, this.#pace, this.#workers, this.#room];
    const work = planWork({ ...round, tasks, pace, workers, room, nowMs: outcome.nowMs });
    for (const task of work.tasks) this.#assign(task, outcome);
    for (const node of work.toJudge) this.#doubt(node, outcome);
  }

  #assign(task: PlannedTask, outcome: Outcome): void {
    outcome.tasks.push(this.#tasks.start(task, (this.#round as RoundState).plan, outcome.nowMs));
  }
}
