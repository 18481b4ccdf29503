// Computing in the coordinator's own process, on one or more threads: no workers, no sockets, the
// same bits.
import { setImmediate, setTimeout } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { evaluationBounds } from '../../src/data/dataset/split.ts';
import { MAX_SHARDS } from '../../src/limits.ts';
import { ComputeThread } from '../../src/threads/compute-thread.ts';
import type { NodeSum, ThreadTask } from '../../src/threads/shared-task.ts';
import { layOutTeam, startThreads, watchThreads } from '../../src/threads/team.ts';
import { treeSum } from '../../src/tree.ts';
import { evaluationShardRows } from './compute.ts';
import type { Batch, Compute, Evaluation, StepResult } from './compute.ts';
import type { PreparedRun } from './prepare.ts';
import type { TrainingState } from './training-state.ts';

/** Time for the message of a thread that failed to arrive. */
const REPORT_MS = 200;

/** A `Compute` without workers. Its own thread computes too, and blocks while it does. */
export class InProcessCompute implements Compute {
  readonly numWorkers = 0;
  readonly #state: TrainingState;
  readonly #own: ComputeThread;
  readonly #threads: readonly Worker[];
  #packedVersion = -1;
  #failure: Error | undefined;

  private constructor(state: TrainingState, own: ComputeThread, threads: readonly Worker[]) {
    this.#state = state;
    this.#own = own;
    this.#threads = threads;
    watchThreads(threads, (error) => (this.#failure ??= error));
  }

  /** Starts `numThreads` - 1 threads. The state lives in the memory of the run. */
  static async create(
    prepared: PreparedRun,
    state: TrainingState,
    numThreads = 1,
  ): Promise<InProcessCompute> {
    const { loss, seed, batchSize } = prepared.config;
    const { layout, blob } = prepared.data.dataset;
    const optimizer = state.threadOptimizer;
    const setup = layOutTeam({ ...prepared, loss, seed, batchSize, layout, numThreads, optimizer });
    prepared.memory.bytes(setup.samples.address, blob.byteLength).set(blob);
    const own = await ComputeThread.create(setup, 0);
    return new InProcessCompute(state, own, await startThreads(setup, 1));
  }

  async trainStep({ indices, bounds, weight }: Batch): Promise<StepResult> {
    const state = this.#state;
    const { parameters, learningRate, step } = state;
    const rows = { numShards: bounds.length - 1, firstShard: 0, bounds, indices };
    const update = { parameters, learningRate, divisor: weight, numSamples: indices.length };
    const [whole] = await this.#run({ kind: 'train', step, rows, update });
    if (!whole) throw new Error('the threads computed no sum');
    state.takeStep(this.#own.shared, whole.address);
    // Other work of the process (signals, output) gets its turn once a step.
    await setImmediate();
    return { lossSum: whole.lossSum, ...state.commit() };
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
      const bounds = evaluationBounds(slice.length, shardRows);
      const rows = { numShards: bounds.length - 1, firstShard: 0, bounds, indices: slice };
      await this.#run({ kind: 'evaluate', step: 0, rows, update: undefined });
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
    const { parameters, version } = this.#state;
    const flatToPack = this.#packedVersion === version ? 0 : parameters;
    this.#packedVersion = version;
    const whole = { ...task, flatToPack };
    try {
      if (this.#threads.length > 0) this.#own.shared.give(whole);
      return this.#own.run(whole);
    } catch (error) {
      // The message of another thread is still in flight.
      await setTimeout(REPORT_MS);
      throw this.#failure ?? error;
    }
  }
}
