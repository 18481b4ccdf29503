// Runs rounds on the workers: takes their messages, asks the scheduler, and carries out
// its answers. A bucket of the next weights goes out as soon as its gradient is complete,
// while others still arrive.
import { crc32 } from 'node:zlib';
import { LockstepError, quoteValue } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { Logger, LimitedLog } from '../../src/log.ts';
import { isOutOfMemory } from '../../src/memory.ts';
import type {
  EvaluateMessage,
  EvaluationMessage,
  GradientMessage,
  ResultMessage,
  TrainMessage,
} from '../../src/protocol/message-types.ts';
import type { TaskRows } from '../../src/engine/engine.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import type { Body } from '../../src/protocol/shared-file.ts';
import type { Merge, TreeNode } from '../../src/tree.ts';
import { COORDINATOR, Outcome, carryOut } from '../scheduler/outcome.ts';
import type {
  DoubtedNode,
  RoundDriver,
  RoundFailure,
  Shortage,
  SumName,
  Task,
} from '../scheduler/outcome.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import type { SchedulerOptions } from '../scheduler/scheduler.ts';
import { ClusterActivity } from './activity.ts';
import { AwakeClock } from './awake-clock.ts';
import { WeightsSender } from './weights-sender.ts';
import type { WeightsSenderOptions } from './weights-sender.ts';
import type { Membership } from './membership.ts';
import { PartialSums } from './partial-sums.ts';
import type { PartialSumsOptions } from './partial-sums.ts';
import { Referee } from './referee.ts';
import type { RefereeOptions } from './referee.ts';
import type { Round, RoundState } from './round.ts';
import type { WorkerSession } from './worker-session.ts';

/** The parts and settings that rounds run with. */
export interface RoundRunnerOptions
  extends SchedulerOptions, RefereeOptions, WeightsSenderOptions, PartialSumsOptions {
  readonly run: string;
  readonly state: RoundState;
  readonly log: Logger;
  /** Log for lines whose number workers decide. */
  readonly churn: LimitedLog;
  /** Workers that a place of a tree serves itself; undefined in a star. */
  readonly fanIn: number | undefined;
  /** Computes tasks as the worker `OWN_WORKER`, where this process is to be one. */
  readonly computeOwn?: ComputeOwn | undefined;
}

/** Sends a result of a task, as a message that is not encoded. */
type SendResult = (message: ResultMessage, body?: Uint8Array) => void;

/**
 * Computes a task in this process, as long as `isWanted`, and sends its results as any worker does.
 * Rejects if it cannot.
 */
export type ComputeOwn = (
  message: TrainMessage | EvaluateMessage,
  rows: TaskRows,
  receiver: { readonly send: SendResult; readonly isWanted: () => boolean },
) => Promise<void>;

/** The number of this process among its workers, where it is one; the numbers of sessions are above. */
export const OWN_WORKER = 1;

/** Figures of the rounds so far, for benchmarks. */
export interface RoundCounters {
  bytesSent: number;
  bytesReceived: number;
  /** Milliseconds that workers reported as computing, summed over workers. */
  computeMs: number;
  /** Largest resident memory that a worker reported. */
  workerResidentBytes: number;
}

/** The sender of a result. */
interface Sender {
  readonly worker: number;
  readonly name: string;
  /** Ends its session. */
  readonly evict: (reason: string) => void;
}

const NO_BODY = new Uint8Array(0);

interface RunningRound {
  readonly round: Round;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** The runner of one run's rounds, one at a time. */
export class RoundRunner implements RoundDriver {
  readonly counters: RoundCounters = { bytesSent: 0, bytesReceived: 0, computeMs: 0, workerResidentBytes: 0 };
  readonly activity = new ClusterActivity();
  readonly #options: RoundRunnerOptions;
  readonly #members: Membership;
  readonly #state: RoundState;
  readonly #clock = new AwakeClock();
  readonly #scheduler: Scheduler;
  readonly #weights: WeightsSender;
  readonly #sums: PartialSums;
  readonly #referee: Referee;
  /** Sessions that were given work in this round, or in the last one. */
  readonly #atWork = new Set<WorkerSession>();
  #running: RunningRound | undefined;
  #fatal: Error | undefined;
  /** Settles with the last task of this process. */
  #lastOwn: Promise<void> = Promise.resolve();

