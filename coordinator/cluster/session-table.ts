// The sessions that a cluster has: all that are ready, and those of them that take part. Carries out what the machine
// decides about a worker as such, whatever it computes.
import type { LimitedLog } from '../../src/limited-log.ts';
import type { Logger } from '../../src/log.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import type { MachineCommand } from '../scheduler/coordinator-machine.ts';
import type { RestCause } from '../scheduler/events.ts';
import type { WorkerSession } from './worker-session.ts';

/** A command about one session, which nobody else need know of. */
type SessionCommand = Extract<
  MachineCommand,
  { readonly type: 'evict' | 'overdue' | 'stuck' | 'rest' | 'supersede' | 'refuse' }
>;

const REST_REASONS: Readonly<Record<RestCause, string>> = {
  vanishing: 'workers vanish again and again that come from',
  bans: 'a worker was banned that came from',
};

/** See the head of this file. */
export class SessionTable {
  readonly #log: Logger;
  readonly #churn: LimitedLog;
  readonly #ready = new Map<number, WorkerSession>();
  readonly #admitted = new Map<number, WorkerSession>();

  constructor(log: Logger, churn: LimitedLog) {
    this.#log = log;
    this.#churn = churn;
  }

  get numAdmitted(): number {
    return this.#admitted.size;
  }

  add(session: WorkerSession): void {
    this.#ready.set(session.id, session);
  }

  /** Returns whether it was there. */
  remove(session: WorkerSession): boolean {
    this.#admitted.delete(session.id);
    return this.#ready.delete(session.id);
  }

  /** The session takes part from now on; undefined if it is gone. */
  admit(worker: number): WorkerSession | undefined {
    const session = this.#ready.get(worker);
    if (session) this.#admitted.set(worker, session);
    return session;
  }

  /** One that takes part. */
  find(worker: number): WorkerSession | undefined {
    return this.#admitted.get(worker);
  }

  /** Sends the process away for good. */
  ban(worker: number, reason: string): void {
    this.#admitted.delete(worker);
    this.#ready.get(worker)?.ban(reason);
  }

  /** Ends all: for good if the run is over. */
  finish(reason: string, isOver: boolean): void {
    for (const session of this.#ready.values()) session.finish(reason, isOver);
  }

  carryOut(command: SessionCommand): void {
    const session = this.#ready.get(command.worker);
    if (!session) return;
    switch (command.type) {
      case 'evict':
        return session.evict(CLOSE.protocol, command.reason);
      case 'overdue':
        return this.#log.warn(`${session.name} ${takesLong(command)}`);
      case 'stuck':
        return session.evict(CLOSE.stuck, takesLong(command));
      case 'rest': {
        const { name, remoteAddress } = session;
        const seconds = Math.ceil(command.restMs / 1000);
        const line = `${name} waits ${seconds} s: ${REST_REASONS[command.cause]} ${remoteAddress}`;
        this.#churn.write('warn', 'workers that have to wait', line);
        return;
      }
      case 'supersede':
        this.#admitted.delete(command.worker);
        return session.evict(CLOSE.superseded, 'superseded session: the worker has come back');
      case 'refuse':
        return this.ban(command.worker, command.reason);
      default:
        return command satisfies never;
    }
  }
}

function takesLong({ rows, owedMs }: { readonly rows: number; readonly owedMs: number }): string {
  return `has been at ${rows} rows for ${Math.round(owedMs / 1000)} s`;
}
