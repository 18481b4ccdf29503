// The workers that take part. The roster counts them against the number that the run needs, and
// keeps banned processes out. A worker that comes back replaces its old session. Where workers
// keep vanishing without a result, or were banned, the next new worker of their address has to
// wait: each costs the run a late task, or a step that restarts, and a process gets a new
// identity by being started again.
import type { BannedWorker, Outcome, ReadySession, RestCause } from './outcome.ts';

/** The numbers that a roster keeps to. */
export interface RosterOptions {
  /** Number of workers without which no round begins; at least 1. */
  readonly minWorkers: number;
  /** Longest time with fewer than that. */
  readonly waitMs: number;
}

interface Instance {
  /** The name that people know it by. */
  readonly name: string;
  readonly address: string;
  /** The reason why it may not come back. */
  readonly ban: string | undefined;
  /** True once a session of it has ended that had delivered something. */
  hasWorked: boolean;
  /** All that have been below it, by instance, since it was last found wrong. */
  readonly members: Set<string>;
}

interface Session {
  readonly instance: string;
  readonly address: string;
  /** The wait after which it takes part. */
  readonly rest: Rest;
  isActive: boolean;
  /** Workers below it. */
  numMembers: number;
}

interface Rest {
  readonly restMs: number;
  readonly untilMs: number;
  /** The end of the wait where there are too few workers without it. */
  readonly untilNeededMs: number;
  readonly cause: RestCause;
}

/** Trouble with workers of one address, in a row. */
interface Trouble {
  readonly count: number;
  readonly lastMs: number;
}

/**
 * The rule by which each trouble doubles the wait of the next new worker, up to a limit, until
 * there has been none for long.
 */
interface Patience {
  /** Troubles that count as bad luck. */
  readonly numFree: number;
  readonly firstRestMs: number;
  readonly maxRestMs: number;
  readonly forgetMs: number;
  /** Longest wait of a new worker without whom there are too few. */
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
  // Twice the time between two checkpoints: whatever has to be taken back for the next
  // liar, some of it is kept.
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
/** Instances that are remembered; beyond that number, those that were never banned are forgotten. */
const MAX_INSTANCES = 10_000;

/** The roster of one run. Times are monotonic milliseconds. */
export class Roster {
  readonly #options: RosterOptions;
  readonly #sessions = new Map<number, Session>();
  /** Troubles by address. */
  readonly #troubles: Readonly<Record<RestCause, Map<string, Trouble>>> = {
    vanishing: new Map(),
    bans: new Map(),
  };
  /** Instances by name, also those whose sessions are over: a lie may be found later. */
  readonly #instances = new Map<string, Instance>();
  /** Processes that are to work alone: aggregators that were wrong, and whoever was below them. */
  readonly #distrusted = new Set<string>();
  #required: number;
  #isGathering = false;
  #belowSinceMs: number | undefined;
  #nextNoteMs = FIRST_NOTE_MS;

  constructor(options: RosterOptions, nowMs: number) {
    this.#options = options;
    this.#required = options.minWorkers;
    this.#belowSinceMs = nowMs;
  }

