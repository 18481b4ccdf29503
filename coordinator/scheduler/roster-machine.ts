// Who takes part: a pure state machine over the comings and goings of workers. It counts them against the number that
// the run wants, and keeps out who was found wrong. A worker that comes back replaces what is left of itself. Where workers
// keep vanishing without an answer, or were banned, the next newcomer of their address has to wait: each costs the run a
// task that is late, or a step that begins again, and a process is renamed by starting it again.
import type { RestCause, RosterCommand, RosterEvent } from './events.ts';

/** What a roster is told. */
export interface RosterOptions {
  /** With fewer workers no round begins; at least 1. */
  readonly minWorkers: number;
  /** Longest time with fewer than that. */
  readonly waitMs: number;
}

interface Instance {
  /** As people know it. */
  readonly name: string;
  readonly address: string;
  /** Why it may not come back. */
  readonly ban: string | undefined;
  /** Whether a session of it has answered, and ended. */
  hasWorked: boolean;
}

interface Session {
  readonly instance: string;
  readonly address: string;
  /** It takes part from its end on. */
  readonly rest: Rest;
  isActive: boolean;
}

interface Rest {
  readonly restMs: number;
  readonly untilMs: number;
  /** The same where there are too few without it. */
  readonly untilNeededMs: number;
  readonly cause: RestCause;
}

/** What has gone wrong with workers of one address, in a row. */
interface Trouble {
  readonly count: number;
  readonly lastMs: number;
}

/** Each one doubles the wait of the next newcomer, up to a limit, until there has been none for long. */
interface Patience {
  /** So many are bad luck. */
  readonly numFree: number;
  readonly firstRestMs: number;
  readonly maxRestMs: number;
  readonly forgetMs: number;
  /** Longest wait of a newcomer without whom there are too few. */
  readonly maxNeededRestMs: number;
}

const PATIENCE: Readonly<Record<RestCause, Patience>> = {
  vanishing: {
    numFree: 2,
    firstRestMs: 1_000,
    maxRestMs: 30_000,
    forgetMs: 60_000,
    maxNeededRestMs: 0,
  },
  // Twice the time between two checkpoints: whatever has to be taken back for the next liar, some of it is kept.
  bans: {
    numFree: 0,
    firstRestMs: 1_000,
    maxRestMs: 600_000,
    forgetMs: 3_600_000,
    maxNeededRestMs: 10_000,
  },
};
const FIRST_NOTE_MS = 10_000;
const NEXT_NOTE_MS = 30_000;
/** Instances that are remembered; beyond it those that never were in trouble are forgotten. */
const MAX_INSTANCES = 10_000;

type Banned = Extract<RosterCommand, { readonly type: 'banned' }>;

