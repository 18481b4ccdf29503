// Computing in the coordinator's own process, on one or more threads: no workers, no sockets, the
// same bits.
import { setImmediate, setTimeout } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { rowSource } from '../../src/data/dataset/packed-dataset.ts';
import type { RowSource } from '../../src/data/dataset/packed-dataset.ts';
import { evaluationBounds, numBatches } from '../../src/data/dataset/split.ts';
import { wholeTask } from '../../src/engine/engine.ts';
import { placeRows } from '../../src/engine/samples.ts';
import { MAX_SHARDS } from '../../src/limits.ts';
import type { Logger } from '../../src/log.ts';
import { cutBatch } from '../../src/model/shards.ts';
import { countOf } from '../../src/printable.ts';
import { ComputeThread } from '../../src/threads/compute-thread.ts';
import type { NodeSum, ThreadTask, ThreadTimes } from '../../src/threads/shared-task.ts';
import { layOutTeam, startThreads, watchThreads } from '../../src/threads/team.ts';
import { span } from '../../src/trace.ts';
import '../../src/trace-file.ts';
import { treeSum } from '../../src/tree.ts';
import { evaluationShardRows } from './compute.ts';
import type { Batch, Compute, ComputeActivity, Evaluation, StepResult } from './compute.ts';
import { measureThreads } from './measure-threads.ts';
import type { StepTime } from './measure-threads.ts';
import type { PreparedRun } from './prepare.ts';
import type { TrainingState } from './training-state.ts';

/** Time for the message of a thread that failed to arrive. */
const REPORT_MS = 200;
/** A run that takes less on one thread is over before more of them, started and tried, would pay. */
const SHORT_RUN_MS = 1_000;
/** Steps of a run for each one that is tried before it. */
const STEPS_PER_TRIAL = 10;

/** A `Compute` without workers. Its own thread computes too, and blocks while it does. */
export class InProcessCompute implements Compute {
  readonly numWorkers = 0;
  readonly #state: TrainingState;
  readonly #own: ComputeThread;
  readonly #source: RowSource | undefined;
  #threads: readonly Worker[] = [];
  #packedVersion = -1;
  #failure: Error | undefined;

  private constructor(state: TrainingState, own: ComputeThread, source: RowSource | undefined) {
    this.#state = state;
    this.#own = own;
    this.#source = source;
  }

  /**
   * Starts the threads: as many as the run was planned for or, of those, as many as prove to be
   * fastest. The state lives in the memory of the run.
   */
  static async create(
    prepared: PreparedRun,
    state: TrainingState,
    { threads = 1, log }: { readonly threads?: number | 'auto'; readonly log?: Logger } = {},
  ): Promise<InProcessCompute> {
    const { loss, seed, batchSize } = prepared.config;
    const { layout, blob, file } = prepared.data.dataset;
    const optimizer = state.threadOptimizer;
    const isStreamed = file !== undefined;
    const numThreads = threads === 'auto' ? prepared.memoryPlan.threads : threads;
    const setup = layOutTeam({
      ...prepared,
      loss,
      seed,
      batchSize,
      layout,
      isStreamed,
      numThreads,
      optimizer,
    });
    if (!isStreamed) prepared.memory.bytes(setup.samples.address, blob.byteLength).set(blob);
    const source = rowSource(prepared.data.dataset);
    const compute = new InProcessCompute(state, await ComputeThread.create(setup, 0), source);
    if (threads === 'auto') await compute.#startFastest(prepared, log);
    else await compute.#startThreads();
    return compute;
  }

  /** Threads that compute. */
  get numThreads(): number {
    return 1 + this.#threads.length;
  }

  /** Milliseconds of all threads so far. */
  get times(): readonly ThreadTimes[] {
    return this.#own.shared.times();
  }

  activity(): ComputeActivity {
    return { workers: [], threads: this.times.slice(0, this.numThreads), step: undefined };
  }

  async #startThreads(): Promise<void> {
    this.#threads = await startThreads(this.#own.setup, 1);
    watchThreads(this.#threads, (error) => (this.#failure ??= error));
  }

