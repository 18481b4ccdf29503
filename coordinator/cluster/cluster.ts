// Connected workers, of a coordinator or of an aggregator: sessions that come and go reach the scheduler,
// and rounds run on them.
import { countOf } from '../../src/printable.ts';
import { closeAll } from '../../src/close-all.ts';
import type { ResultMessage } from '../../src/protocol/message-types.ts';
import type { Body } from '../../src/protocol/shared-file.ts';
import type { ClusterActivity } from './activity.ts';
import { Membership } from './membership.ts';
import type { MembershipOptions } from './membership.ts';
import type { Round } from './round.ts';
import { Placement } from './placement.ts';
import { OWN_WORKER, RoundRunner } from './round-runner.ts';
import type { RoundCounters, RoundRunnerOptions } from './round-runner.ts';
import type { WorkerSession } from './worker-session.ts';

/** The parts and settings of a cluster. */
export interface ClusterOptions extends RoundRunnerOptions, MembershipOptions {
  /** True when the workers end with this process, and so have nobody to come back to. */
  readonly ownsWorkers: boolean;
}

/** Interval at which the scheduler looks at the clock: the precision of lateness. */
const TICK_MS = 50;

/** The cluster of one run. */
export class Cluster {
  readonly #options: ClusterOptions;
  readonly #members: Membership;
  readonly #runner: RoundRunner;
  /** The places of workers in a tree; undefined in a star, where all of them have theirs here. */
  readonly placement: Placement | undefined;
  readonly #ticker: NodeJS.Timeout;
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#members = new Membership(options);
    this.#runner = new RoundRunner(options, this.#members);
    this.placement = createPlacement(options, this.#runner);
    const tick = (): void => this.#runner.decide((scheduler, outcome) => scheduler.tick(outcome));
    this.#ticker = setInterval(() => this.guard(tick), TICK_MS);
  }

  get counters(): Readonly<RoundCounters> {
    return this.#runner.counters;
  }

  get activity(): ClusterActivity {
    return this.#runner.activity;
  }

  get numWorkers(): number {
    return this.#runner.numWorkers;
  }

  /**
   * Resolves once `count` workers take part.
   * @throws LockstepError (exit 7) when they do not come in time.
   */
  waitForWorkers(count: number): Promise<void> {
    if (this.#runner.fatal) return Promise.reject(this.#runner.fatal);
    return this.#members.gather(() =>
      this.#runner.decide((scheduler, outcome) => scheduler.requireWorkers(count, outcome)),
    );
  }

  /** The reason why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#runner.banOf(instance);
  }

  /** Notes the workers, by instance, that are below an aggregator now. */
  setMembers({ id: worker }: WorkerSession, members: readonly string[]): void {
    this.#runner.decide((scheduler, outcome) => scheduler.setMembers(worker, members, outcome));
  }

  /** Makes this process one of its own workers: it computes by `RoundRunnerOptions.computeOwn`. */
  addOwn(instance: string): void {
    this.#runner.decide((scheduler, outcome) =>
      scheduler.addSession({ worker: OWN_WORKER, instance, name: 'this worker', address: 'here' }, outcome),
    );
  }

  /** Takes a session that is ready. */
  addWorker(session: WorkerSession): void {
    const { id: worker, instance, name, remoteAddress: address } = session;
    this.#members.add(session);
    this.#runner.decide((scheduler, outcome) =>
      scheduler.addSession({ worker, instance, name, address }, outcome),
    );
  }

  /** Removes a session that ended: its unfinished shards go to others. */
  removeWorker(session: WorkerSession): void {
    if (!this.#members.remove(session)) return;
    this.#runner.dismiss(session);
    const { id: worker, hasAnswered } = session;
    this.#runner.decide((scheduler, outcome) => scheduler.removeSession(worker, hasAnswered, outcome));
  }

  /** Notes that the process of a worker ended for lack of memory. */
  noteOutOfMemory(instance: string): void {
    this.#runner.decide((scheduler, outcome) => scheduler.rounds.noteOutOfMemory(instance, outcome));
  }

  /** Handles a message about a task. */
  receive(session: WorkerSession, message: ResultMessage, body: Body): void {
    this.#runner.receive(session, message, body);
  }

  /**
   * Runs the handler of a socket, a timer or a process. Nobody there waits for what it throws, so
   * the current round fails with it, and the run ends as it does for any other reason.
   */
  readonly guard = (handle: () => void): void => {
    try {
      handle();
    } catch (error) {
      this.fail(error);
    }
  };

  /** Ends the current round and every later one. */
  fail(cause: unknown): void {
    this.#runner.fail(cause);
  }

  /** Resolves when the round is complete. */
  run(round: Round): Promise<void> {
    return this.#runner.run(round);
  }

  /** Gives up the round that is running, which then resolves: nobody waits for its results. */
  abandon(): void {
    this.#runner.abandonRound();
  }

  /** Sends all current weights to the workers that are at work. */
  broadcastWeights(): void {
    this.#runner.broadcastWeights();
  }

  /** Sends a bucket of the next weights to the workers that are at work. */
  sendNextWeights(bucket: number): void {
    this.#runner.sendNextWeights(bucket);
  }

  /** Makes `close` end something that belongs to the cluster, in the order of these calls. */
  onClose(closer: () => Promise<void>): void {
    this.#closers.push(closer);
  }

  /** Sends the workers away, after a round that is running has been ended by `fail`. */
  async close(reason: string, isOver: boolean): Promise<void> {
    clearInterval(this.#ticker);
    this.#runner.close();
    this.#members.close(reason, isOver || this.#options.ownsWorkers);
    await closeAll(this.#closers.splice(0));
  }
}

/** Makes the rules for the places of workers in a tree; undefined for a star. */
function createPlacement({ churn, fanIn }: ClusterOptions, runner: RoundRunner): Placement | undefined {
  if (fanIn === undefined) return undefined;
  return new Placement({
    fanIn,
    isDistrusted: (instance) => runner.isDistrusted(instance),
    onBeyond: () => {
      const line = `more than ${countOf(fanIn, 'worker')} connect here: none of them takes others (--listen)`;
      churn.write('warn', 'workers beyond the fan-in', line);
    },
  });
}