/** See the head of this file. Times are monotonic milliseconds. */
export class RosterMachine {
  readonly #options: RosterOptions;
  readonly #sessions = new Map<number, Session>();
  /** By address. */
  readonly #troubles: Readonly<Record<RestCause, Map<string, Trouble>>> = {
    vanishing: new Map(),
    bans: new Map(),
  };
  /** Of sessions that are over, too: a lie may be found then. */
  readonly #instances = new Map<string, Instance>();
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

  /** Why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#instances.get(instance)?.ban;
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

  /** Keeps the instance out from now on. */
  ban(
    instance: string,
    { worker, reason, trustedSteps }: Pick<Banned, 'worker' | 'reason' | 'trustedSteps'>,
    nowMs: number,
  ): RosterCommand[] {
    const known = this.#instances.get(instance) ?? this.#forgotten(worker);
    if (known.ban !== undefined) return [];
    this.#instances.set(instance, { ...known, ban: reason });
    this.#note('bans', known.address, nowMs);
    const others = [...this.#sessions].filter(
      ([id, session]) => session.instance === instance && id !== worker,
    );
    for (const id of [worker, ...others.map(([other]) => other)]) this.#sessions.delete(id);
    return [
      { type: 'banned', worker, name: known.name, reason, trustedSteps },
      ...others.map(([id]) => ({ type: 'refuse' as const, worker: id, reason })),
      ...this.#count(nowMs),
    ];
  }

  /** What is known of a worker that has been here for longer than is remembered. */
  #forgotten(worker: number): Instance {
    const address = this.#sessions.get(worker)?.address ?? 'a forgotten address';
    return { name: `worker ${worker}`, address, ban: undefined, hasWorked: true };
  }

  #greet(event: Extract<RosterEvent, { type: 'sessionReady' }>, nowMs: number): RosterCommand[] {
    const { worker, instance } = event;
    const { ban, address, hasWorked } = this.#remember(event);
    if (ban !== undefined) return [{ type: 'refuse', worker, reason: ban }];
    const old = [...this.#sessions].filter(([, session]) => session.instance === instance);
    for (const [id] of old) this.#sessions.delete(id);
    const superseded = old.map(([id]) => ({ type: 'supersede' as const, worker: id }));
    const isNewcomer = !hasWorked && !old.some(([, { isActive }]) => isActive);
    const rest = this.#restOf(address, isNewcomer, nowMs);
    const isActive = this.#isRested(rest, nowMs);
    this.#sessions.set(worker, { instance, address, rest, isActive });
    const { cause, restMs } = rest;
    return [...superseded, isActive ? { type: 'admit', worker } : { type: 'rest', worker, restMs, cause }];
  }

  #remember({ instance, name, address }: Extract<RosterEvent, { type: 'sessionReady' }>): Instance {
    const { ban, hasWorked } = this.#instances.get(instance) ?? { ban: undefined, hasWorked: false };
    const remembered = { name, address, ban, hasWorked };
    this.#instances.delete(instance);
    this.#instances.set(instance, remembered);
    if (this.#instances.size <= MAX_INSTANCES) return remembered;
    for (const [known, { ban: reason }] of this.#instances) {
      if (reason !== undefined) continue;
      this.#instances.delete(known);
      break;
    }
    return remembered;
  }

  #lose(event: Extract<RosterEvent, { type: 'sessionLost' }>, nowMs: number): RosterCommand[] {
    const { worker, hasAnswered } = event;
    const session = this.#sessions.get(worker);
    if (!session) return [];
    this.#sessions.delete(worker);
    const { address, instance } = session;
    const known = this.#instances.get(instance);
    if (hasAnswered && known) known.hasWorked = true;
    if (!hasAnswered) this.#note('vanishing', address, nowMs);
    return [...this.#admitRested(nowMs), ...this.#count(nowMs)];
  }

  #note(cause: RestCause, address: string, nowMs: number): void {
    const count = this.#countOf(cause, address, nowMs) + 1;
    this.#troubles[cause].set(address, { count, lastMs: nowMs });
  }

  /** How often it has happened lately. */
  #countOf(cause: RestCause, address: string, nowMs: number): number {
    const troubles = this.#troubles[cause];
    for (const [known, { lastMs }] of troubles) {
      if (nowMs - lastMs > PATIENCE[cause].forgetMs) troubles.delete(known);
    }
    return troubles.get(address)?.count ?? 0;
  }

  /** The longer of its waits. Whoever has worked here has nothing to do with the ban of a neighbour. */
  #restOf(address: string, isNewcomer: boolean, nowMs: number): Rest {
    const rests = (['bans', 'vanishing'] as const).map((cause): Rest => {
      const { numFree, firstRestMs, maxRestMs, maxNeededRestMs } = PATIENCE[cause];
      const numTooMany = this.#countOf(cause, address, nowMs) - numFree - 1;
      const isSpared = numTooMany < 0 || (cause === 'bans' && !isNewcomer);
      const restMs = isSpared ? 0 : Math.min(maxRestMs, firstRestMs * 2 ** numTooMany);
      return {
        cause,
        restMs,
        untilMs: nowMs + restMs,
        untilNeededMs: nowMs + Math.min(restMs, maxNeededRestMs),
      };
    });
    return rests.reduce((longer, rest) => (rest.untilMs > longer.untilMs ? rest : longer));
  }

  /** Resting spares the others; where more are wanted than are there, it is cut short. */
  #isRested({ untilMs, untilNeededMs }: Rest, nowMs: number): boolean {
    return nowMs >= (this.hasEnough ? untilMs : untilNeededMs);
  }

  #admitRested(nowMs: number): RosterCommand[] {
    const commands: RosterCommand[] = [];
    for (const [worker, session] of this.#sessions) {
      if (session.isActive || !this.#isRested(session.rest, nowMs)) continue;
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
