// A worker that takes workers of its own, as its session sees that: a session gives it the tasks and
// the weights that it gets, and sends on the sums that come of them.
import type { TaskRows } from '../src/engine/engine.ts';
import type { KernelModule } from '../src/kernels/kernels.ts';
import type {
  EvaluateMessage,
  HelloMessage,
  KernelIdentity,
  TrainMessage,
  WelcomeMessage,
} from '../src/protocol/message-types.ts';
import type { TaskReports } from './compute-pool.ts';
import type { Replica } from './replica.ts';

/** Everything that a session knows of its run. */
export interface AggregatedRun {
  readonly welcome: WelcomeMessage;
  /** Workers that may be taken before others are sent on. */
  readonly fanIn: number;
  readonly kernelModule: KernelModule;
  readonly kernels: KernelIdentity;
  /** Loaded; it outlives `close`. */
  readonly replica: Replica;
  /** The identity of this process. */
  readonly instance: string;
  /** Uses files in memory for workers of this machine. */
  readonly sharesMemory: boolean;
  /** Called with all workers below this one, by instance, whenever they have changed. */
  readonly onMembers: (instances: readonly string[]) => void;
}

/** The workers below this one. */
export interface Aggregator {
  /** The port at which they connect. */
  readonly listen: NonNullable<HelloMessage['listen']>;
  /** Workers that compute: this one, and those below it. */
  readonly numWorkers: number;
  /** Takes workers for a run, until `close`. */
  open(run: AggregatedRun): void;
  /** Passes on a bucket of weights that the replica has stored. */
  passOnWeights(version: number, bucket: number): void;
  /**
   * Computes a part of a task together with the workers below; resolves with the milliseconds that
   * took, also where it was abandoned.
   * @throws Error where it cannot be computed
   */
  compute(message: TrainMessage | EvaluateMessage, rows: TaskRows, reports: TaskReports): Promise<number>;
  /** Gives up what is being computed: nobody waits for it. */
  abandon(): void;
  /** Sends the workers away: for good if the run is over, else to where they came from. */
  close(reason: string, isOver: boolean): void;
}
