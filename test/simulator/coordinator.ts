// A simulated coordinator: the real machine, driven as the cluster drives it, with hashes for tensors. It trains from a
// checkpoint on, and may end at any event; another one then goes on from the newest checkpoint.
import { CoordinatorMachine } from '../../coordinator/scheduler/coordinator-machine.ts';
import type { SumRoom } from '../../coordinator/scheduler/events.ts';
import type { MachineCommand, MachineEvent } from '../../coordinator/scheduler/coordinator-machine.ts';
import { COORDINATOR } from '../../coordinator/scheduler/events.ts';
import { lift } from '../../src/tree.ts';
import { Ledger } from './ledger.ts';
import type { WeightsBucket } from './ledger.ts';
import type { Outcome, Progress, Training } from './training.ts';
import type { Chance, VirtualClock } from './virtual-time.ts';
import { Watch } from './watch.ts';
import type { Upward, Wire } from './wire.ts';

/** What a coordinator is started with. */
export interface CoordinatorOptions {
  readonly clock: VirtualClock;
  readonly chance: Chance;
  readonly training: Training;
  readonly from: Progress;
  readonly minWorkers: number;
  /** Longest time with fewer. */
  readonly waitMs: number;
  readonly auditShare: number;
  readonly room: SumRoom;
  /** Longest time that a judgement takes. */
  readonly judgeMs: number;
  readonly checkpointEvery: number;
  readonly onCheckpoint: (progress: Progress) => void;
  /** The newest checkpoint after at most so many steps, or the start; it is the newest from then on. */
  readonly goBack: (steps: number) => Progress;
  /** It has computed a shard itself. */
  readonly onComputedHere: () => void;
  /** What the coordinator cannot compute itself. */
  readonly poisonedShard: number | undefined;
  readonly onBanned: (pid: number, reason: string) => void;
  /** A worker was sent away for an answer that it did not owe. */
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
  /** It was sent away, and is not heard any more. */
  isLeaving: boolean;
  hasAnswered: boolean;
  /** Weights that it has, or will have: of an even version, and of an odd one. */
  readonly sent: WeightsBucket[][];
}

type Answer = Extract<Upward, { readonly type: 'sum' | 'finished' | 'failure' }>;

type CommandOf<Type extends MachineCommand['type']> = Extract<MachineCommand, { readonly type: Type }>;

const TICK_MS = 100;

/** See the head of this file. */
export class SimulatedCoordinator {
  readonly #options: CoordinatorOptions;
  readonly #machine: CoordinatorMachine;
  readonly #ledger: Ledger;
  readonly #watch: Watch;
  readonly #sessions = new Map<number, Session>();
  readonly #admitted = new Map<number, Session>();
  /** Who has been given work in this round, or in the last one. */
  readonly #atWork = new Set<Session>();
  /** Of all sessions that were ready: a lie may be found when its session is over. */
  readonly #pids = new Map<number, number>();
  /** Steps that the run has to go back to. */
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
    this.#machine = new CoordinatorMachine({ minWorkers, waitMs, audit, room }, clock.nowMs);
    this.#handle({ type: 'workersRequired', count: minWorkers });
    clock.after(TICK_MS, () => this.#tick());
  }

  /** SIGKILL. */
  crash(): void {
    this.#isOver = true;
    for (const { wire } of this.#sessions.values()) wire.drop();
  }

  /** Whoever started the worker saw it end for lack of memory. */
  ranOutOfMemory(pid: number): void {
    this.#handle({ type: 'outOfMemory', process: String(pid) });
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
    this.#handle({ type: 'tick' });
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
    if (session.isReady) this.#handle({ type: 'sessionLost', worker, hasAnswered });
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
        if (!this.#machine.owes(worker, message)) return this.#refuseAnswer(session);
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
          ? this.#handle({ ...message, type: 'taskFinished', worker })
          : this.#handle({ ...message, type: 'taskFailed', worker, message: 'failed' });
      default:
        return message satisfies never;
    }
  }

  /** It was about a task that the worker does not owe. */
  #refuseAnswer(session: Session): void {
    session.isLeaving = true;
    this.#options.onUnowed(session.pid ?? 0);
    this.#options.clock.after(0, () => this.#lose(session));
  }

  #welcome(session: Session, pid: number): void {
    session.pid = pid;
    if (this.#machine.banOf(String(pid)) !== undefined) return session.wire.sendDown({ type: 'refuse' });
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
    this.#handle({ type: 'sessionReady', worker, ...who });
  }

