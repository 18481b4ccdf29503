// A worker and those below it as one cluster, which computes the tasks that the worker is given: its
// own threads get their share of the shards as everybody does. What comes of a task are the sums of
// its maximal nodes, so to the coordinator it looks like any worker.
import { LocalEngine } from '../src/engine/local-engine.ts';
import type { TaskRows } from '../src/engine/engine.ts';
import type { Logger } from '../src/log.ts';
import { MEMORY_LIMIT_BYTES } from '../src/memory.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { MAX_MEMBERS } from '../src/protocol/limits.ts';
import type { EvaluateMessage, TrainMessage } from '../src/protocol/message-types.ts';
import type { SharedFile } from '../src/protocol/shared-file.ts';
import { Cluster } from '../coordinator/cluster/cluster.ts';
import { refereeBytes } from '../coordinator/cluster/referee.ts';
import { RosterLog } from '../coordinator/cluster/roster-log.ts';
import { Round } from '../coordinator/cluster/round.ts';
import { OWN_WORKER } from '../coordinator/cluster/round-runner.ts';
import type { ComputeOwn } from '../coordinator/cluster/round-runner.ts';
import { createWeightsFile } from '../coordinator/cluster/shared-results.ts';
import { maxQueuedBytes, NO_DATASET, WorkerSession } from '../coordinator/cluster/worker-session.ts';
import type { SessionContext } from '../coordinator/cluster/worker-session.ts';
import type { AggregatedRun } from '../worker/aggregator.ts';
import type { TaskReports } from '../worker/compute-pool.ts';
import { TaskResults } from '../worker/task-results.ts';
import { CopiedWeights } from './copied-weights.ts';

/** The coordinator audits the sums of this worker, and so of all below it. */
const NO_AUDIT = { share: 0, random: () => 1 };

/** The cluster of one session. */
export class AggregatedCluster {
  readonly #run: AggregatedRun;
  readonly #weights: CopiedWeights;
  readonly #weightsFile: SharedFile | undefined;
  readonly #roster: RosterLog;
  readonly #cluster: Cluster;
  readonly #context: SessionContext;
  /** All sessions that are open, also those that are not ready. */
  readonly #sessions = new Set<WorkerSession>();
  /** The workers below each worker that is ready, by instance. */
  readonly #members = new Map<WorkerSession, readonly string[]>();
  #numSessions = OWN_WORKER;

  constructor(run: AggregatedRun, log: Logger) {
    this.#run = run;
    this.#weights = new CopiedWeights(run.replica);
    const { numParameters } = run.replica.model;
    this.#weightsFile = run.sharesMemory ? createWeightsFile(numParameters, log) : undefined;
    this.#roster = new RosterLog(log, () => undefined);
    this.#cluster = this.#createCluster(log);
    this.#context = this.#createContext();
    this.#cluster.addOwn(run.instance);
  }

  /** Workers that compute: this one, and those below it. */
  get numWorkers(): number {
    return this.#cluster.numWorkers;
  }

