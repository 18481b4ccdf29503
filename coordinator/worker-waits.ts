// Waiting for workers: at the start for as many as were asked for, later for any at all. Each wait has a
// deadline, says what it waits for, and how to end it.
import { LockstepError } from '../src/errors.ts';
import type { Logger } from '../src/log.ts';

/** What a wait tells, and how long it lasts. */
export interface WaitOptions {
  readonly log: Logger;
  /** Longest time without enough workers before the run ends. */
  readonly waitForWorkersMs: number;
  /** What to tell a user whose run has no workers; asked when it is said, for the port is known only then. */
  readonly joinHint: () => string;
}

interface Waiter {
  readonly count: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

const FIRST_NOTE_MS = 10_000;
const NEXT_NOTE_MS = 30_000;

/** Follows the size of the roster. Times are monotonic milliseconds. */
export class WorkerWaits {
  readonly #options: WaitOptions;
  #numWorkers = 0;
  #waiters: Waiter[] = [];
  #emptySinceMs: number | undefined;
  #nextNoteMs = FIRST_NOTE_MS;

  constructor(options: WaitOptions, nowMs: number) {
    this.#options = options;
    this.#emptySinceMs = nowMs;
  }

  /** Resolves once `count` workers are there. @throws LockstepError (exit 7) when they do not come in time. */
  async waitFor(count: number): Promise<void> {
    if (this.#numWorkers >= count) return;
    const waiting = new Promise<void>((resolve, reject) => this.#waiters.push({ count, resolve, reject }));
    const timer = setTimeout(() => this.rejectAll(this.#starved(count)), this.#options.waitForWorkersMs);
    try {
      await waiting;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The number of workers has changed. */
  rosterChanged(numWorkers: number, nowMs: number): void {
    if (numWorkers === 0 && this.#numWorkers > 0) this.#nextNoteMs = FIRST_NOTE_MS;
    this.#emptySinceMs = numWorkers > 0 ? undefined : (this.#emptySinceMs ?? nowMs);
    this.#numWorkers = numWorkers;
    const isMet = (waiter: Waiter): boolean => waiter.count <= numWorkers;
    for (const waiter of this.#waiters.filter(isMet)) waiter.resolve();
    this.#waiters = this.#waiters.filter((waiter) => !isMet(waiter));
  }

  /** Now and then says that there are no workers; returns the error when that has lasted too long. */
  tick(nowMs: number): LockstepError | undefined {
    if (this.#emptySinceMs === undefined) return undefined;
    const { log, joinHint, waitForWorkersMs } = this.#options;
    const emptyMs = nowMs - this.#emptySinceMs;
    if (emptyMs >= waitForWorkersMs) return this.#starved(1);
    if (emptyMs >= this.#nextNoteMs) {
      this.#nextNoteMs += NEXT_NOTE_MS;
      log.warn(`waiting for workers (${Math.round(emptyMs / 1000)} s): ${joinHint()}`);
    }
    return undefined;
  }

  /** Ends every wait. */
  rejectAll(error: Error): void {
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters = [];
  }

  #starved(needed: number): LockstepError {
    const { joinHint, waitForWorkersMs } = this.#options;
    const who = needed === 1 ? 'no worker' : `only ${this.#numWorkers} of ${needed} workers`;
    return new LockstepError({
      category: 'noWorkers',
      code: 'E_NO_WORKERS',
      message: `${who} joined within ${Math.round(waitForWorkersMs / 1000)} s`,
      help: joinHint(),
    });
  }
}
