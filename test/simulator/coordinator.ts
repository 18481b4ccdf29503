// A simulated coordinator: the real machine, driven as the cluster drives it, with hashes for tensors. It trains from a
// checkpoint on, and may end at any event; another one then goes on from the newest checkpoint.
import { CoordinatorMachine } from '../../coordinator/machine/coordinator-machine.ts';
import type { MachineCommand, MachineEvent } from '../../coordinator/machine/coordinator-machine.ts';
import type { GiveUpCause, RoundPlan } from '../../coordinator/machine/events.ts';
import { add, combine, nextWeights, sumUnder } from './symbols.ts';
import type { Value, Work } from './symbols.ts';
import type { Chance, VirtualClock } from './virtual-time.ts';
import type { Upward, Wire } from './wire.ts';

/** What is trained. */
export interface Training {
  readonly numEpochs: number;
  readonly stepsPerEpoch: number;
  readonly numPieces: number;
  /** Rows of the leaves of each step of an epoch. */
  readonly leafRows: readonly (readonly number[])[];
  /** Rows of the leaves of an evaluation. */
  readonly evaluationRows: readonly number[];
  readonly divergesAt: number | undefined;
}

/** Where a training is; what a checkpoint holds. */
export interface Progress {
  /** Steps taken. */
  readonly step: number;
  readonly weights: readonly Value[];
  /** Result of every round so far. */
  readonly chain: readonly Value[];
}

/** How a training ended. */
export type Outcome = 'finished' | 'diverged' | 'starved' | GiveUpCause;

/** What a coordinator is started with. */
export interface CoordinatorOptions {
  readonly clock: VirtualClock;
  readonly chance: Chance;
  readonly training: Training;
  readonly from: Progress;
  readonly minWorkers: number;
  readonly auditShare: number;
  /** Longest time that a judgement takes. */
  readonly judgeMs: number;
  readonly checkpointEvery: number;
  readonly onCheckpoint: (progress: Progress) => void;
  readonly onBanned: (pid: number, reason: string) => void;
  readonly onEnd: (outcome: Outcome, progress: Progress) => void;
  readonly complain: (what: string) => void;
}

interface Session {
  readonly id: number;
  readonly wire: Wire;
  process: { readonly host: string; readonly pid: number } | undefined;
  isReady: boolean;
  hasAnswered: boolean;
  /** When it must take part at the latest; Infinity for those that need not. */
  dueMs: number;
}

interface ActiveRound {
  readonly work: Work;
  readonly plan: RoundPlan;
  number: number;
  isSpoilt: boolean;
  /** Sums of pieces, or values of leaves. */
  results: (Value | undefined)[];
  readonly slots: Map<number, Value>;
}

const TICK_MS = 100;
const WAIT_MS = 3_600_000;
/** The longest rest, and a tick. */
const MAX_REST_MS = 30_000 + TICK_MS;

/** See the head of this file. */
export class SimulatedCoordinator {
  readonly #options: CoordinatorOptions;
  readonly #machine: CoordinatorMachine;
  readonly #sessions = new Map<number, Session>();
  readonly #admitted = new Map<number, Session>();
  #lastSession = 0;
  #step: number;
  #version = 0;
  #weights: readonly Value[];
  #next: (Value | undefined)[] = [];
  #chain: Value[];
  #active: ActiveRound | undefined;
  #isOver = false;
  numEvents = 0;

