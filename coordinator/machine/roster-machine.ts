// Who takes part: a pure state machine over the comings and goings of workers. It counts them against the number that
// the run wants, and keeps out who was found wrong. A worker that comes back replaces what is left of itself; and where
// workers keep vanishing without an answer, the next one has to wait, because each costs the run a range that is late.
import type { RosterCommand, RosterEvent, WorkerProcess } from './events.ts';

/** What a roster is told. */
export interface RosterOptions {
  /** With fewer workers no round begins; at least 1. */
  readonly minWorkers: number;
  /** Longest time with fewer than that. */
  readonly waitMs: number;
}

interface Process {
  /** Why it may not come back. */
  ban: string | undefined;
  /** Optimizer steps committed when it first joined. */
  readonly joinedAtStep: number;
}

interface Session {
  readonly process: string;
  readonly instance: string;
  readonly address: string;
  /** When it takes part; it rests until then. */
  readonly activeFromMs: number;
  isActive: boolean;
}

/** Sessions of one address that ended without an answer, in a row. */
interface Failures {
  readonly count: number;
  readonly lastMs: number;
}

/** So many sessions without an answer are bad luck... */
const MAX_FREE_FAILURES = 3;
/** ...and each one after them doubles the wait... */
const FIRST_REST_MS = 1_000;
/** ...up to this, */
const MAX_REST_MS = 30_000;
/** until none has vanished for this long. */
const FORGET_MS = 60_000;
const FIRST_NOTE_MS = 10_000;
const NEXT_NOTE_MS = 30_000;
/** Processes that are remembered; beyond it those that never were in trouble are forgotten. */
const MAX_PROCESSES = 10_000;

/** What tells processes apart. */
export function processName({ host, pid }: WorkerProcess): string {
  return `${host} pid ${pid}`;
}

/** See the head of this file. Times are monotonic milliseconds. */
export class RosterMachine {
  readonly #options: RosterOptions;
  readonly #sessions = new Map<number, Session>();
  readonly #failures = new Map<string, Failures>();
  readonly #processes = new Map<string, Process>();
  /** The process of every session, for a lie may be found when its session is over. */
  readonly #processOf = new Map<number, string>();
  #required: number;
  #isGathering = false;
  #belowSinceMs: number | undefined;
  #nextNoteMs = FIRST_NOTE_MS;

  constructor(options: RosterOptions, nowMs: number) {
    this.#options = options;
    this.#required = options.minWorkers;
    this.#belowSinceMs = nowMs;
  }

  /** Whether a round may begin. */
  get hasEnough(): boolean {
    return this.#numActive() >= this.#required;
  }

  /** Why the process may not take part; undefined if it may. */
  banOf(process: WorkerProcess): string | undefined {
    return this.#processes.get(processName(process))?.ban;
  }

