// A simulated coordinator: the real scheduler, driven as the cluster drives it, with hashes for tensors. It
// trains from a checkpoint, and may end at any event; another one then resumes from the newest checkpoint.
import { COORDINATOR, Outcome as Decision, carryOut } from '../../coordinator/scheduler/outcome.ts';
import type {
  BannedWorker,
  DoubtedNode,
  EvictedWorker,
  MembershipDriver,
  RestingWorker,
  RoundDriver,
  RoundFailure,
  SlowWorker,
  SumName,
  SumRoom,
  Task,
} from '../../coordinator/scheduler/outcome.ts';
import { Scheduler } from '../../coordinator/scheduler/scheduler.ts';
import type { Merge } from '../../src/tree.ts';
import { lift } from '../../src/tree.ts';
import { Ledger } from './ledger.ts';
import type { WeightsBucket } from './ledger.ts';
import type { Outcome, Progress, Training } from './training.ts';
import type { Value } from './symbols.ts';
import type { Chance, VirtualClock } from './virtual-time.ts';
import { Watch } from './watch.ts';
import type { Upward, Wire } from './wire.ts';

/** The options of a coordinator. */
export interface CoordinatorOptions {
  readonly clock: VirtualClock;
  readonly chance: Chance;
  readonly training: Training;
  readonly from: Progress;
  readonly minWorkers: number;
  /** Longest time with fewer workers. */
  readonly waitMs: number;
  readonly auditShare: number;
  readonly room: SumRoom;
  /** Longest time that a verdict takes. */
  readonly judgeMs: number;
  readonly checkpointEvery: number;
  readonly onCheckpoint: (progress: Progress) => void;
  /** The newest checkpoint after at most this many steps, or the start; it is the newest from then on. */
  readonly goBack: (steps: number) => Progress;
  /** It has computed a shard itself. */
  readonly onComputedHere: () => void;
  /** Shards that the coordinator cannot compute itself. */
  readonly poisonedShard: number | undefined;
  readonly onBanned: (pid: number, reason: string) => void;
  /** A worker was disconnected for a result that it did not owe. */
  readonly onUnowed: (pid: number) => void;
  readonly onEnd: (outcome: Outcome, progress: Progress) => void;
  readonly complain: (what: string) => void;
}

interface Session {
  readonly id: number;
  readonly wire: Wire;
  pid: number | undefined;
  address: string;
  hasFailed: boolean;
  isReady: boolean;
  /** It was disconnected, and its messages are ignored. */
  isLeaving: boolean;
  hasAnswered: boolean;
  /** Weights that it has or will have: of an even version and of an odd one. */
  readonly sent: WeightsBucket[][];
}

type Answer = Extract<Upward, { readonly type: 'sum' | 'finished' | 'failure' }>;

const TICK_MS = 100;

/** A coordinator without sockets, clock or tensors. */
export class SimulatedCoordinator implements MembershipDriver, RoundDriver {
  readonly #options: CoordinatorOptions;
  readonly #scheduler: Scheduler;
  readonly #ledger: Ledger;
  readonly #watch: Watch;
  readonly #sessions = new Map<number, Session>();
  readonly #admitted = new Map<number, Session>();
  /** Workers that have been given tasks in this round, or in the last one. */
  readonly #atWork = new Set<Session>();
  /** Processes of all sessions that were ready: a lie may be found when its session is over. */
  readonly #pids = new Map<number, number>();
  /** Steps that the run has to roll back to. */
  #trustedSteps: number | undefined;
  /** It computes one shard after the other. */
  #ownWorkEndsMs = 0;
  #lastSession = 0;
  #isOver = false;

