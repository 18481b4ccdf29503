// Steps and evaluations on connected workers: carries out what the machine decides, and moves the bytes. A bucket of
// the next weights goes out as soon as its gradient is complete, while others still come in.
import { evaluationBounds } from '../../src/data/dataset/split.ts';
import { LockstepError, quoteValue } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { LimitedLog } from '../../src/limited-log.ts';
import { MAX_SHARDS } from '../../src/limits.ts';
import { isOutOfMemory } from '../../src/memory.ts';
import type {
  EvaluationMessage,
  FailureMessage,
  FinishedMessage,
  GradientMessage,
} from '../../src/protocol/message-types.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import { treeSum } from '../../src/tree.ts';
import { ActiveRound } from './active-round.ts';
import type { RoundTask } from './active-round.ts';
import { AwakeClock } from './awake-clock.ts';
import { closeAll } from '../../src/close-all.ts';
import { evaluationShardRows } from '../training/compute.ts';
import type { Batch, Compute, Evaluation, StepResult } from '../training/compute.ts';
import { EncodedWeights } from './encoded-weights.ts';
import { CoordinatorMachine } from '../scheduler/coordinator-machine.ts';
import type { MachineCommand, MachineEvent, MachineOptions } from '../scheduler/coordinator-machine.ts';
import { COORDINATOR } from '../scheduler/events.ts';
import type { SumName } from '../scheduler/events.ts';
import { OwnWork } from './own-work.ts';
import type { OwnWorkOptions } from './own-work.ts';
import { SessionTable } from './session-table.ts';
import { starved, warnOfShortage } from './shortage.ts';
import type { ShortageOptions } from './shortage.ts';
import { SumInbox } from './sum-inbox.ts';
import { SumSlots } from './sum-slots.ts';
import type { TrainingState } from '../training/training-state.ts';
import type { ResultMessage, WorkerSession } from './worker-session.ts';

/** A worker whose results were wrong. */
export interface BannedWorker {
  readonly worker: number;
  readonly name: string;
  readonly reason: string;
  /** Steps of the newest state that owes nothing to its word alone; undefined if all later ones owe nothing to it either. */
  readonly trustedSteps: number | undefined;
}

/** What a cluster is made from. */
export interface ClusterOptions extends MachineOptions, ShortageOptions, OwnWorkOptions {
  /** f32 that come back for each row of an evaluation. */
  readonly evaluationWidth: number;
  /** Whether workers end with this process, and so have nobody to come back to. */
  readonly ownsWorkers: boolean;
  /** For lines whose number workers decide. */
  readonly churn: LimitedLog;
  /** A worker takes part from now on. */
  readonly onJoined?: ((session: WorkerSession) => void) | undefined;
  readonly onBanned?: ((worker: BannedWorker) => void) | undefined;
}

/** Figures of the rounds so far, for benchmarks and the log. */
export interface ClusterCounters {
  bytesSent: number;
  bytesReceived: number;
  /** Milliseconds that workers reported as computing, summed over workers. */
  computeMs: number;
  /** Largest resident memory that a worker reported. */
  workerResidentBytes: number;
  /** Sums that this process computed itself. */
  sumsJudged: number;
}

type CommandOf<Type extends MachineCommand['type']> = Extract<MachineCommand, { readonly type: Type }>;

/** The fineness of lateness. */
const TICK_MS = 50;