  #receiveSum(worker: number, message: Extract<Upward, { readonly type: 'sum' }>): void {
    const { round, task, node, bucket, value, weights } = message;
    const sum = { round, task, node, bucket };
    const kind = this.#machine.inspect(worker, sum);
    if (!kind || !this.#ledger.active) return this.#handle({ type: 'sumUnwanted', worker, sum });
    if (weights !== this.#ledger.weights)
      this.#options.complain(`worker ${worker} computed with other weights`);
    this.#watch.answered(worker, message, this.#options.clock.nowMs);
    const [digest, isFinite] = [`${kind} ${value}`, !Number.isNaN(value)];
    this.#handle({ type: 'sumReceived', worker, sum, digest, isFinite }, (slot) =>
      this.#ledger.store(sum, slot, value),
    );
  }

  #handle(event: MachineEvent, store?: (slot: number) => void): void {
    if (this.#isOver) return;
    const commands = this.#machine.handle(event, this.#options.clock.nowMs);
    for (const command of commands) {
      if (this.#isOver) return;
      this.#carryOut(command, store);
    }
    if (store) this.#watch.holds(this.#ledger.mostSums);
    const hasBegun = !this.#isOver && commands.some(({ type }) => type === 'begin');
    if (hasBegun) this.#watch.givenOut();
  }

  #carryOut(command: MachineCommand, store?: (slot: number) => void): void {
    const { clock } = this.#options;
    switch (command.type) {
      case 'begin':
        return this.#begin(command);
      case 'assign':
        return this.#assign(command);
      case 'store':
        return store?.(command.slot);
      case 'merge':
        return this.#ledger.merge(command.left, command.right);
      case 'forget':
        return this.#ledger.forget(command.slot);
      case 'bucketCompleted':
        return this.#completeBucket(command);
      case 'roundCompleted':
        return this.#completeRound();
      case 'judge':
        return this.#judge(command);
      case 'diverged':
        return this.#trustedSteps === undefined ? this.#end('diverged') : this.#goBack();
      case 'evict':
        return this.#evict(command);
      case 'overdue':
        return this.#watch.overdue(command, clock.nowMs);
      case 'stuck':
        return this.#dismiss(command);
      case 'giveUp':
        return this.#end(command.cause);
      case 'admit':
        return this.#admit(command.worker);
      case 'rest':
        return this.#watch.rests(command.worker, command, clock.nowMs);
      case 'supersede':
        return this.#supersede(command.worker);
      case 'refuse':
        return this.#refuse(command.worker);
      case 'banned':
        return this.#ban(command);
      case 'gathered':
        return this.#startRound();
      case 'waiting':
        return this.#watch.noted(clock.nowMs);
      case 'starved':
        this.#watch.starved(clock.nowMs);
        return this.#end('starved');
      default:
        return command satisfies never;
    }
  }