  /** Starts as many threads as take the run's steps fastest, and says why. */
  async #startFastest(prepared: PreparedRun, log: Logger | undefined): Promise<void> {
    const { numThreads: mostThreads } = this.#own.setup.sizes;
    if (mostThreads === 1) return log?.info('computing on 1 thread');
    const { config, data } = prepared;
    const indices = data.splits.train.subarray(0, config.batchSize);
    const batch = { indices, bounds: cutBatch(indices.length, config), weight: indices.length };
    const timeStep = (numThreads: number): Promise<number> => this.#timeStep(batch, numThreads);
    const numSteps = config.epochs * numBatches(data.splits.train.length, config.batchSize);
    const coldMs = numSteps * (await timeStep(1));
    if (coldMs < SHORT_RUN_MS) {
      return log?.info('computing on 1 thread: the run is too short for more to pay');
    }
    await this.#startThreads();
    const maxSteps = Math.ceil(numSteps / STEPS_PER_TRIAL);
    const times = await measureThreads({ mostThreads, maxSteps, timeStep });
    const { numThreads } = times[0] as StepTime;
    const surplus = this.#threads.slice(numThreads - 1);
    this.#threads = this.#threads.slice(0, numThreads - 1);
    for (const thread of surplus) thread.removeAllListeners();
    await Promise.all(surplus.map((thread) => thread.terminate()));
    log?.info(`computing on ${describeTimes(times)}`);
  }

  /** Takes a step that leaves no trace; returns the milliseconds that it took. */
  async #timeStep(batch: Batch, numThreads: number): Promise<number> {
    const startedMs = performance.now();
    // Every step of the run has new weights to pack.
    this.#packedVersion = -1;
    await this.#takeStep(batch, numThreads);
    await setImmediate();
    return performance.now() - startedMs;
  }

  async trainStep(batch: Batch): Promise<StepResult> {
    const state = this.#state;
    const { lossSum, address } = await this.#takeStep(batch, this.numThreads);
    const end = span('commit');
    state.takeStep(this.#own.shared, address);
    const committed = state.commit();
    end();
    // Other work of the process (signals, output) gets its turn once a step.
    await setImmediate();
    return { lossSum, ...committed };
  }

  /** Computes the next weights and their fingerprints; nothing is committed. Returns the sum of gradients. */
  async #takeStep({ indices, bounds, weight }: Batch, numThreads: number): Promise<NodeSum> {
    const { parameters, learningRate, step } = this.#state;
    const rows = wholeTask(indices, bounds, this.#source);
    const update = { parameters, learningRate, divisor: weight, numSamples: indices.length };
    const [whole] = await this.#run({ kind: 'train', numThreads, step, rows, update });
    if (!whole) throw new Error('the threads computed no sum');
    return whole;
  }

  async evaluate(indices: Uint32Array): Promise<Evaluation> {
    const { shared, setup } = this.#own;
    const { evaluationWidth: width, maxEvaluatedRows } = setup.sizes;
    const shardRows = evaluationShardRows(width);
    const numShards = Math.floor(maxEvaluatedRows / shardRows);
    const maxRows = shardRows * Math.min(numShards, MAX_SHARDS);
    const outputs = new Float32Array(indices.length * width);
    const lossSums: number[] = [];
    for (let start = 0; start < indices.length; start += maxRows) {
      const slice = indices.subarray(start, start + maxRows);
      const rows = wholeTask(slice, evaluationBounds(slice.length, shardRows), this.#source);
      await this.#run({ kind: 'evaluate', numThreads: this.numThreads, step: 0, rows, update: undefined });
      outputs.set(shared.outputs.subarray(0, slice.length * width), start * width);
      lossSums.push(...shared.lossSums.subarray(0, rows.numShards));
    }
    return { lossSum: treeSum(lossSums), outputs };
  }

  weightsReplaced(): void {
    // Nobody else holds them.
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  /** Runs a task on all threads. @throws Error, by the thread that failed first */
  async #run(task: Omit<ThreadTask, 'flatToPack'>): Promise<readonly NodeSum[]> {
    if (this.#failure) throw this.#failure;
    const { memory, parameters, version } = this.#state;
    const flatToPack = this.#packedVersion === version ? 0 : parameters;
    this.#packedVersion = version;
    const rows = placeRows(memory, this.#own.setup.samples, task.rows);
    const whole = { ...task, rows, flatToPack };
    try {
      this.#own.shared.give(whole);
      return this.#own.run(whole);
    } catch (error) {
      // The message of another thread is still in flight.
      await setTimeout(REPORT_MS);
      throw this.#failure ?? error;
    }
  }
}

/** The times of steps, such as `2 threads: 2.13 ms a step, against 3.84 ms on 1`. */
function describeTimes(times: readonly StepTime[]): string {
  const [fastest, ...others] = times.map(
    ({ numThreads, stepMs }) => [numThreads, `${stepMs.toPrecision(3)} ms`] as const,
  );
  if (!fastest) return '';
  const against = others.map(([numThreads, stepMs]) => `${stepMs} on ${numThreads}`).join(', ');
  return `${countOf(fastest[0], 'thread')}: ${fastest[1]} a step (${against})`;
}