  constructor(options: RoundRunnerOptions, members: Membership) {
    this.#options = options;
    this.#members = members;
    this.#state = options.state;
    this.#scheduler = new Scheduler(options, this.#clock.now());
    this.#weights = new WeightsSender(options);
    this.#sums = new PartialSums(options);
    this.#referee = new Referee(options);
  }

  /** The error that ended the run; undefined while it can compute. */
  get fatal(): Error | undefined {
    return this.#fatal;
  }

  /** The reason why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#scheduler.banOf(instance);
  }

  /** Workers that take part, those below aggregators included. */
  get numWorkers(): number {
    return this.#scheduler.numWorkers;
  }

  /** True for a process that is to work alone, neither as an aggregator nor below one. */
  isDistrusted(instance: string): boolean {
    return this.#scheduler.isDistrusted(instance);
  }

  /** Resolves when the round is complete; its sums stay in memory until the next one. */
  run(round: Round): Promise<void> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    // In a tree, tasks of whole shares bring each aggregator's sum as one.
    const { fanIn, groups: cutGroups = fanIn } = this.#options;
    const plan = round.plan(this.#state.model.buckets.length, this.#state.step, cutGroups);
    return new Promise((resolve, reject) => {
      this.#running = { round, resolve, reject };
      this.decide((scheduler, outcome) => scheduler.beginRound(plan, outcome));
    });
  }