  constructor(options: CoordinatorOptions) {
    const { auditShare: share, chance, clock, from, room, minWorkers, waitMs, training, complain } = options;
    this.#options = options;
    this.#ledger = new Ledger(training, from, complain);
    const watched = { minWorkers, waitMs, auditShare: share, room, tickMs: TICK_MS, complain };
    this.#watch = new Watch(watched, clock.nowMs);
    const audit = { share, random: chance.draw };
    this.#scheduler = new Scheduler({ minWorkers, waitMs, audit, room }, clock.nowMs);
    this.#decide((outcome) => this.#scheduler.requireWorkers(minWorkers, outcome));
    clock.after(TICK_MS, () => this.#tick());
  }

  /** SIGKILL. */
  crash(): void {
    this.#isOver = true;
    for (const { wire } of this.#sessions.values()) wire.drop();
  }

  /** The worker's parent process saw it end for lack of memory. */
  ranOutOfMemory(pid: number): void {
    this.#decide((outcome) => this.#scheduler.rounds.noteOutOfMemory(String(pid), outcome));
  }

  accept(wire: Wire): { receive: (message: Upward) => void; closed: () => void } {
    const id = ++this.#lastSession;
    const session: Session = {
      id,
      wire,
      pid: undefined,
      address: '',
      isReady: false,
      isLeaving: false,
      hasAnswered: false,
      hasFailed: false,
      sent: [],
    };
    this.#sessions.set(id, session);
    return {
      receive: (message) => this.#receive(session, message),
      closed: () => this.#lose(session),
    };
  }

  #tick(): void {
    if (this.#isOver) return;
    const { clock } = this.#options;
    this.#decide((outcome) => this.#scheduler.tick(outcome));
    if (!this.#isOver) this.#watch.ticked(clock.nowMs);
    clock.after(TICK_MS, () => this.#tick());
  }

  #lose(session: Session): void {
    if (this.#isOver || !this.#sessions.delete(session.id)) return;
    session.wire.drop();
    this.#admitted.delete(session.id);
    this.#atWork.delete(session);
    this.#watch.gone(session.id, this.#options.clock.nowMs);
    const { id: worker, hasAnswered } = session;
    if (session.isReady)
      this.#decide((outcome) => this.#scheduler.removeSession(worker, hasAnswered, outcome));
  }

  #receive(session: Session, message: Upward): void {
    if (this.#isOver || session.isLeaving || !this.#sessions.has(session.id)) return;
    const { id: worker } = session;
    switch (message.type) {
      case 'hello':
        session.address = message.address;
        return this.#welcome(session, message.pid);
      case 'ready':
        return this.#ready(session);
      case 'leave':
        return this.#lose(session);
      case 'sum':
      case 'finished':
      case 'failure':
        if (!this.#scheduler.rounds.owes(worker, message)) return this.#refuseAnswer(session);
        if (message.type === 'failure') session.hasFailed = true;
        else session.hasAnswered = true;
        return this.#receiveAnswer(worker, message);
      default:
        return message satisfies never;
    }
  }

  #receiveAnswer(worker: number, message: Answer): void {
    switch (message.type) {
      case 'sum':
        return this.#receiveSum(worker, message);
      case 'finished':
      case 'failure':
        this.#watch.reported(worker, message, this.#options.clock.nowMs);
        return message.type === 'finished'
          ? this.#decide((outcome) => this.#scheduler.rounds.finishTask(worker, message, outcome))
          : this.#failTask(worker, message, { message: 'failed', isOutOfMemory: message.isOutOfMemory });
      default:
        return message satisfies never;
    }
  }

  /** The message was about a task that the worker does not owe. */
  #refuseAnswer(session: Session): void {
    session.isLeaving = true;
    this.#options.onUnowed(session.pid ?? 0);
    this.#options.clock.after(0, () => this.#lose(session));
  }

  #welcome(session: Session, pid: number): void {
    session.pid = pid;
    if (this.#scheduler.banOf(String(pid)) !== undefined) return session.wire.sendDown({ type: 'refuse' });
    session.wire.sendDown({ type: 'welcome', run: 0, numBuckets: this.#options.training.numBuckets });
  }

  #ready(session: Session): void {
    const { id: worker, pid } = session;
    if (pid === undefined) return this.#options.complain(`worker ${worker} is ready before it said hello`);
    session.isReady = true;
    this.#pids.set(worker, pid);
    this.#watch.ready(worker, pid, this.#options.clock.nowMs);
    // The names of containers are all the same.
    const who = { instance: String(pid), name: 'worker (host pid 1)', address: session.address };
    this.#decide((outcome) => this.#scheduler.addSession({ worker, ...who }, outcome));
  }

  #receiveSum(worker: number, message: Extract<Upward, { readonly type: 'sum' }>): void {
    const { round, task, node, bucket, value, weights } = message;
    const name = { round, task, node, bucket };
    if (!this.#scheduler.rounds.inspect(worker, name) || !this.#ledger.active) {
      return this.#decide((outcome) => this.#scheduler.rounds.dropSum(worker, name, outcome));
    }
    if (weights !== this.#ledger.weights)
      this.#options.complain(`worker ${worker} computed with other weights`);
    this.#watch.answered(worker, message, this.#options.clock.nowMs);
    this.#acceptSum(worker, name, value);
  }

  #acceptSum(worker: number, name: SumName, value: Value): void {
    const kind = this.#scheduler.rounds.inspect(worker, name);
    const digest = { digest: `${kind} ${value}`, isFinite: !Number.isNaN(value) };
    this.#decide((outcome) => {
      this.#scheduler.rounds.acceptSum(worker, name, digest, outcome);
      if (outcome.sum) this.#ledger.store(name, outcome.sum.slot, value);
    });
    this.#watch.holds(this.#ledger.mostSums);
  }

  #failTask(
    worker: number,
    { round, task }: { readonly round: number; readonly task: number },
    failure: { readonly message: string; readonly isOutOfMemory: boolean },
  ): void {
    this.#decide((outcome) => this.#scheduler.rounds.failTask(worker, { round, task }, failure, outcome));
  }