  constructor(options: CoordinatorOptions) {
    const { auditShare: share, chance, clock, from, minWorkers } = options;
    this.#options = options;
    this.#step = from.step;
    this.#weights = from.weights;
    this.#chain = [...from.chain];
    const audit = { share, random: chance.draw };
    this.#machine = new CoordinatorMachine({ minWorkers, waitMs: WAIT_MS, audit }, clock.nowMs);
    this.#handle({ type: 'workersRequired', count: minWorkers });
    clock.after(TICK_MS, () => this.#tick());
  }

  /** SIGKILL. */
  crash(): void {
    this.#isOver = true;
    for (const { wire } of this.#sessions.values()) wire.drop();
  }

  accept(wire: Wire): { receive: (message: Upward) => void; closed: () => void } {
    const session: Session = {
      id: ++this.#lastSession,
      wire,
      process: undefined,
      isReady: false,
      hasAnswered: false,
      dueMs: Infinity,
    };
    this.#sessions.set(session.id, session);
    return {
      receive: (message) => this.#receive(session, message),
      closed: () => this.#lose(session, false),
    };
  }

  #tick(): void {
    if (this.#isOver) return;
    this.#handle({ type: 'tick' });
    const { clock, complain } = this.#options;
    for (const { id, dueMs } of this.#sessions.values()) {
      if (clock.nowMs > dueMs) complain(`worker ${id} is left waiting`);
    }
    this.#options.clock.after(TICK_MS, () => this.#tick());
  }

  #lose(session: Session, isPolite: boolean): void {
    if (this.#isOver || !this.#sessions.delete(session.id)) return;
    session.wire.drop();
    this.#admitted.delete(session.id);
    const { id: worker, hasAnswered } = session;
    if (session.isReady) this.#handle({ type: 'sessionLost', worker, isPolite, hasAnswered });
  }

  #receive(session: Session, message: Upward): void {
    if (this.#isOver || !this.#sessions.has(session.id)) return;
    const { id: worker } = session;
    switch (message.type) {
      case 'hello':
        session.process = message;
        if (this.#machine.banOf(message) !== undefined) return session.wire.sendDown({ type: 'refuse' });
        return session.wire.sendDown({
          type: 'welcome',
          run: 0,
          numPieces: this.#options.training.numPieces,
        });
      case 'ready': {
        session.isReady = true;
        session.dueMs = this.#options.clock.nowMs + MAX_REST_MS;
        const { process } = session;
        if (!process) return;
        const [instance, address] = [String(process.pid), `address ${process.pid % 2}`];
        const of = { worker, process, instance, address, threads: 1, step: this.#step };
        return this.#handle({ type: 'sessionReady', ...of });
      }
      case 'leave':
        return this.#lose(session, true);
      case 'sum':
        session.hasAnswered = true;
        return this.#receiveSum(worker, message);
      case 'finished':
        return this.#handle({ ...message, type: 'rangeFinished', worker });
      case 'failure':
        return this.#handle({ ...message, type: 'rangeFailed', worker, message: 'failed' });
      default:
        return message satisfies never;
    }
  }

  #receiveSum(worker: number, message: Extract<Upward, { readonly type: 'sum' }>): void {
    const { round, attempt, node, piece, value, weights } = message;
    const name = { round, attempt, node, piece };
    const kind = this.#machine.inspect(worker, name);
    const active = this.#active;
    if (!kind || !active) return;
    if (weights !== combine(this.#weights))
      this.#options.complain(`worker ${worker} computed with other weights`);
    const isFinite = !Number.isNaN(value);
    const digest = `${kind} ${value}`;
    this.#handle({ type: 'sumReceived', worker, sum: name, digest, isFinite }, (slot) => {
      if (active.plan.mode === 'sum') active.slots.set(slot, value);
      else active.results[node.level === 0 ? node.index : active.plan.leafRows.length - 1] = value;
    });
  }

  #handle(event: MachineEvent, store?: (slot: number) => void): void {
    if (this.#isOver) return;
    this.numEvents++;
    for (const command of this.#machine.handle(event, this.#options.clock.nowMs)) {
      if (this.#isOver) return;
      this.#carryOut(command, store);
    }
  }

  #carryOut(command: MachineCommand, store?: (slot: number) => void): void {
    switch (command.type) {
      case 'begin':
        return this.#begin(command.round, command.again !== undefined);
      case 'assign':
        return this.#assign(command);
      case 'store':
        return store?.(command.slot);
      case 'merge':
        return this.#merge(command.left, command.right);
      case 'forget':
        return void this.#active?.slots.delete(command.slot);
      case 'pieceCompleted':
        return this.#completePiece(command.piece, command.slot);
      case 'roundCompleted':
        return this.#completeRound();
      case 'judge':
        return this.#judge(command);
      case 'diverged':
        return this.#end('diverged');
      case 'evict':
        return this.#options.complain(`worker ${command.worker} was evicted: ${command.reason}`);
      case 'giveUp':
        return this.#end(command.cause);
      case 'admit':
        return this.#admit(command.worker);
      case 'supersede':
        this.#admitted.delete(command.worker);
        return this.#dropLater(command.worker);
      case 'refuse':
        return this.#refuse(command.worker);
      case 'banned':
        this.#options.onBanned(Number(/pid (\d+)/.exec(command.process)?.[1]), command.reason);
        return this.#refuse(command.worker);
      case 'gathered':
        return this.#startRound();
      case 'starved':
        return this.#end('starved');
      case 'rest':
      case 'waiting':
        return;
      default:
        return command satisfies never;
    }
  }

  #refuse(worker: number): void {
    this.#admitted.delete(worker);
    const session = this.#sessions.get(worker);
    if (!session) return;
    session.dueMs = Infinity;
    session.wire.sendDown({ type: 'refuse' });
  }

  /** An eviction is heard of once the event at hand is done with. */
  #dropLater(worker: number): void {
    const session = this.#sessions.get(worker);
    if (session) this.#options.clock.after(0, () => this.#lose(session, false));
  }

  #admit(worker: number): void {
    const session = this.#sessions.get(worker);
    if (!session) return;
    session.dueMs = Infinity;
    this.#admitted.set(worker, session);
    this.#weights.forEach((_, piece) => this.#sendPiece([session], piece, 'current'));
    this.#next.forEach((_, piece) => this.#sendPiece([session], piece, 'next'));
  }