  handle(event: RosterEvent, nowMs: number): RosterCommand[] {
    switch (event.type) {
      case 'sessionReady':
        return [...this.#greet(event, nowMs), ...this.#count(nowMs)];
      case 'sessionLost':
        return this.#lose(event, nowMs);
      case 'workersRequired':
        this.#required = event.count;
        this.#isGathering = true;
        this.#belowSinceMs = nowMs;
        return this.#count(nowMs);
      default:
        return event satisfies never;
    }
  }

  /** Admits those who have rested; says that workers are missing, or for how long they may not be any longer. */
  tick(nowMs: number): RosterCommand[] {
    const admitted = this.#admitRested(nowMs);
    const missing = this.#count(nowMs);
    if (this.#belowSinceMs === undefined) return [...admitted, ...missing];
    const waitedMs = nowMs - this.#belowSinceMs;
    const [have, need] = [this.#numActive(), this.#required];
    if (waitedMs >= this.#options.waitMs) return [...admitted, { type: 'starved', have, need }];
    if (waitedMs < this.#nextNoteMs) return admitted;
    this.#nextNoteMs += NEXT_NOTE_MS;
    return [...admitted, { type: 'waiting', have, need, waitedMs }];
  }

  /** Keeps the worker's process out from now on. */
  ban(worker: number, reason: string, nowMs: number): RosterCommand[] {
    const name = this.#processOf.get(worker);
    const process = name === undefined ? undefined : this.#processes.get(name);
    if (name === undefined || !process) return [];
    process.ban = reason;
    const { joinedAtStep } = process;
    const others = [...this.#sessions].filter(([id, session]) => session.process === name && id !== worker);
    for (const id of [worker, ...others.map(([other]) => other)]) this.#sessions.delete(id);
    return [
      { type: 'banned', worker, process: name, reason, joinedAtStep },
      ...others.map(([id]) => ({ type: 'refuse' as const, worker: id, reason })),
      ...this.#count(nowMs),
    ];
  }

  #greet(event: Extract<RosterEvent, { type: 'sessionReady' }>, nowMs: number): RosterCommand[] {
    const { worker, address, instance, step } = event;
    const name = processName(event.process);
    const process = this.#processes.get(name) ?? { ban: undefined, joinedAtStep: step };
    this.#remember(name, process, worker);
    if (process.ban !== undefined) return [{ type: 'refuse', worker, reason: process.ban }];
    const old = [...this.#sessions].filter(([, session]) => session.instance === instance);
    for (const [id] of old) this.#sessions.delete(id);
    const superseded = old.map(([id]) => ({ type: 'supersede' as const, worker: id }));
    // Resting spares the others; where more are wanted than are there, everyone is welcome.
    const restMs = this.hasEnough ? this.#restMs(address, nowMs) : 0;
    const isActive = restMs === 0;
    this.#sessions.set(worker, { process: name, instance, address, activeFromMs: nowMs + restMs, isActive });
    return [...superseded, isActive ? { type: 'admit', worker } : { type: 'rest', worker, restMs }];
  }

  #remember(name: string, process: Process, worker: number): void {
    this.#processes.delete(name);
    this.#processes.set(name, process);
    this.#processOf.set(worker, name);
    if (this.#processOf.size > MAX_PROCESSES) {
      const [oldest] = this.#processOf.keys();
      this.#processOf.delete(oldest as number);
    }
    if (this.#processes.size <= MAX_PROCESSES) return;
    const [forgotten] = [...this.#processes].find(([, { ban }]) => ban === undefined) ?? [];
    if (forgotten !== undefined) this.#processes.delete(forgotten);
  }

  #lose(event: Extract<RosterEvent, { type: 'sessionLost' }>, nowMs: number): RosterCommand[] {
    const { worker, hasAnswered, isPolite } = event;
    const session = this.#sessions.get(worker);
    if (!session) return [];
    this.#sessions.delete(worker);
    const { address } = session;
    const count = this.#recentFailures(address, nowMs);
    if (!hasAnswered && !isPolite) this.#failures.set(address, { count: count + 1, lastMs: nowMs });
    return [...this.#admitRested(nowMs), ...this.#count(nowMs)];
  }

  #restMs(address: string, nowMs: number): number {
    const numTooMany = this.#recentFailures(address, nowMs) - MAX_FREE_FAILURES;
    return numTooMany < 0 ? 0 : Math.min(MAX_REST_MS, FIRST_REST_MS * 2 ** numTooMany);
  }

  #recentFailures(address: string, nowMs: number): number {
    for (const [known, { lastMs }] of this.#failures) {
      if (nowMs - lastMs > FORGET_MS) this.#failures.delete(known);
    }
    return this.#failures.get(address)?.count ?? 0;
  }

  #admitRested(nowMs: number): RosterCommand[] {
    const commands: RosterCommand[] = [];
    for (const [worker, session] of this.#sessions) {
      if (session.isActive || (this.hasEnough && nowMs < session.activeFromMs)) continue;
      session.isActive = true;
      commands.push({ type: 'admit', worker });
    }
    return commands;
  }

  /** Follows whether there are enough. */
  #count(nowMs: number): RosterCommand[] {
    if (this.hasEnough) {
      this.#belowSinceMs = undefined;
      if (!this.#isGathering) return [];
      this.#isGathering = false;
      this.#required = this.#options.minWorkers;
      return [{ type: 'gathered' }];
    }
    if (this.#belowSinceMs !== undefined) return [];
    this.#belowSinceMs = nowMs;
    this.#nextNoteMs = FIRST_NOTE_MS;
    return [{ type: 'waiting', have: this.#numActive(), need: this.#required, waitedMs: 0 }];
  }

  #numActive(): number {
    let count = 0;
    for (const session of this.#sessions.values()) if (session.isActive) count++;
    return count;
  }
}