  #decide(ask: (outcome: Decision) => void): void {
    if (this.#isOver) return;
    const decision = new Decision(this.#options.clock.nowMs);
    ask(decision);
    const isFinite = carryOut(decision, this, this);
    const round = this.#ledger.active?.number;
    if (!isFinite && round !== undefined)
      this.#decide((outcome) => this.#scheduler.rounds.doubtRound(round, outcome));
    if (decision.begun && !this.#isOver) this.#watch.givenOut();
  }

  admit(worker: number): void {
    if (this.#isOver) return;
    this.#watch.admitted(worker, this.#options.clock.nowMs);
    const session = this.#sessions.get(worker);
    if (!session) return;
    this.#admitted.set(worker, session);
  }

  rest(worker: RestingWorker): void {
    this.#watch.rests(worker, this.#options.clock.nowMs);
  }

  /** The scheduler has forgotten the session; its end is heard of after the event at hand. */
  supersede(worker: number): void {
    const session = this.#free(worker);
    if (session) this.#options.clock.after(0, () => this.#lose(session));
  }

  warnOverdue(worker: SlowWorker): void {
    this.#watch.overdue(worker, this.#options.clock.nowMs);
  }

  /** A stuck worker starts over; the scheduler learns of the end of its session, as of any other. */
  evictStuck(slow: SlowWorker): void {
    this.#watch.stuck(slow, this.#options.clock.nowMs);
    const session = this.#sessions.get(slow.worker);
    if (!session) return;
    session.isLeaving = true;
    this.#options.clock.after(0, () => this.#lose(session));
  }

  /** Only for failures: nobody here breaks the protocol. */
  evict({ worker, reason }: EvictedWorker): void {
    const session = this.#free(worker);
    if (session?.hasFailed !== true) return this.#options.complain(`worker ${worker} was evicted: ${reason}`);
    this.#options.clock.after(0, () => this.#lose(session));
  }

  refuse({ worker }: Pick<EvictedWorker, 'worker'>): void {
    this.#free(worker)?.wire.sendDown({ type: 'refuse' });
  }

  #free(worker: number): Session | undefined {
    this.#admitted.delete(worker);
    this.#watch.gone(worker, this.#options.clock.nowMs);
    const session = this.#sessions.get(worker);
    if (session) session.isLeaving = true;
    return session;
  }

  ban({ worker, reason, trustedSteps }: BannedWorker): void {
    const pid = this.#pids.get(worker) as number;
    const { nowMs } = this.#options.clock;
    if (isUnfit(reason)) this.#watch.banned(worker, pid, nowMs);
    else this.#watch.lied(worker, pid, trustedSteps, nowMs);
    if (trustedSteps !== undefined)
      this.#trustedSteps = Math.min(this.#trustedSteps ?? Infinity, trustedSteps);
    this.#options.onBanned(pid, reason);
    this.refuse({ worker });
  }

  /** Rolls back the steps that rest on the word of liars alone, and resumes from there. */
  #goBack(): void {
    const { clock, goBack } = this.#options;
    const progress = goBack(this.#trustedSteps as number);
    this.#trustedSteps = undefined;
    this.#watch.wentBack(progress.step);
    this.#ledger.goBack(progress);
    for (const { wire } of this.#admitted.values()) {
      for (const bucket of this.#ledger.buckets()) wire.sendDown({ type: 'weights', ...bucket });
    }
    clock.after(0, () => {
      if (!this.#isOver) this.#startRound();
    });
  }

  #startRound(): void {
    const plan = this.#ledger.plan();
    this.#decide((outcome) => this.#scheduler.beginRound(plan, outcome));
  }

  finishGathering(): void {
    this.#startRound();
  }

  warnShortage(): void {
    this.#watch.noted(this.#options.clock.nowMs);
  }

  begin(round: number, again: string | undefined): void {
    const { active } = this.#ledger;
    if (!active) return this.#options.complain('a round began that nobody wants');
    this.#watch.began(round, again !== undefined, active.plan, this.#options.clock.nowMs);
    this.#atWork.clear();
    this.#ledger.begin(round);
  }

  merge(_bucket: number, { left, right }: Merge<number>): void {
    this.#ledger.merge(left, right);
  }

  free(slot: number): void {
    this.#ledger.free(slot);
  }

  sendTask(given: Task): void {
    if (this.#isOver) return;
    const { active, version } = this.#ledger;
    if (!active) return this.#options.complain('a task of no round');
    if (given.worker === COORDINATOR.worker) return this.#computeHere(given, active.number);
    this.#watch.assigned(given, this.#options.clock.nowMs);
    const { worker, id: task, from, to } = given;
    const rows = active.plan.shardRows.slice(from, to).reduce((sum, count) => sum + count, 0);
    const order = { round: active.number, task, from, to, rows, version };
    const session = this.#admitted.get(worker);
    if (!session) return;
    this.#atWork.add(session);
    for (const bucket of this.#ledger.buckets()) sendWeights(session, bucket);
    session.wire.sendDown({ type: 'task', ...active.work, ...order });
  }

  /** A shard that workers cannot compute, or claim that they cannot. */
  #computeHere({ id: task, from, to }: Task, round: number): void {
    const { chance, clock, judgeMs, poisonedShard } = this.#options;
    this.#watch.takenOver(from);
    if (to !== from + 1) this.#options.complain(`the coordinator computes shards [${from}, ${to}) at once`);
    const { worker } = COORDINATOR;
    const name = { round, task };
    const finish = (): void =>
      this.#decide((outcome) => this.#scheduler.rounds.finishTask(worker, name, outcome));
    this.#ownWorkEndsMs = Math.max(this.#ownWorkEndsMs, clock.nowMs) + chance.between(0, judgeMs);
    clock.after(this.#ownWorkEndsMs - clock.nowMs, () => {
      const { active } = this.#ledger;
      if (this.#isOver) return;
      if (active?.number !== round) return finish();
      if (active.plan.kind === 'train' && from === poisonedShard) {
        return this.#failTask(worker, name, { message: 'failed here', isOutOfMemory: false });
      }
      const node = lift({ level: 0, index: from }, active.plan.shardRows.length);
      this.#watch.judged(node);
      this.#options.onComputedHere();
      this.#ledger.truth(node).forEach((value, bucket) => {
        const sum = { ...name, node, bucket };
        if (this.#scheduler.rounds.inspect(worker, sum)) this.#acceptSum(worker, sum, value);
      });
      finish();
    });
  }

  passOn(bucket: number, slot: number): boolean {
    if (!this.#ledger.active) return false;
    const next = this.#ledger.completeBucket(bucket, slot);
    if (next) for (const session of this.#atWork) sendWeights(session, next);
    return next !== undefined;
  }

  completeRound(): void {
    if (this.#isOver) return;
    const { checkpointEvery, clock, onCheckpoint } = this.#options;
    const kind = this.#ledger.completeRound();
    this.#watch.completed(kind);
    const { step, isFinished, progress } = this.#ledger;
    if (this.#trustedSteps !== undefined) return this.#goBack();
    if (kind === 'train' && step % checkpointEvery === 0) onCheckpoint(progress);
    if (isFinished) return this.#end('finished');
    clock.after(0, () => {
      if (!this.#isOver) this.#startRound();
    });
  }

  judge({ round, node, digestKind }: DoubtedNode): void {
    if (this.#isOver) return;
    const { chance, clock, judgeMs } = this.#options;
    this.#ledger.doubt(node);
    clock.after(chance.between(0, judgeMs), () => {
      if (this.#isOver || this.#ledger.active?.number !== round) return;
      const digests = this.#ledger.truth(node).map((value) => `${digestKind} ${value}`);
      this.#watch.judged(node);
      this.#decide((outcome) => this.#scheduler.rounds.settle(round, node, digests, outcome));
    });
  }

  endRound(failure: RoundFailure): void {
    if (this.#isOver) return;
    switch (failure.type) {
      case 'diverged':
        return this.#trustedSteps === undefined ? this.#end('diverged') : this.#goBack();
      case 'hopeless':
        return this.#end(failure.cause);
      case 'starved':
        this.#watch.starved(this.#options.clock.nowMs);
        return this.#end('starved');
      default:
        return failure satisfies never;
    }
  }

  #end(outcome: Outcome): void {
    this.#isOver = true;
    for (const { wire } of this.#sessions.values()) wire.sendDown({ type: 'stop' });
    this.#options.onEnd(outcome, this.#ledger.progress);
  }
}

/** Sends a bucket to a worker that lacks it, as the cluster does. */
function sendWeights({ sent, wire }: Session, bucket: WeightsBucket): void {
  const buckets = (sent[bucket.version % 2] ??= []);
  const known = buckets[bucket.bucket];
  if (known?.version === bucket.version && known.value === bucket.value) return;
  buckets[bucket.bucket] = bucket;
  wire.sendDown({ type: 'weights', ...bucket });
}

/** True if a ban has another cause than a lie. */
export function isUnfit(reason: string): boolean {
  return /^failed on \d+ tasks in a row/.test(reason);
}
