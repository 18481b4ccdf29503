// What a user hears of workers that come and go: a line of the log and an event for each,
// as long as there are few.
import type { Logger } from '../../src/log.ts';
import { LimitedLog } from '../../src/log.ts';
import { MAX_WORKERS } from '../../src/limits.ts';
import { countOf } from '../../src/printable.ts';
import type { BannedWorker } from '../scheduler/outcome.ts';
import type { SessionEnd, WorkerSession } from './worker-session.ts';

/** A change of the roster, for `events.jsonl`. */
export type RosterEvent =
  | {
      readonly type: 'workerJoined' | 'workerLeft';
      readonly worker: number;
      readonly name: string;
      readonly reason?: string;
    }
  /** Workers of which there were too many to be named. */
  | { readonly type: 'workersCameAndWent'; readonly joined: number; readonly left: number }
  /** An aggregator that was wrong may return, to work alone. */
  | ({ readonly type: 'workerBanned' } & BannedWorker);

/** Kinds of lines that are events too. */
const JOINED = 'workers that joined';
const LEFT = 'workers that left';
/** Processes whose numbers are remembered: four times as many as may be connected. */
const MAX_NUMBERED = 4 * MAX_WORKERS;

/** The log of one run's workers. */
export class RosterLog {
  /** Log for lines whose number workers decide. */
  readonly churn: LimitedLog;
  readonly #onEvent: (event: RosterEvent) => void;
  /** Numbers of processes, in the order in which they first came. */
  readonly #numbers = new Map<string, number>();
  #numNumbered = 0;
  /** Sessions that have taken part and not left yet. */
  readonly #joined = new Set<WorkerSession>();

  constructor(log: Logger, onEvent: (event: RosterEvent) => void) {
    this.#onEvent = onEvent;
    this.churn = new LimitedLog(log, (leftOut) =>
      onEvent({
        type: 'workersCameAndWent',
        joined: leftOut.get(JOINED) ?? 0,
        left: leftOut.get(LEFT) ?? 0,
      }),
    );
  }

  /** The number of a process, in all its sessions. */
  readonly numberOf = (instance: string): number => {
    const number = this.#numbers.get(instance) ?? ++this.#numNumbered;
    // The latest come last, so that those forgotten first have been away for longest.
    this.#numbers.delete(instance);
    this.#numbers.set(instance, number);
    const [oldest] = this.#numbers.keys();
    if (this.#numbers.size > MAX_NUMBERED) this.#numbers.delete(oldest as string);
    return number;
  };

  readonly joined = (session: WorkerSession): void => {
    this.#joined.add(session);
    const { number: worker, name, threads } = session;
    const isTold = this.churn.write('info', JOINED, `${name} joined with ${countOf(threads, 'thread')}`);
    if (isTold) this.#onEvent({ type: 'workerJoined', worker, name });
  };

  readonly banned = (worker: BannedWorker): void => {
    this.#onEvent({ type: 'workerBanned', ...worker });
  };

  gone(session: WorkerSession, { isPolite, reason }: SessionEnd): void {
    const { number: worker, name } = session;
    const hadJoined = this.#joined.delete(session);
    const kind = hadJoined ? LEFT : 'workers that did not join';
    const line = `${name} ${hadJoined ? 'left' : 'did not join'}: ${reason}`;
    const isTold = this.churn.write(isPolite ? 'info' : 'warn', kind, line);
    if (hadJoined && isTold) this.#onEvent({ type: 'workerLeft', worker, name, reason });
  }
}
