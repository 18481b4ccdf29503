// The workers of a cluster: all sessions that are ready, and those of them that take part. Carries
// out what the scheduler decides about a worker as such, whatever it computes, and tells the user.
import { LockstepError } from '../../src/errors.ts';
import type { Logger, LimitedLog } from '../../src/log.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import type {
  BannedWorker,
  EvictedWorker,
  MembershipDriver,
  RestCause,
  RestingWorker,
  Shortage,
  SlowWorker,
} from '../scheduler/outcome.ts';
import type { WorkerSession } from './worker-session.ts';

/** The logs and listeners that a membership reports to. */
export interface MembershipOptions {
  readonly log: Logger;
  /** Log for lines whose number workers decide. */
  readonly churn: LimitedLog;
  /** Advice for a user who lacks workers. */
  readonly joinHint: string;
  /** Longest time that the run waits for workers. */
  readonly waitMs: number;
  /** Called when a worker takes part from now on. */
  readonly onJoined?: ((session: WorkerSession) => void) | undefined;
  readonly onBanned?: ((worker: BannedWorker) => void) | undefined;
}

const REST_REASONS: Readonly<Record<RestCause, string>> = {
  vanishing: 'workers keep vanishing at the address',
  bans: 'a worker was banned at the address',
};

/** The membership of one cluster. */
export class Membership implements MembershipDriver {
  readonly #options: MembershipOptions;
  readonly #ready = new Map<number, WorkerSession>();
  readonly #admitted = new Map<number, WorkerSession>();
  #gathering: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  add(session: WorkerSession): void {
    this.#ready.set(session.id, session);
  }

  /** Removes a session that ended; returns false if it was not there. */
  remove(session: WorkerSession): boolean {
    this.#admitted.delete(session.id);
    return this.#ready.delete(session.id);
  }

  /** The session of a worker that takes part. */
  find(worker: number): WorkerSession | undefined {
    return this.#admitted.get(worker);
  }

  /**
   * Resolves when the scheduler says that the workers it requires are there; `ask`
   * tells it to require them.
   */
  gather(ask: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#gathering = { resolve, reject };
      ask();
    });
  }

  /** Rejects the current gathering, if there is one. */
  fail(error: Error): void {
    this.#gathering?.reject(error);
    this.#gathering = undefined;
  }

  /** Ends all sessions: for good if the run is over. */
  close(reason: string, isOver: boolean): void {
    for (const session of this.#ready.values()) session.finish(reason, isOver);
  }

  supersede(worker: number): void {
    this.#admitted.delete(worker);
    this.#ready.get(worker)?.evict(CLOSE.superseded, 'superseded session: the worker has come back');
  }

  /** Sends a process away, for good unless it may return. */
  ban(worker: BannedWorker): void {
    const { name, mayReturn, reason } = worker;
    const what = mayReturn ? 'and the workers below it are to work alone' : 'is banned';
    this.#options.log.error(`${name} ${what}: ${reason}`);
    try {
      // Events have the number by which people know it.
      this.#options.onBanned?.({
        ...worker,
        worker: this.#ready.get(worker.worker)?.number ?? worker.worker,
      });
    } finally {
      if (mayReturn) this.evict(worker);
      else this.refuse(worker);
    }
  }

  refuse({ worker, reason }: EvictedWorker): void {
    this.#admitted.delete(worker);
    this.#ready.get(worker)?.ban(reason);
  }

  evict({ worker, reason }: EvictedWorker): void {
    this.#ready.get(worker)?.evict(CLOSE.protocol, reason);
  }

  evictStuck(slow: SlowWorker): void {
    this.#ready.get(slow.worker)?.evict(CLOSE.stuck, takesLong(slow));
  }

  warnOverdue(slow: SlowWorker): void {
    const session = this.#ready.get(slow.worker);
    if (session) this.#options.log.warn(`${session.name} ${takesLong(slow)}`);
  }

  admit(worker: number): void {
    const session = this.#ready.get(worker);
    if (!session) return;
    this.#admitted.set(worker, session);
    this.#options.onJoined?.(session);
  }

  rest({ worker, restMs, cause }: RestingWorker): void {
    const session = this.#ready.get(worker);
    if (!session) return;
    const seconds = Math.ceil(restMs / 1000);
    const line = `${session.name} waits ${seconds} s: ${REST_REASONS[cause]} ${session.remoteAddress}`;
    this.#options.churn.write('warn', 'workers that have to wait', line);
  }

  /**
   * Says that the run waits for workers. Before its first round that is no news
   * until it has taken a while.
   */
  warnShortage({ have, need, waitedMs }: Shortage & { readonly waitedMs: number }, hasBegun: boolean): void {
    const { log, joinHint } = this.#options;
    const who = `${have} of ${need} workers`;
    if (waitedMs > 0) log.warn(`${who}, waiting for ${Math.round(waitedMs / 1000)} s: ${joinHint}`);
    else if (hasBegun) log.warn(`${who}, waiting`);
  }

  finishGathering(): void {
    this.#gathering?.resolve();
    this.#gathering = undefined;
  }

  /** The error that ends a run which has waited long enough. */
  starved({ have, need }: Shortage): LockstepError {
    const { joinHint, waitMs } = this.#options;
    const who = have === 0 ? 'no worker' : `only ${have} of ${need} workers`;
    return new LockstepError({
      category: 'noWorkers',
      code: 'E_NO_WORKERS',
      message: `${who} joined within ${Math.round(waitMs / 1000)} s`,
      help: joinHint,
    });
  }
}

function takesLong({ rows, owedMs }: Omit<SlowWorker, 'worker'>): string {
  return `has been computing ${rows} rows for ${Math.round(owedMs / 1000)} s`;
}