  #sendPiece(sessions: Iterable<Session>, piece: number, which: 'current' | 'next'): void {
    const value = (which === 'current' ? this.#weights : this.#next)[piece];
    if (value === undefined) return;
    const version = which === 'current' ? this.#version : this.#version + 1;
    for (const { wire } of sessions) wire.sendDown({ type: 'weights', version, piece, value });
  }

  /** The next round: a step, or the evaluation behind an epoch. */
  #startRound(): void {
    const { training } = this.#options;
    const isEvaluation = this.#chain.length % (training.stepsPerEpoch + 1) === training.stepsPerEpoch;
    const leafRows = isEvaluation
      ? training.evaluationRows
      : (training.leafRows[this.#step % training.stepsPerEpoch] as readonly number[]);
    const numPieces = isEvaluation ? 1 : training.numPieces;
    const plan = { mode: isEvaluation ? ('collect' as const) : ('sum' as const), numPieces, leafRows };
    const kind = isEvaluation ? 'evaluate' : 'train';
    const work: Work = {
      kind,
      step: this.#step,
      weights: combine(this.#weights),
      numLeaves: leafRows.length,
      divergesAt: training.divergesAt,
    };
    this.#active = { work, plan, number: 0, isSpoilt: false, results: [], slots: new Map() };
    this.#handle({ type: 'roundStarted', plan });
  }

  #begin(number: number, isAgain: boolean): void {
    const active = this.#active as ActiveRound;
    const { complain, minWorkers } = this.#options;
    if (!isAgain && this.#admitted.size < minWorkers) complain('a round began without enough workers');
    active.number = number;
    active.isSpoilt = false;
    active.results = [];
    active.slots.clear();
    this.#next = [];
  }

  #assign({ worker, attempt, from, to }: Extract<MachineCommand, { type: 'assign' }>): void {
    const { work, plan, number: round } = this.#active as ActiveRound;
    const rows = plan.leafRows.slice(from, to).reduce((sum, count) => sum + count, 0);
    this.#admitted.get(worker)?.wire.sendDown({
      type: 'range',
      ...work,
      round,
      attempt,
      from,
      to,
      rows,
      version: this.#version,
    });
  }

  #merge(left: number, right: number): void {
    const { slots } = this.#active as ActiveRound;
    const [a, b] = [slots.get(left), slots.get(right)];
    if (a === undefined || b === undefined) return this.#options.complain('added a sum that is not there');
    slots.set(left, add(a, b));
    slots.delete(right);
  }

  #completePiece(piece: number, slot: number): void {
    const active = this.#active as ActiveRound;
    if (active.isSpoilt) return;
    const sum = active.slots.get(slot);
    if (sum === undefined) return this.#options.complain('completed a sum that is not there');
    if (Number.isNaN(sum)) {
      active.isSpoilt = true;
      return this.#handle({ type: 'sumNotFinite', round: active.number });
    }
    active.results[piece] = sum;
    this.#next[piece] = nextWeights(this.#weights[piece] as Value, sum);
    this.#sendPiece(this.#admitted.values(), piece, 'next');
  }

  #completeRound(): void {
    const active = this.#active as ActiveRound;
    if (active.isSpoilt) return;
    const { mode, leafRows, numPieces } = active.plan;
    const numResults = mode === 'sum' ? numPieces : leafRows.length;
    const results = Array.from({ length: numResults }, (_, index) => active.results[index]);
    if (results.includes(undefined)) return this.#options.complain('completed a round that is not whole');
    this.#chain.push(combine(results as Value[]));
    this.#active = undefined;
    if (mode === 'sum') this.#commit();
    const { clock, training } = this.#options;
    if (this.#chain.length === training.numEpochs * (training.stepsPerEpoch + 1))
      return this.#end('finished');
    clock.after(0, () => {
      if (!this.#isOver) this.#startRound();
    });
  }

  #commit(): void {
    const { checkpointEvery, onCheckpoint } = this.#options;
    this.#weights = this.#next as Value[];
    this.#next = [];
    this.#version++;
    this.#step++;
    if (this.#step % checkpointEvery === 0) onCheckpoint(this.#progress());
  }

  #judge({ round, node, digest }: Extract<MachineCommand, { type: 'judge' }>): void {
    const { chance, clock, judgeMs } = this.#options;
    clock.after(chance.between(0, judgeMs), () => {
      const active = this.#active;
      if (this.#isOver || active?.number !== round) return;
      const pieces = Array.from({ length: active.plan.numPieces }, (_, piece) => piece);
      const digests = pieces.map((piece) => `${digest} ${sumUnder(active.work, node, piece)}`);
      this.#handle({ type: 'judged', round, node, digests });
    });
  }

  #progress(): Progress {
    return { step: this.#step, weights: [...this.#weights], chain: [...this.#chain] };
  }

  #end(outcome: Outcome): void {
    this.#isOver = true;
    for (const { wire } of this.#sessions.values()) wire.sendDown({ type: 'stop' });
    this.#options.onEnd(outcome, this.#progress());
  }
}
