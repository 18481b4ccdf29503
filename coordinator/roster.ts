// Which workers take part. A worker that comes back replaces what is left of itself; and where workers keep vanishing
// without an answer, the next one has to wait, because each costs the run a range that is late.
import type { Logger } from '../src/log.ts';
import { CLOSE } from '../src/protocol/protocol-error.ts';
import type { SessionEnd, WorkerSession } from './worker-session.ts';

/** What the roster needs of a session. */
export type RosterSession = Pick<
  WorkerSession,
  'id' | 'name' | 'threads' | 'instance' | 'remoteAddress' | 'hasAnswered' | 'evict'
>;

/** Whom a roster tells. */
export interface RosterOptions<Session> {
  readonly log: Logger;
  readonly onJoin: (session: Session) => void;
  /** For each session that has joined, once. */
  readonly onLeave: (session: Session, end: SessionEnd) => void;
}

/** Sessions of one address that ended without an answer, in a row. */
interface Failures {
  count: number;
  lastMs: number;
}

/** So many sessions without an answer are bad luck... */
const MAX_FREE_FAILURES = 3;
/** ...and each one after them doubles the wait... */
const FIRST_COOLDOWN_MS = 1000;
/** ...up to this, */
const MAX_COOLDOWN_MS = 30_000;
/** until none has vanished for this long. */
const FORGET_MS = 60_000;

/** See the head of this file. */
export class Roster<Session extends RosterSession> {
  readonly #options: RosterOptions<Session>;
  /** Those that take part, by the process behind them. */
  readonly #joined = new Map<string | undefined, Session>();
  readonly #waiting = new Map<Session, NodeJS.Timeout>();
  readonly #failures = new Map<string, Failures>();

  constructor(options: RosterOptions<Session>) {
    this.#options = options;
  }

  /** A worker is ready to take part; it does so at once, or after a while if others do the work meanwhile. */
  ready(session: Session, nowMs: number): void {
    const cooldownMs = this.#joined.size > 0 ? this.#cooldownMs(session.remoteAddress, nowMs) : 0;
    if (cooldownMs === 0) return this.#join(session);
    this.#options.log.warn(
      `${session.name} waits ${cooldownMs / 1000} s: workers of ${session.remoteAddress} keep vanishing`,
    );
    this.#waiting.set(session, setTimeout(() => this.#join(session), cooldownMs).unref());
  }

  /** A session that was ready is over. */
  gone(session: Session, end: SessionEnd, nowMs: number): void {
    clearTimeout(this.#waiting.get(session));
    if (this.#waiting.delete(session)) return this.#noteFailure(session.remoteAddress, nowMs);
    if (this.#joined.get(session.instance) === session) this.#joined.delete(session.instance);
    if (!session.hasAnswered && !end.isPolite) this.#noteFailure(session.remoteAddress, nowMs);
    this.#options.onLeave(session, end);
    // The run must not stand still while somebody could compute.
    if (this.#joined.size === 0) for (const waiting of [...this.#waiting.keys()]) this.#join(waiting);
  }

  #join(session: Session): void {
    clearTimeout(this.#waiting.get(session));
    this.#waiting.delete(session);
    this.#joined
      .get(session.instance)
      ?.evict(CLOSE.superseded, 'superseded session: the worker has come back');
    this.#joined.set(session.instance, session);
    this.#options.onJoin(session);
  }

  #noteFailure(address: string, nowMs: number): void {
    const count = this.#recent(address, nowMs)?.count ?? 0;
    this.#failures.set(address, { count: count + 1, lastMs: nowMs });
  }

  #cooldownMs(address: string, nowMs: number): number {
    const numTooMany = (this.#recent(address, nowMs)?.count ?? 0) - MAX_FREE_FAILURES;
    return numTooMany < 0 ? 0 : Math.min(MAX_COOLDOWN_MS, FIRST_COOLDOWN_MS * 2 ** numTooMany);
  }

  #recent(address: string, nowMs: number): Failures | undefined {
    for (const [known, { lastMs }] of this.#failures) {
      if (nowMs - lastMs > FORGET_MS) this.#failures.delete(known);
    }
    return this.#failures.get(address);
  }
}