  #admit(worker: number): void {
    this.#watch.admitted(worker, this.#options.clock.nowMs);
    const session = this.#sessions.get(worker);
    if (!session) return;
    this.#admitted.set(worker, session);
  }

  /** The machine has forgotten the session; its end is heard of once the event at hand is done with. */
  #supersede(worker: number): void {
    const session = this.#forget(worker);
    if (session) this.#options.clock.after(0, () => this.#lose(session));
  }

  /** Whoever is stuck begins afresh; the machine hears of the end of its session, as of any other. */
  #dismiss(command: CommandOf<'stuck'>): void {
    this.#watch.stuck(command, this.#options.clock.nowMs);
    const session = this.#sessions.get(command.worker);
    if (!session) return;
    session.isLeaving = true;
    this.#options.clock.after(0, () => this.#lose(session));
  }

  /** Only for failures: nobody here breaks the protocol. */
  #evict({ worker, reason }: CommandOf<'evict'>): void {
    const session = this.#forget(worker);
    if (session?.hasFailed !== true) return this.#options.complain(`worker ${worker} was evicted: ${reason}`);
    this.#options.clock.after(0, () => this.#lose(session));
  }

  #refuse(worker: number): void {
    this.#forget(worker)?.wire.sendDown({ type: 'refuse' });
  }

  #forget(worker: number): Session | undefined {
    this.#admitted.delete(worker);
    this.#watch.gone(worker, this.#options.clock.nowMs);
    const session = this.#sessions.get(worker);
    if (session) session.isLeaving = true;
    return session;
  }

  #ban({ worker, reason, trustedSteps }: CommandOf<'banned'>): void {
    const pid = this.#pids.get(worker) as number;
    const { nowMs } = this.#options.clock;
    if (isUnfit(reason)) this.#watch.banned(worker, pid, nowMs);
    else this.#watch.lied(worker, pid, trustedSteps, nowMs);
    if (trustedSteps !== undefined)
      this.#trustedSteps = Math.min(this.#trustedSteps ?? Infinity, trustedSteps);
    this.#options.onBanned(pid, reason);
    this.#refuse(worker);
  }

  /** Takes back what rests on the word of liars, and goes on from there. */
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
    this.#handle({ type: 'roundStarted', plan: this.#ledger.plan() });
  }

  #begin({ round, again }: CommandOf<'begin'>): void {
    const { active } = this.#ledger;
    if (!active) return this.#options.complain('a round began that nobody wants');
    this.#watch.began(round, again !== undefined, active.plan, this.#options.clock.nowMs);
    this.#atWork.clear();
    this.#ledger.begin(round);
  }

  #assign(command: CommandOf<'assign'>): void {
    const { active, version } = this.#ledger;
    if (!active) return this.#options.complain('a task of no round');
    if (command.worker === COORDINATOR.worker) return this.#computeHere(command, active.number);
    this.#watch.assigned(command, this.#options.clock.nowMs);
    const { worker, task, from, to } = command;
    const rows = active.plan.shardRows.slice(from, to).reduce((sum, count) => sum + count, 0);
    const order = { round: active.number, task, from, to, rows, version };
    const session = this.#admitted.get(worker);
    if (!session) return;
    this.#atWork.add(session);
    for (const bucket of this.#ledger.buckets()) sendWeights(session, bucket);
    session.wire.sendDown({ type: 'task', ...active.work, ...order });
  }

  /** A shard that workers cannot compute, or say so. */
  #computeHere({ task, from, to }: CommandOf<'assign'>, round: number): void {
    const { chance, clock, judgeMs, poisonedShard } = this.#options;
    this.#watch.takenOver(from);
    if (to !== from + 1) this.#options.complain(`the coordinator computes shards [${from}, ${to}) at once`);
    const report = { worker: COORDINATOR.worker, round, task };
    this.#ownWorkEndsMs = Math.max(this.#ownWorkEndsMs, clock.nowMs) + chance.between(0, judgeMs);
    clock.after(this.#ownWorkEndsMs - clock.nowMs, () => {
      const { active } = this.#ledger;
      if (this.#isOver) return;
      if (active?.number !== round) return this.#handle({ type: 'taskFinished', ...report });
      if (active.plan.mode === 'sum' && from === poisonedShard) {
        return this.#handle({ type: 'taskFailed', ...report, message: 'failed here', isOutOfMemory: false });
      }
      const node = lift({ level: 0, index: from }, active.plan.shardRows.length);
      this.#watch.judged(node);
      this.#options.onComputedHere();
      this.#ledger.truth(node).forEach((value, bucket) => {
        const sum = { round, task, node, bucket };
        const kind = this.#machine.inspect(COORDINATOR.worker, sum);
        const [digest, isFinite] = [`${kind} ${value}`, !Number.isNaN(value)];
        const event = { type: 'sumReceived', worker: COORDINATOR.worker, sum, digest, isFinite } as const;
        if (kind) this.#handle(event, (slot) => this.#ledger.store(sum, slot, value));
      });
      this.#handle({ type: 'taskFinished', ...report });
    });
  }

  #completeBucket({ bucket, slot }: CommandOf<'bucketCompleted'>): void {
    const { active } = this.#ledger;
    if (!active || active.isSpoilt) return;
    const next = this.#ledger.completeBucket(bucket, slot);
    if (!next) return this.#handle({ type: 'sumNotFinite', round: active.number });
    for (const session of this.#atWork) sendWeights(session, next);
  }

  #completeRound(): void {
    if (this.#ledger.active?.isSpoilt === true) return;
    const { checkpointEvery, clock, onCheckpoint } = this.#options;
    const mode = this.#ledger.completeRound();
    this.#watch.completed(mode);
    const { step, isFinished, progress } = this.#ledger;
    if (this.#trustedSteps !== undefined) return this.#goBack();
    if (mode === 'sum' && step % checkpointEvery === 0) onCheckpoint(progress);
    if (isFinished) return this.#end('finished');
    clock.after(0, () => {
      if (!this.#isOver) this.#startRound();
    });
  }

  #judge({ round, node, digest }: CommandOf<'judge'>): void {
    const { chance, clock, judgeMs } = this.#options;
    this.#ledger.doubt(node);
    clock.after(chance.between(0, judgeMs), () => {
      if (this.#isOver || this.#ledger.active?.number !== round) return;
      const digests = this.#ledger.truth(node).map((value) => `${digest} ${value}`);
      this.#watch.judged(node);
      this.#handle({ type: 'judged', round, node, digests });
    });
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

/** Whether a ban is not for a lie. */
export function isUnfit(reason: string): boolean {
  return /^failed on \d+ tasks in a row/.test(reason);
}