  /** Workers that take part, those below aggregators included. */
  get numActive(): number {
    let count = 0;
    for (const { isActive, numMembers } of this.#sessions.values()) if (isActive) count += 1 + numMembers;
    return count;
  }

  /** True when a round may begin. */
  get hasEnough(): boolean {
    return this.numActive >= this.#required;
  }

  /** True for a process that is to work alone, neither as an aggregator nor below one. */
  isDistrusted(instance: string): boolean {
    return this.#distrusted.has(instance);
  }

  /** The reason why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#instances.get(instance)?.ban;
  }

  /** Makes the roster gather this many workers before it is content with the minimum again. */
  require(count: number, outcome: Outcome): void {
    this.#required = count;
    this.#isGathering = true;
    this.#belowSinceMs = outcome.nowMs;
    this.#count(outcome);
  }

  /** Admits a ready session, or makes it rest first, or refuses it. */
  addSession(session: ReadySession, outcome: Outcome): void {
    const { worker, instance } = session;
    const { ban, address, hasWorked } = this.#remember(session);
    if (ban === undefined) {
      const old = [...this.#sessions].filter(([, { instance: other }]) => other === instance);
      for (const [id] of old) this.#sessions.delete(id);
      outcome.superseded.push(...old.map(([id]) => id));
      const isNew = !hasWorked && !old.some(([, { isActive }]) => isActive);
      const rest = this.#restOf(address, isNew, outcome.nowMs);
      const isActive = this.#isRested(rest, outcome.nowMs);
      this.#sessions.set(worker, { instance, address, rest, isActive, numMembers: 0 });
      if (isActive) outcome.admitted.push({ worker, instance });
      else outcome.resting.push({ worker, restMs: rest.restMs, cause: rest.cause });
    } else outcome.refused.push({ worker, reason: ban });
    this.#count(outcome);
  }

  /** Notes the workers that are below an aggregator now. */
  setMembers(worker: number, members: readonly string[], outcome: Outcome): void {
    const session = this.#sessions.get(worker);
    if (!session) return;
    session.numMembers = members.length;
    const known = this.#instances.get(session.instance);
    if (known && known.members.size < MAX_INSTANCES) for (const member of members) known.members.add(member);
    this.#count(outcome);
  }

  /** Removes a session that ended; `hasAnswered` tells whether anything but failures came from it. */
  lose(worker: number, hasAnswered: boolean, outcome: Outcome): void {
    const session = this.#sessions.get(worker);
    if (!session) return;
    this.#sessions.delete(worker);
    const { address, instance } = session;
    const known = this.#instances.get(instance);
    if (hasAnswered && known) known.hasWorked = true;
    if (!hasAnswered) this.#note('vanishing', address, outcome.nowMs);
    this.#admitRested(outcome);
    this.#count(outcome);
  }

  /**
   * Admits those who have rested; says that workers are missing, or that they have
   * been missing for too long.
   */
  tick(outcome: Outcome): void {
    this.#admitRested(outcome);
    this.#count(outcome);
    if (this.#belowSinceMs === undefined || outcome.shortage) return;
    const waitedMs = outcome.nowMs - this.#belowSinceMs;
    const shortage = { have: this.numActive, need: this.#required };
    if (waitedMs >= this.#options.waitMs) outcome.failure = { type: 'starved', ...shortage };
    if (waitedMs >= this.#options.waitMs || waitedMs < this.#nextNoteMs) return;
    this.#nextNoteMs += NEXT_NOTE_MS;
    outcome.shortage = { ...shortage, waitedMs };
  }

  /**
   * Keeps the instance out from now on. An aggregator is not known to be at fault, so it has to work
   * alone, as do all that were below it: then whoever is wrong again is.
   */
  ban(
    instance: string,
    { worker, reason, trustedSteps }: Omit<BannedWorker, 'name' | 'mayReturn'>,
    outcome: Outcome,
  ): void {
    const known = this.#instances.get(instance) ?? this.#forgotten(worker);
    if (known.ban !== undefined) return;
    const mayReturn = known.members.size > 0;
    this.#instances.set(instance, { ...known, ban: mayReturn ? undefined : reason, members: new Set() });
    if (mayReturn) this.#distrust([instance, ...known.members]);
    else this.#note('bans', known.address, outcome.nowMs);
    const others = [...this.#sessions].filter(
      ([id, session]) => session.instance === instance && id !== worker,
    );
    for (const id of [worker, ...others.map(([other]) => other)]) this.#sessions.delete(id);
    outcome.banned.push({ worker, name: known.name, reason, trustedSteps, mayReturn });
    (mayReturn ? outcome.evicted : outcome.refused).push(...others.map(([id]) => ({ worker: id, reason })));
    this.#count(outcome);
  }

  #distrust(instances: readonly string[]): void {
    for (const instance of instances) this.#distrusted.add(instance);
    for (const oldest of this.#distrusted) {
      if (this.#distrusted.size <= MAX_INSTANCES) break;
      this.#distrusted.delete(oldest);
    }
  }

  /** Stands in for a worker whose record was dropped to make room. */
  #forgotten(worker: number): Instance {
    const address = this.#sessions.get(worker)?.address ?? 'a forgotten address';
    return { name: `worker ${worker}`, address, ban: undefined, hasWorked: true, members: new Set() };
  }

  #remember({ instance, name, address }: ReadySession): Instance {
    const known = this.#instances.get(instance);
    const { ban, hasWorked, members } = known ?? {
      ban: undefined,
      hasWorked: false,
      members: new Set<string>(),
    };
    const remembered = { name, address, ban, hasWorked, members };
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

  #note(cause: RestCause, address: string, nowMs: number): void {
    const count = this.#countOf(cause, address, nowMs) + 1;
    this.#troubles[cause].set(address, { count, lastMs: nowMs });
  }

  /** The number of such troubles lately. */
  #countOf(cause: RestCause, address: string, nowMs: number): number {
    const troubles = this.#troubles[cause];
    for (const [known, { lastMs }] of troubles) {
      if (nowMs - lastMs > PATIENCE[cause].forgetMs) troubles.delete(known);
    }
    return troubles.get(address)?.count ?? 0;
  }

  /** The longer of two waits. A worker that has delivered before does not wait for the ban of a neighbour. */
  #restOf(address: string, isNew: boolean, nowMs: number): Rest {
    const rests = (['bans', 'vanishing'] as const).map((cause): Rest => {
      const { numFree, firstRestMs, maxRestMs, maxNeededRestMs } = PATIENCE[cause];
      const numTooMany = this.#countOf(cause, address, nowMs) - numFree - 1;
      const isSpared = numTooMany < 0 || (cause === 'bans' && !isNew);
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

  /** Tells whether a rest is over. It spares the others, and is cut short where there are too few of them. */
  #isRested({ untilMs, untilNeededMs }: Rest, nowMs: number): boolean {
    return nowMs >= (this.hasEnough ? untilMs : untilNeededMs);
  }

  #admitRested(outcome: Outcome): void {
    for (const [worker, session] of this.#sessions) {
      if (session.isActive || !this.#isRested(session.rest, outcome.nowMs)) continue;
      session.isActive = true;
      outcome.admitted.push({ worker, instance: session.instance });
    }
  }

  /** Follows whether there are enough workers, and says so when that changes. */
  #count(outcome: Outcome): void {
    if (this.hasEnough) {
      this.#belowSinceMs = undefined;
      if (!this.#isGathering) return;
      this.#isGathering = false;
      this.#required = this.#options.minWorkers;
      outcome.isGathered = true;
      return;
    }
    if (this.#belowSinceMs !== undefined) return;
    this.#belowSinceMs = outcome.nowMs;
    this.#nextNoteMs = FIRST_NOTE_MS;
    outcome.shortage = { have: this.numActive, need: this.#required, waitedMs: 0 };
  }
}
