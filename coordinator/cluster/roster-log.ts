// What a user hears of workers that come and go: a line of the log and an event for each,
// as long as there are few.
import type { Logger } from '../../src/log.ts';
import { LimitedLog } from '../../src/log.ts';
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

/** The log of one run's workers. */
export class RosterLog {
  /** Log for lines whose number workers decide. */
  readonly churn: LimitedLog;
  readonly #onEvent: (event: RosterEvent) => void;
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

  readonly joined = (session: WorkerSession): void => {
    this.#joined.add(session);
    const { id: worker, name, threads } = session;
    const isTold = this.churn.write('info', JOINED, `${name} joined with ${countOf(threads, 'thread')}`);
    if (isTold) this.#onEvent({ type: 'workerJoined', worker, name });
  };

  readonly banned = (worker: BannedWorker): void => {
    this.#onEvent({ type: 'workerBanned', ...worker });
  };

  gone(session: WorkerSession, { isPolite, reason }: SessionEnd): void {
    const { id: worker, name } = session;
    const hadJoined = this.#joined.delete(session);
    const kind = hadJoined ? LEFT : 'workers that did not join';
    const line = `${name} ${hadJoined ? 'left' : 'did not join'}: ${reason}`;
    const isTold = this.churn.write(isPolite ? 'info' : 'warn', kind, line);
    if (hadJoined && isTold) this.#onEvent({ type: 'workerLeft', worker, name, reason });
  }
}
