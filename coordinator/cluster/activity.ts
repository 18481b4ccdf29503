// What the workers of a cluster have been doing, for people who watch: counters of each, and the times of
// the latest training step's tasks. Noted as messages come and go, at the cost of a few additions each.
import type { StepTask, StepTimeline, WorkerActivity } from '../training/compute.ts';

/** The facts of a session that are shown. */
interface Member {
  readonly id: number;
  readonly number: number;
  readonly name: string;
  readonly remoteAddress: string;
  readonly threads: number;
  readonly sharesMemory: boolean;
}

type Counters = {
  -readonly [
    Key in 'tasks' | 'shards' | 'computeMs' | 'bytesReceived' | 'bytesSent' | 'failures'
  ]: WorkerActivity[Key];
};
type Timed = { -readonly [Key in keyof StepTask]: StepTask[Key] };

interface TimedStep {
  readonly step: number;
  readonly beganMs: number;
  readonly tasks: Timed[];
}

/** The books of one cluster's workers. Times are those of `performance.now()`. */
export class ClusterActivity {
  readonly #workers = new Map<number, { readonly member: Member; readonly counters: Counters }>();
  /** Tasks that workers have not reported on, by number; a report may come when the round is over. */
  readonly #open = new Map<number, Timed>();
  #current: TimedStep | undefined;
  #latest: StepTimeline | undefined;

  /** Workers that have been given work and are still there. */
  get workers(): WorkerActivity[] {
    return [...this.#workers.values()].map(({ member, counters }) => {
      const { number: worker, name, remoteAddress: address, threads, sharesMemory } = member;
      return { worker, name, address, threads, sharesMemory, ...counters };
    });
  }

  /** The latest step that is complete. */
  get latestStep(): StepTimeline | undefined {
    return this.#latest;
  }

  /** A round begins, or restarts; undefined for one that is no step. */
  begin(step: number | undefined): void {
    this.#current = step === undefined ? undefined : { step, beganMs: performance.now(), tasks: [] };
  }

  /** The round is over. */
  complete(): void {
    const current = this.#current;
    this.#current = undefined;
    if (!current) return;
    const { step, beganMs, tasks } = current;
    this.#latest = { step, wallMs: performance.now() - beganMs, tasks };
  }

  sent(
    member: Member,
    task: { readonly id: number; readonly from: number; readonly to: number },
    bytes: number,
  ): void {
    const { id: session, number: worker } = member;
    const { counters } = this.#workers.get(session) ?? { counters: noCounters() };
    this.#workers.set(session, { member, counters });
    counters.bytesSent += bytes;
    const { from, to, id } = task;
    const timed: Timed = { worker, from, to, sentMs: this.#elapsedMs() };
    this.#open.set(id, timed);
    this.#current?.tasks.push(timed);
  }

  /** Counts weights that were sent to all who are at work, by equal shares: nearly all lack the same. */
  supplied(session: number, bytes: number): void {
    const found = this.#workers.get(session);
    if (found) found.counters.bytesSent += bytes;
  }

  /** Counts the body of a message. */
  received(session: number, bytes: number): void {
    const found = this.#workers.get(session);
    if (found) found.counters.bytesReceived += bytes;
  }

  /** A partial sum of a task of the current step has arrived. */
  sumArrived(task: number): void {
    const timed = this.#open.get(task);
    if (!timed || !this.#current) return;
    timed.lastSumMs = this.#elapsedMs();
    timed.firstSumMs ??= timed.lastSumMs;
  }

  finished(
    session: number,
    { task, computeMs }: { readonly task: number; readonly computeMs: number },
  ): void {
    const timed = this.#close(task);
    const found = this.#workers.get(session);
    if (!found || !timed) return;
    found.counters.tasks++;
    found.counters.shards += timed.to - timed.from;
    found.counters.computeMs += computeMs;
    timed.computeMs = computeMs;
  }

  failed(session: number, task: number): void {
    this.#close(task);
    const found = this.#workers.get(session);
    if (found) found.counters.failures++;
  }

  leave(session: number): void {
    const worker = this.#workers.get(session)?.member.number;
    this.#workers.delete(session);
    for (const [task, timed] of this.#open) if (timed.worker === worker) this.#open.delete(task);
  }

  #close(task: number): Timed | undefined {
    const timed = this.#open.get(task);
    this.#open.delete(task);
    return timed;
  }

  #elapsedMs(): number {
    return this.#current ? performance.now() - this.#current.beganMs : 0;
  }
}

function noCounters(): Counters {
  return { tasks: 0, shards: 0, computeMs: 0, bytesReceived: 0, bytesSent: 0, failures: 0 };
}