  /**
   * Passes an event to the scheduler and carries out its outcome. A failure ends the run, and
   * rejects whoever is waiting.
   */
  decide(ask: (scheduler: Scheduler, outcome: Outcome) => void): void {
    if (this.#fatal) return;
    try {
      const outcome = new Outcome(this.#clock.now());
      ask(this.#scheduler, outcome);
      const isFinite = carryOut(outcome, this.#members, this);
      const round = this.#running?.round.number;
      if (!isFinite && round !== undefined)
        this.decide((scheduler, outcome) => scheduler.rounds.doubtRound(round, outcome));
    } catch (error) {
      this.fail(error);
    }
  }

  /** Ends the current round and every later one: nothing can be computed any more. */
  fail(cause: unknown): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#fatal ??= error;
    this.#failRound(error);
    this.#members.fail(error);
  }

  /** Frees the memory of partial sums. */
  close(): void {
    this.#sums.freeAll();
  }

  /** Handles a message about a task; after a failure nobody keeps the books it would be judged by. */
  receive(session: WorkerSession, message: ResultMessage, body: Body): void {
    if (this.#fatal) return;
    this.counters.bytesReceived += body.byteLength;
    this.activity.received(session.id, body.byteLength);
    failpoint('coordinator.receive', { type: message.type, step: this.#state.step });
    const evict = (reason: string): void => session.evict(CLOSE.protocol, reason);
    if (message.run !== this.#options.run)
      return evict(`answered for another run, ${quoteValue(message.run)}`);
    this.#take({ worker: session.id, name: session.name, evict }, message, body);
  }

  #take({ worker, name, evict }: Sender, message: ResultMessage, body: Body): void {
    if (!this.#scheduler.rounds.owes(worker, message))
      return evict(`sent "${message.type}" about a task that it does not owe`);
    switch (message.type) {
      case 'gradient':
      case 'evaluation':
        return this.#receiveSum(worker, message, body, evict);
      case 'finished':
        this.activity.finished(worker, message);
        this.counters.computeMs += message.computeMs;
        this.counters.workerResidentBytes = Math.max(
          this.counters.workerResidentBytes,
          message.residentBytes,
        );
        return this.decide((scheduler, outcome) => scheduler.rounds.finishTask(worker, message, outcome));
      case 'failure': {
        const line = `${name} failed on a task: ${message.message}`;
        this.#options.churn.write('warn', 'tasks that workers failed on', line);
        this.activity.failed(worker, message.task);
        return this.#failTask(worker, message, message.message);
      }
      default:
        return message satisfies never;
    }
  }

  /**
   * Takes a partial sum: checks it, has the scheduler accept it, keeps it; merging and new work
   * follow from the outcome.
   */
  #receiveSum(
    worker: number,
    message: GradientMessage | EvaluationMessage,
    body: Body,
    evict: (reason: string) => void,
  ): void {
    const name = sumNameOf(message);
    const digestKind = this.#scheduler.rounds.inspect(worker, name);
    if (!digestKind || !this.#running)
      return this.decide((scheduler, outcome) => scheduler.rounds.dropSum(worker, name, outcome));
    const sum = this.#sums.check(this.#running.round, message, body, digestKind);
    if ('refusal' in sum) return evict(sum.refusal);
    this.activity.sumArrived(message.task);
    this.decide((scheduler, outcome) => {
      scheduler.rounds.acceptSum(worker, name, sum, outcome);
      sum.keep(outcome.sum?.slot);
    });
  }

  #failTask(worker: number, { round, task }: { round: number; task: number }, message: string): void {
    const failure = { message, isOutOfMemory: isOutOfMemory(message) };
    this.decide((scheduler, outcome) => scheduler.rounds.failTask(worker, { round, task }, failure, outcome));
  }

  begin(number: number, again: string | undefined): void {
    const round = this.#running?.round;
    if (!round) return;
    if (again !== undefined) {
      const what = round.kind === 'train' ? `step ${this.#state.step + 1}` : 'the evaluation';
      this.#options.log.warn(`${what} restarts: ${again}`);
    }
    this.#sums.freeAll();
    this.#atWork.clear();
    round.begin(number, again !== undefined);
    this.activity.begin(round.kind === 'train' ? this.#state.step + 1 : undefined);
  }

  merge(bucket: number, merge: Merge<number>): void {
    const { round } = this.#running as RunningRound;
    this.#sums.merge(bucket, merge, round.numShards);
  }

  free(slot: number): void {
    this.#sums.free(slot);
  }

  passOn(bucket: number, slot: number, node: TreeNode): boolean {
    const { round } = this.#running as RunningRound;
    const { address, lossSum } = this.#sums.get(slot);
    const isLast = bucket === this.#state.model.buckets.length - 1;
    try {
      const sum = { node, bucket, address, lossSum: isLast ? lossSum : undefined };
      for (const next of round.results.takeSum(sum)) this.sendNextWeights(next);
      return true;
    } catch (error) {
      if (!(error instanceof LockstepError) || error.category !== 'diverged') throw error;
      // All its parts were finite: either they are too large to be added, or some of them were made up.
      round.divergence ??= error;
      return false;
    }
  }

  sendTask(task: Task): void {
    const { round } = this.#running as RunningRound;
    if (task.worker === COORDINATOR.worker) return void this.#computeHere(round, task);
    const { message, rows } = round.task(this.#options.run, this.#state, task);
    const { computeOwn } = this.#options;
    if (task.worker === OWN_WORKER && computeOwn) return this.#computeOwn(computeOwn, message, rows);
    const session = this.#members.find(task.worker);
    if (!session) return;
    this.#atWork.add(session);
    const messages = [
      ...encodeRows(message, rows),
      encodeMessage(message, new Uint8Array(rows.indices.buffer)),
    ];
    const bytesSent =
      this.#weights.supply(session) + messages.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.counters.bytesSent += bytesSent;
    this.activity.sent(session, task, bytesSent);
    for (const data of messages) session.send(data);
  }

  /** Has this process compute a task, after those that it was given before. */
  #computeOwn(compute: ComputeOwn, message: TrainMessage | EvaluateMessage, rows: TaskRows): void {
    const evict = (reason: string): void => this.fail(new Error(`this worker ${reason}`));
    const sender = { worker: OWN_WORKER, name: 'this worker', evict };
    const send: SendResult = (result, body = NO_BODY) => this.#take(sender, result, body);
    const isWanted = (): boolean => this.#isCurrent(message.round);
    this.#lastOwn = this.#lastOwn
      .then(() => compute(message, rows, { send, isWanted }))
      .catch((error: unknown) => this.fail(error));
  }

  /** Has the referee compute a node, after the messages that have arrived already. */
  judge({ round: number, node, digestKind }: DoubtedNode): void {
    const { round } = this.#running as RunningRound;
    this.#referee
      .judge(round, node, digestKind, () => this.#isCurrent(number))
      .then((digests) => {
        if (digests)
          this.decide((scheduler, outcome) => scheduler.rounds.settle(number, node, digests, outcome));
      })
      .catch((error: unknown) => this.fail(error));
  }

  /** Gives up the round that is running, which then resolves. */
  abandonRound(): void {
    this.decide((scheduler) => scheduler.rounds.abandon());
    this.completeRound();
  }

  completeRound(): void {
    this.activity.complete();
    this.#running?.resolve();
    this.#running = undefined;
  }

  warnShortage(shortage: Shortage & { readonly waitedMs: number }): void {
    this.#members.warnShortage(shortage, this.#running !== undefined);
  }

  endRound(failure: RoundFailure): void {
    const round = this.#running?.round;
    switch (failure.type) {
      case 'diverged':
        return this.#failRound(round?.divergence ?? new Error('a sum diverged that never arrived'));
      case 'hopeless':
        return this.fail(round?.hopeless(failure) ?? new Error(failure.message));
      case 'starved':
        return this.fail(this.#members.starved(failure));
      default:
        return failure satisfies never;
    }
  }

  /** Forgets a session: it gets no more weights. */
  dismiss(session: WorkerSession): void {
    this.#atWork.delete(session);
    this.activity.leave(session.id);
  }

  /** Sends all current weights to the workers that are at work. */
  broadcastWeights(): void {
    for (let bucket = 0; bucket < this.#state.model.buckets.length; bucket++) {
      this.#sendWeights(bucket, 'current');
    }
  }

  /** Sends a bucket of the next weights to the workers that are at work. */
  sendNextWeights(bucket: number): void {
    this.#sendWeights(bucket, 'next');
  }

  /** Sends a bucket to those who will most likely get work again; all others get it with their next task. */
  #sendWeights(bucket: number, which: 'current' | 'next'): void {
    const bytesSent = this.#weights.send(this.#atWork, bucket, which);
    this.counters.bytesSent += bytesSent;
    for (const session of this.#atWork) this.activity.supplied(session.id, bytesSent / this.#atWork.size);
  }

  /** Computes a shard that is given to the coordinator itself, as a worker would. Never rejects. */
  async #computeHere(round: Round, { id: task, from: shard }: Task): Promise<void> {
    const { worker } = COORDINATOR;
    const name = { round: round.number, task };
    const evict = (reason: string): void => this.fail(new Error(`the coordinator ${reason}`));
    try {
      const isCurrent = (): boolean => this.#isCurrent(name.round);
      const sums = await this.#referee.compute(round, task, shard, isCurrent);
      for (const { message, body } of sums) this.#receiveSum(worker, message, body, evict);
      this.decide((scheduler, outcome) => scheduler.rounds.finishTask(worker, name, outcome));
    } catch (error) {
      this.#failTask(worker, name, error instanceof Error ? error.message : String(error));
    }
  }

  #isCurrent(number: number): boolean {
    return this.#running?.round.number === number;
  }

  /** Ends the current round; another one may follow if the run is rolled back. */
  #failRound(error: Error): void {
    this.#running?.reject(error);
    this.#running = undefined;
  }
}

/** The messages by which a task's rows travel; none if its worker has them. */
function* encodeRows(
  { run, round, task }: TrainMessage | EvaluateMessage,
  { indices, position = 0, source }: TaskRows,
): Generator<Buffer> {
  const rows = source?.read(indices, position) ?? NO_BODY;
  for (let from = 0; from < rows.length; from += MAX_BODY_BYTES) {
    const body = rows.subarray(from, from + MAX_BODY_BYTES);
    yield encodeMessage({ type: 'rows', run, round, task, checksum: crc32(body) }, body);
  }
}

function sumNameOf(message: GradientMessage | EvaluationMessage): SumName {
  const { round, task } = message;
  if (message.type === 'evaluation')
    return { round, task, node: { level: 0, index: message.shard }, bucket: 0 };
  const { level, index, bucket } = message;
  return { round, task, node: { level, index }, bucket };
}
