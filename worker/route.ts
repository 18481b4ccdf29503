// The way of a worker to its place in the tree of workers. It begins at the coordinator, which may send
// it on to an aggregator, and that to another one; whatever goes wrong there leads back to the coordinator.
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
  readonly #coordinator: string;
  #aggregator: string | undefined;
  #unreachable: string | undefined;
  #numAttempts = 0;
  #numRedirects = 0;

  constructor(coordinator: string) {
    this.#coordinator = coordinator;
  }

  /** The address to connect to. */
  get url(): string {
    return this.#aggregator ?? this.#coordinator;
  }

  /** True on the way to an aggregator, or at it. */
  get isSentOn(): boolean {
    return this.#aggregator !== undefined;
  }

  /** The aggregator that this worker could not stay with, which the coordinator is to be told. */
  get unreachable(): string | undefined {
    return this.#unreachable;
  }

  /** Follows the end of a session. */
  follow(end: SessionEnd): void {
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

  #goBack(unreachable: string | undefined): void {
    this.#aggregator = undefined;
    this.#unreachable = unreachable;
    this.#numRedirects = 0;
    this.#numAttempts = 0;
  }
}