  /** Takes a worker. */
  admit(connection: Connection): void {
    this.#cluster.guard(() =>
      this.#sessions.add(new WorkerSession(++this.#numSessions, connection, this.#context)),
    );
  }

  /** Passes on a bucket of weights, if they are the next ones; others go to a worker with its next task. */
  passOnWeights(version: number, bucket: number): void {
    if (version === this.#weights.version + 1) this.#cluster.sendNextWeights(bucket);
  }

  /** Computes a part of a task; resolves with the milliseconds that took, also where it was abandoned. */
  async compute(
    message: TrainMessage | EvaluateMessage,
    rows: TaskRows,
    reports: TaskReports,
  ): Promise<number> {
    const startedMs = performance.now();
    let hasReported = false;
    this.#weights.use(message);
    const round = new Round(message.type, rows, {
      takeSum: (sum) => {
        hasReported = true;
        reports.onSum(sum);
        return [];
      },
      takeShard: (evaluated) => {
        hasReported = true;
        reports.onShard(evaluated);
      },
      restart: () => {
        if (hasReported) throw new Error('a worker below this one was wrong, in sums that are sent already');
      },
    });
    await this.#cluster.run(round);
    return performance.now() - startedMs;
  }

  /** Gives up what is being computed. */
  abandon(): void {
    this.#cluster.abandon();
  }

  /** Sends the workers away: for good if the run is over, else to where they came from. */
  close(reason: string, isOver: boolean): void {
    this.#cluster.fail(new Error(reason));
    void this.#cluster.close(reason, isOver);
    // The listener stays open, so nothing else would end those that are loading.
    for (const session of this.#sessions) session.finish(reason, isOver);
    this.#weightsFile?.close();
    this.#roster.churn.flush();
  }

  #createCluster(log: Logger): Cluster {
    const { replica, welcome } = this.#run;
    const { memory, model, plan } = replica;
    const numSums = Math.floor((MEMORY_LIMIT_BYTES - memory.usedBytes) / (4 * model.numParameters));
    const room = Math.max(1, numSums - 1);
    return new Cluster({
      run: welcome.run,
      state: this.#weights,
      weightsFile: this.#weightsFile,
      groups: plan.groups,
      fanIn: this.#run.fanIn,
      evaluationWidth: replica.evaluationWidth,
      log,
      churn: this.#roster.churn,
      minWorkers: 1,
      waitMs: Infinity,
      ownsWorkers: false,
      audit: NO_AUDIT,
      room: { here: room, ofTask: room },
      joinHint: 'they come by themselves',
      createEngine: () => this.#createEngine(),
      engineBytes: refereeBytes(plan, welcome),
      computeOwn: this.#computeOwn,
      onJoined: this.#roster.joined,
      onBanned: this.#roster.banned,
    });
  }

  /** Makes the engine that finds out who is wrong where workers differ. */
  #createEngine(): Promise<LocalEngine> {
    const { kernelModule, replica, welcome } = this.#run;
    const { batchSize, groups, isStreamed, loss, seed, shards } = welcome;
    const { dataset, model } = replica;
    return LocalEngine.create({
      kernelModule,
      model,
      loss,
      seed,
      dataset,
      isStreamed,
      batchSize,
      shards,
      groups,
    });
  }

  #createContext(): SessionContext {
    const { kernels, replica, welcome } = this.#run;
    const cluster = this.#cluster;
    return {
      kernels,
      dataset: welcome.isStreamed ? NO_DATASET : replica.dataset.blob,
      welcome,
      weightsFile: this.#weightsFile,
      placement: cluster.placement,
      maxQueuedBytes: maxQueuedBytes(replica.model.numParameters, welcome),
      guard: cluster.guard,
      banOf: (instance) => cluster.banOf(instance),
      numberOf: this.#roster.numberOf,
      onReady: (session) => {
        cluster.addWorker(session);
        this.#setMembers(session, []);
      },
      onMembers: (session, instances) => {
        cluster.setMembers(session, instances);
        this.#setMembers(session, instances);
      },
      onResult: (session, message, body) => cluster.receive(session, message, body),
      onGone: (session, end) => {
        this.#sessions.delete(session);
        this.#roster.gone(session, end);
        cluster.removeWorker(session);
        if (this.#members.delete(session)) this.#reportMembers();
      },
    };
  }

  #setMembers(session: WorkerSession, instances: readonly string[]): void {
    this.#members.set(session, instances);
    this.#reportMembers();
  }

  #reportMembers(): void {
    const all = [...this.#members].flatMap(([{ instance }, below]) => [instance, ...below]);
    this.#run.onMembers(all.slice(0, MAX_MEMBERS));
  }

  /** Computes a task with the threads of this process. */
  readonly #computeOwn: ComputeOwn = async (message, rows, { send, isWanted }) => {
    const { replica, welcome } = this.#run;
    const nothing = (): undefined => undefined;
    const results = new TaskResults({
      task: message,
      replica,
      worker: welcome.worker,
      send,
      flush: nothing,
      store: nothing,
      isKeepingUp: () => true,
    });
    // What an abandoned round left running comes first.
    await replica.whenIdle();
    let computeMs = 0;
    for (const part of replica.partsOf(message.type, rows)) {
      if (!isWanted() || replica.isSuperseded(message.version)) break;
      computeMs += await replica.compute(message, part, { reports: results, mayBlock: false });
    }
    results.finish(computeMs);
  };
}
