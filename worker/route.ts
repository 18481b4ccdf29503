// The way of a worker to its place in the tree of workers. It begins at the coordinator, which may send
// it on to an aggregator, and that to another one; whatever goes wrong there leads back to the coordinator.
// Where there are several coordinators, one leads the run and the others stand by: each is asked in turn.
import type { LockstepError } from '../src/errors.ts';
import { ConnectError } from './connect-failure.ts';
import type { SessionEnd } from './session.ts';

/** Attempts to reach an aggregator before the coordinator is asked again. */
const MAX_ATTEMPTS = 5;
/** Attempts where it is there but not ready, some 0.6 s each: it may be loading a dataset of 2 GiB. */
const MAX_BUSY_ATTEMPTS = 200;
/** Times that a worker is sent on in a row: more than the deepest tree has levels. */
const MAX_REDIRECTS = 16;

/** The route of one worker. */
export class Route {
  readonly #coordinators: readonly string[];
  #place = 0;
  /** Coordinators that could not be reached since the last wait, and those of them that never will be. */
  #numFailed = 0;
  #numHopeless = 0;
  #aggregator: string | undefined;
  #unreachable: string | undefined;
  #numAttempts = 0;
  #numRedirects = 0;

  constructor(coordinators: readonly string[]) {
    this.#coordinators = coordinators;
  }

  /** The address to connect to. */
  get url(): string {
    return this.#aggregator ?? (this.#coordinators[this.#place] as string);
  }

  /** True on the way to an aggregator, or at it. */
  get isSentOn(): boolean {
    return this.#aggregator !== undefined;
  }

  /** The aggregator that this worker could not stay with, which the coordinator is to be told. */
  get unreachable(): string | undefined {
    return this.#unreachable;
  }

  /** True where others take over from a coordinator. */
  get hasStandbys(): boolean {
    return this.#coordinators.length > 1;
  }

  /** Takes note of a connection. */
  arrive(): void {
    this.#numFailed = 0;
    this.#numHopeless = 0;
  }

  /**
   * Leads to the next coordinator, since this one could not be reached; `isHopeless` if it never will be.
   * Returns what to do first: nothing, wait where all have been asked, or give up where all are hopeless.
   */
  leave(isHopeless: boolean): 'go' | 'wait' | 'giveUp' {
    const { length } = this.#coordinators;
    this.#turn();
    if (isHopeless) this.#numHopeless++;
    if (++this.#numFailed < length) return 'go';
    const isOver = this.#numHopeless === length;
    this.arrive();
    return isOver ? 'giveUp' : 'wait';
  }

  /** Follows the end of a session. Where a coordinator was lost, another may have taken over. */
  follow(end: SessionEnd): void {
    if (!this.isSentOn && end.kind === 'lost') this.#turn();
    if (end.url !== undefined && ++this.#numRedirects <= MAX_REDIRECTS) {
      this.#aggregator = end.url;
      this.#unreachable = undefined;
      this.#numAttempts = 0;
      return;
    }
    this.#goBack(end.tasksDone > 0 ? undefined : this.#aggregator);
  }

  /** Notes a failed attempt to reach an aggregator; returns true if the coordinator is to be asked next. */
  isGivenUp(error: LockstepError): boolean {
    if (!this.isSentOn) return false;
    const isRetryable = error instanceof ConnectError && error.isRetryable;
    const most = error.code === 'E_COORDINATOR_BUSY' ? MAX_BUSY_ATTEMPTS : MAX_ATTEMPTS;
    if (isRetryable && ++this.#numAttempts < most) return false;
    this.#goBack(this.#aggregator);
    return true;
  }

  #turn(): void {
    this.#place = (this.#place + 1) % this.#coordinators.length;
  }

  #goBack(unreachable: string | undefined): void {
    this.#aggregator = undefined;
    this.#unreachable = unreachable;
    this.#numRedirects = 0;
    this.#numAttempts = 0;
  }
}