/** See the head of this file. */
export class Cluster implements Compute {
  readonly counters: ClusterCounters = {
    bytesSent: 0,
    bytesReceived: 0,
    computeMs: 0,
    workerResidentBytes: 0,
    sumsJudged: 0,
  };
  readonly #options: ClusterOptions;
  readonly #state: TrainingState;
  readonly #clock = new AwakeClock();
  readonly #machine: CoordinatorMachine;
  readonly #weights: EncodedWeights;
  readonly #slots: SumSlots;
  readonly #inbox: SumInbox;
  readonly #sessions: SessionTable;
  /** Who has been given work in this round, or in the last one. */
  readonly #atWork = new Set<WorkerSession>();
  readonly #ownWork: OwnWork;
  readonly #ticker: NodeJS.Timeout;
  readonly #closers: (() => Promise<void>)[] = [];
  #active: { readonly round: ActiveRound; resolve: () => void; reject: (error: Error) => void } | undefined;
  #gathering: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #fatal: Error | undefined;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#machine = new CoordinatorMachine(options, this.#clock.now());
    this.#state = options.state;
    this.#sessions = new SessionTable(options.log, options.churn);
    this.#ownWork = new OwnWork(options);
    this.#weights = new EncodedWeights(options.run, options.state);
    this.#slots = new SumSlots(options.state.memory, options.state.model);
    this.#inbox = new SumInbox(options.state, this.#slots, options.evaluationWidth);
    this.#ticker = setInterval(() => this.guard(() => this.#handle({ type: 'tick' })), TICK_MS);
  }

  get numWorkers(): number {
    return this.#sessions.numAdmitted;
  }

  /** Resolves once `count` workers take part. @throws LockstepError (exit 7) when they do not come in time. */
  waitForWorkers(count: number): Promise<void> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    return new Promise((resolve, reject) => {
      this.#gathering = { resolve, reject };
      this.#handle({ type: 'workersRequired', count });
    });
  }

  /** Why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#machine.banOf(instance);
  }

  /** A worker has joined. */
  addWorker(session: WorkerSession): void {
    const { id: worker, instance, name, remoteAddress: address } = session;
    this.#sessions.add(session);
    this.#handle({ type: 'sessionReady', worker, instance, name, address });
  }

  /** A worker is gone: its unfinished shards go to others. */
  removeWorker(session: WorkerSession): void {
    if (!this.#sessions.remove(session)) return;
    this.#atWork.delete(session);
    const { id: worker, hasAnswered } = session;
    this.#handle({ type: 'sessionLost', worker, hasAnswered });
  }

  /** The process of a worker ended for lack of memory. */
  ranOutOfMemory(instance: string): void {
    this.#handle({ type: 'outOfMemory', process: instance });
  }

  /**
   * Does what a socket, a timer or a process brings. Nobody waits there for what it throws: the round under way fails
   * with it, and so the run ends as it does for any other reason.
   */
  readonly guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  };

  /** Ends the round under way and every later one: nothing can compute any more. */
  fail(cause: unknown): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#fatal ??= error;
    this.#failRound(error);
    this.#gathering?.reject(error);
    this.#gathering = undefined;
  }

  /** Ends the round under way; another one may follow, where the run goes back to what it was. */
  #failRound(error: Error): void {
    this.#active?.reject(error);
    this.#active = undefined;
  }

  async trainStep(batch: Batch): Promise<StepResult> {
    const { lossSum } = await this.#runRound({ kind: 'train', batch, weight: batch.weight });
    this.#slots.forgetAll();
    return { lossSum, ...this.#state.commit() };
  }

  async evaluate(indices: Uint32Array): Promise<Evaluation> {
    const { evaluationWidth } = this.#options;
    const shardRows = evaluationShardRows(evaluationWidth);
    const outputs = new Float32Array(indices.length * evaluationWidth);
    const shardLosses: number[] = [];
    const roundRows = shardRows * MAX_SHARDS;
    for (let start = 0; start < indices.length; start += roundRows) {
      const slice = indices.subarray(start, start + roundRows);
      const batch = { indices: slice, bounds: evaluationBounds(slice.length, shardRows) };
      const end = start + slice.length;
      const room = outputs.subarray(start * evaluationWidth, end * evaluationWidth);
      const round = await this.#runRound({ kind: 'evaluate', batch, weight: 1, outputs: room });
      shardLosses.push(...round.shardLosses);
    }
    return { lossSum: treeSum(shardLosses), outputs };
  }

  weightsReplaced(): void {
    for (let bucket = 0; bucket < this.#state.model.buckets.length; bucket++) {
      this.#sendBucket(bucket, 'current');
    }
  }

  /** Has `close` end what belongs to the cluster, in the order of these calls. */
  onClose(closer: () => Promise<void>): void {
    this.#closers.push(closer);
  }

  async close(reason: string, isOver: boolean): Promise<void> {
    clearInterval(this.#ticker);
    this.#sessions.finish(reason, isOver || this.#options.ownsWorkers);
    await closeAll(this.#closers.splice(0));
  }

  /** Handles a message about a round. */
  receive(session: WorkerSession, message: ResultMessage, body: Uint8Array): void {
    this.counters.bytesReceived += body.byteLength;
    const { run } = message;
    failpoint('coordinator.receive', { type: message.type, step: this.#state.step });
    if (run !== this.#options.run)
      return session.evict(CLOSE.protocol, `answered for another run, ${quoteValue(run)}`);
    if (!this.#machine.owes(session.id, message))
      return session.evict(CLOSE.protocol, `sent "${message.type}" about a task that it does not owe`);
    switch (message.type) {
      case 'gradient':
      case 'evaluation':
        return this.#takeSum(session.id, message, body, (reason) => session.evict(CLOSE.protocol, reason));
      case 'finished':
        return this.#receiveReport(session, message);
      case 'failure':
        return this.#receiveFailure(session, message);
      default:
        return message satisfies never;
    }
  }

  #receiveReport({ id: worker }: WorkerSession, message: FinishedMessage): void {
    const { round, task, computeMs, residentBytes } = message;
    this.counters.computeMs += computeMs;
    this.counters.workerResidentBytes = Math.max(this.counters.workerResidentBytes, residentBytes);
    this.#handle({ type: 'taskFinished', worker, round, task });
  }

  #receiveFailure(session: WorkerSession, { round, task, message }: FailureMessage): void {
    const line = `${session.name} failed on a task: ${message}`;
    this.#options.churn.write('warn', 'tasks that workers failed on', line);
    const failed = { message, isOutOfMemory: isOutOfMemory(message) };
    this.#handle({ type: 'taskFailed', worker: session.id, round, task, ...failed });
  }

  #takeSum(
    worker: number,
    message: GradientMessage | EvaluationMessage,
    body: Uint8Array,
    evict: (reason: string) => void,
  ): void {
    const sum = sumNameOf(message);
    const kind = this.#machine.inspect(worker, sum);
    if (!kind || !this.#active) return this.#handle({ type: 'sumUnwanted', worker, sum });
    const { round } = this.#active;
    const receipt =
      message.type === 'gradient'
        ? this.#inbox.gradient(round, { message, body, kind })
        : this.#inbox.evaluation(round, { message, body, kind });
    if ('evict' in receipt) return evict(receipt.evict);
    const { digest, isFinite } = receipt;
    const event = { type: 'sumReceived', worker, sum, digest, isFinite } as const;
    const commands = this.#machine.handle(event, this.#clock.now());
    if (!commands.some(({ type }) => type === 'store')) receipt.drop();
    this.#carryOut(commands, receipt.store);
  }

  #runRound(task: RoundTask): Promise<ActiveRound> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    const round = new ActiveRound(task);
    return new Promise((resolve, reject) => {
      this.#active = { round, resolve: () => resolve(round), reject };
      this.#handle({
        type: 'roundStarted',
        plan: round.plan(this.#state.model.buckets.length, this.#state.step),
      });
    });
  }

  #handle(event: MachineEvent): void {
    if (this.#fatal) return;
    this.#carryOut(this.#machine.handle(event, this.#clock.now()));
  }

  #carryOut(commands: readonly MachineCommand[], store?: (slot: number) => void): void {
    for (const command of commands) {
      try {
        this.#carryOutOne(command, store);
      } catch (error) {
        // A diverged step, a full memory: the round cannot end well, and whoever waits for it must know.
        return this.fail(error);
      }
    }
  }

  #carryOutOne(command: MachineCommand, store?: (slot: number) => void): void {
    switch (command.type) {
      case 'begin':
        return this.#begin(command);
      case 'assign':
        return this.#assign(command);
      case 'store':
        return store?.(command.slot);
      case 'merge':
        return this.#merge(command);
      case 'forget':
        return this.#active?.round.kind === 'train' ? this.#slots.forget(command.slot) : undefined;
      case 'bucketCompleted':
        return this.#completeBucket(command);
      case 'roundCompleted':
        return this.#completeRound();
      case 'judge':
        return this.#judge(command);
      case 'diverged':
        return this.#failRound(this.#active?.round.divergence ?? new Error('a sum diverged that never came'));
      case 'giveUp':
        throw this.#active?.round.unable(command) ?? new Error(command.message);
      case 'admit':
        return this.#admit(command.worker);
      case 'evict':
      case 'overdue':
      case 'stuck':
      case 'rest':
      case 'supersede':
      case 'refuse':
        return this.#sessions.carryOut(command);
      case 'banned':
        return this.#ban(command);
      case 'waiting':
        return warnOfShortage(this.#options, { ...command, hasBegun: this.#active !== undefined });
      case 'gathered':
        this.#gathering?.resolve();
        this.#gathering = undefined;
        return;
      case 'starved':
        throw starved(this.#options, command);
      default:
        return command satisfies never;
    }
  }

  #admit(worker: number): void {
    const session = this.#sessions.admit(worker);
    if (session) this.#options.onJoined?.(session);
  }

  #begin({ round, again }: CommandOf<'begin'>): void {
    const active = this.#active?.round;
    if (!active) return;
    if (again !== undefined) {
      this.#options.log.warn(
        `${active.kind === 'train' ? `step ${this.#state.step + 1}` : 'the evaluation'} begins again: ${again}`,
      );
      if (active.kind === 'train') this.#state.abandonStep();
    }
    this.#slots.forgetAll();
    this.#atWork.clear();
    active.begin(round);
  }

  #assign({ worker, task, from, to }: CommandOf<'assign'>): void {
    if (worker === COORDINATOR.worker) return void this.#computeHere(task, from);
    const { round } = this.#active as { round: ActiveRound };
    const session = this.#sessions.find(worker);
    if (!session) return;
    this.#atWork.add(session);
    const message = round.taskMessage(this.#options.run, this.#state, task, from, to);
    this.counters.bytesSent += this.#weights.supply(session) + message.byteLength;
    session.send(message);
  }

  #merge({ bucket, left, right }: CommandOf<'merge'>): void {
    const leftSum = this.#slots.get(left);
    const rightSum = this.#slots.get(right);
    const length = this.#state.model.buckets[bucket]?.length ?? 0;
    this.#state.kernels.addInto(leftSum.address, rightSum.address, length);
    leftSum.lossSum += rightSum.lossSum;
    this.#slots.forget(right);
  }

  #completeBucket({ bucket, slot }: CommandOf<'bucketCompleted'>): void {
    const { round } = this.#active as { round: ActiveRound };
    if (round.isSpoilt) return;
    const { address, lossSum } = this.#slots.get(slot);
    if (bucket === this.#state.model.buckets.length - 1) round.lossSum = lossSum;
    try {
      const finished = this.#state.finishBucket(bucket, address, round.weight, round.batch.indices.length);
      for (const next of finished) this.#sendBucket(next, 'next');
    } catch (error) {
      if (!(error instanceof LockstepError) || error.category !== 'diverged') throw error;
      // All its parts were finite: either they are too large to be added, or some of them were made up.
      round.isSpoilt = true;
      round.divergence ??= error;
      this.#handle({ type: 'sumNotFinite', round: round.round });
    }
  }

  #completeRound(): void {
    if (this.#active?.round.isSpoilt === true) return;
    this.#active?.resolve();
    this.#active = undefined;
  }

  /** Computes a node here, once the messages that have come already are handled. */
  #judge({ round: number, node, digest }: CommandOf<'judge'>): void {
    const { round: active } = this.#active as { round: ActiveRound };
    const isCurrent = (): boolean => this.#active?.round.round === number;
    this.#ownWork
      .judge(active, node, digest, isCurrent)
      .then((digests) => {
        if (!digests) return;
        this.counters.sumsJudged++;
        this.#handle({ type: 'judged', round: number, node, digests });
      })
      .catch((error: unknown) => this.fail(error));
  }

  /** Computes a shard that is given to the coordinator itself, as a worker would. Never rejects. */
  async #computeHere(task: number, shard: number): Promise<void> {
    const { round: active } = this.#active as { round: ActiveRound };
    const { round } = active;
    const report = { worker: COORDINATOR.worker, round, task };
    const isCurrent = (): boolean => this.#active?.round.round === round;
    const evict = (reason: string): void => this.fail(new Error(`the coordinator ${reason}`));
    try {
      const answers = await this.#ownWork.compute(active, task, shard, isCurrent);
      for (const { message, body } of answers) this.#takeSum(COORDINATOR.worker, message, body, evict);
      this.#handle({ type: 'taskFinished', ...report });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#handle({ type: 'taskFailed', ...report, message, isOutOfMemory: isOutOfMemory(message) });
    }
  }

  #ban({ worker, name, reason, trustedSteps }: CommandOf<'banned'>): void {
    this.#options.log.error(`${name} is banned: ${reason}`);
    try {
      this.#options.onBanned?.({ worker, name, reason, trustedSteps });
    } finally {
      this.#sessions.ban(worker, reason);
    }
  }

  /** To those who will most likely get work again; all others get what they lack with their next task. */
  #sendBucket(index: number, which: 'current' | 'next'): void {
    this.counters.bytesSent += this.#weights.send(this.#atWork, index, which);
  }
}

function sumNameOf(message: GradientMessage | EvaluationMessage): SumName {
  const { round, task } = message;
  if (message.type === 'evaluation')
    return { round, task, node: { level: 0, index: message.shard }, bucket: 0 };
  const { level, index, bucket } = message;
  return { round, task, node: { level, index }, bucket };
}
