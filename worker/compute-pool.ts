// The compute threads of a worker as one: divides the shards of a task among them, and
// adds up their partial sums.
import { Worker } from 'node:worker_threads';
import { shardsBetween } from '../src/engine/engine.ts';
import type { PartialSum, TaskRows } from '../src/engine/engine.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Model } from '../src/model/model.ts';
import { ReductionTree, maximalNodes, nodeKey } from '../src/tree.ts';
import type { ThreadMessage, ThreadSetup, WorkerTask } from './compute-thread.ts';

/** The result of one evaluation shard. */
export interface EvaluatedShard {
  readonly shard: number;
  readonly lossSum: number;
  /** Outputs, f32 [rows of the shard, evaluationWidth]. */
  readonly outputs: Float32Array;
}

/** The receivers of a task's results, as they are computed. */
export interface TaskReports {
  readonly onSum: (sum: PartialSum) => void;
  readonly onShard: (shard: EvaluatedShard) => void;
}

interface ActiveTask {
  readonly reports: TaskReports;
  /** Sums of threads that wait for a neighbour, a tree for each bucket; one thread needs none. */
  readonly trees: readonly ReductionTree<number>[] | undefined;
  readonly finalNodes: ReadonlySet<string>;
  readonly lossSums: Map<number, number>;
  readonly resolve: (computeMs: number) => void;
  readonly reject: (error: Error) => void;
  numRunning: number;
  computeMs: number;
}

/** The compute threads of one worker. They run one task at a time. */
export class ComputePool {
  readonly #model: Model;
  readonly #kernels: Kernels;
  readonly #threads: Worker[];
  #active: ActiveTask | undefined;
  /** Settles with the task that was given last. */
  #lastTask: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  private constructor(model: Model, kernels: Kernels, threads: Worker[]) {
    this.#model = model;
    this.#kernels = kernels;
    this.#threads = threads;
    for (const thread of threads) {
      thread.on('message', (message: ThreadMessage) => this.#receiveOrFail(message));
      thread.on('error', (error) => this.#fail(error));
      thread.on('exit', (code) => this.#fail(new Error(`a compute thread ended with code ${code}`)));
    }
  }

  /**
   * Starts all threads, or none: `kernels` is this thread's own instance, for
   * additions between threads.
   * @throws Error where one of them cannot start
   */
  static async start(
    setup: Omit<ThreadSetup, 'thread'>,
    model: Model,
    kernels: Kernels,
  ): Promise<ComputePool> {
    const program = new URL('./compute-thread.js', import.meta.url);
    const threads = Array.from(
      { length: setup.numThreads },
      (_, thread) => new Worker(program, { workerData: { ...setup, thread } satisfies ThreadSetup }),
    );
    try {
      await Promise.all(threads.map(started));
    } catch (error) {
      await Promise.all(threads.map((thread) => thread.terminate()));
      throw error;
    }
    return new ComputePool(model, kernels, threads);
  }

  get numThreads(): number {
    return this.#threads.length;
  }

  /** Runs a task. Resolves with the milliseconds of the slowest thread; rejects if a thread failed. */
  run(task: WorkerTask, reports: TaskReports): Promise<number> {
    const computeMs = this.#start(task, reports);
    this.#lastTask = computeMs.then(
      () => undefined,
      () => undefined,
    );
    return computeMs;
  }

  /**
   * Resolves once no task is running. None can be interrupted: its threads' reports would be
   * taken for the next one's.
   */
  whenIdle(): Promise<void> {
    return this.#lastTask;
  }

  #start(task: WorkerTask, reports: TaskReports): Promise<number> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#active) return Promise.reject(new Error('a task was given before the last one was done'));
    const { numShards, firstShard, bounds } = task.rows;
    const finalNodes = maximalNodes(firstShard, firstShard + bounds.length - 1, numShards);
    const hasNeighbours = this.#threads.length > 1 && task.kind === 'train';
    return new Promise((resolve, reject) => {
      this.#active = {
        reports,
        trees: hasNeighbours
          ? this.#model.buckets.map(() => new ReductionTree<number>(numShards))
          : undefined,
        finalNodes: new Set(finalNodes.map(nodeKey)),
        lossSums: new Map(),
        resolve,
        reject,
        numRunning: this.#threads.length,
        computeMs: 0,
      };
      this.#threads.forEach((thread, index) => {
        const rows = shareOf(task.rows, index, this.#threads.length);
        thread.postMessage({ ...task, rows } satisfies WorkerTask);
      });
    });
  }

  /** Ends the threads, in the middle of a kernel if need be. */
  async close(): Promise<void> {
    this.#failure ??= new Error('the compute threads were stopped');
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #receiveOrFail(message: ThreadMessage): void {
    try {
      this.#receive(message);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #receive(message: ThreadMessage): void {
    const active = this.#active;
    if (!active) return;
    switch (message.type) {
      case 'sum':
        return this.#takeSum(active, message.sum);
      case 'evaluated':
        return this.#reportShards(active, message);
      case 'done':
        if (message.lastSum) this.#takeSum(active, message.lastSum);
        active.computeMs = Math.max(active.computeMs, message.computeMs);
        active.numRunning--;
        if (active.numRunning > 0) return;
        this.#active = undefined;
        return active.resolve(active.computeMs);
      case 'failed':
        return this.#fail(new Error(message.message));
      case 'started':
        return;
      default:
        return message satisfies never;
    }
  }

  #takeSum(active: ActiveTask, sum: PartialSum): void {
    if (active.trees) this.#combine(active, sum);
    else active.reports.onSum(sum);
  }

  /** Adds a thread's sum to its neighbours', and reports what no other thread can add to. */
  #combine(active: ActiveTask, sum: PartialSum): void {
    const lastBucket = this.#model.buckets.length - 1;
    const length = this.#model.buckets[sum.bucket]?.length ?? 0;
    const added = active.trees?.[sum.bucket]?.add(sum.node, sum.address);
    if (!added) throw new Error('two threads computed the same shards');
    if (sum.lossSum !== undefined) active.lossSums.set(sum.address, sum.lossSum);
    const lossOf = (address: number): number => active.lossSums.get(address) as number;
    for (const { left, right } of added.merges) {
      this.#kernels.addInto(left, right, length);
      if (sum.bucket === lastBucket) active.lossSums.set(left, lossOf(left) + lossOf(right));
    }
    const { node, slot: address } = added;
    if (!active.finalNodes.has(nodeKey(node))) return;
    const lossSum = sum.bucket === lastBucket ? lossOf(address) : undefined;
    active.reports.onSum({ node, bucket: sum.bucket, address, lossSum });
  }

  #reportShards(active: ActiveTask, message: Extract<ThreadMessage, { type: 'evaluated' }>): void {
    const { firstShard, bounds, lossSums, outputs } = message;
    const width = outputs.length / (bounds[bounds.length - 1] as number);
    lossSums.forEach((lossSum, index) => {
      const [start, end] = [bounds[index] as number, bounds[index + 1] as number];
      active.reports.onShard({
        shard: firstShard + index,
        lossSum,
        outputs: outputs.subarray(start * width, end * width),
      });
    });
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#active?.reject(this.#failure);
    this.#active = undefined;
  }
}

/** Cuts rows into parts of whole shards that have at most `maxRows` rows, or are a single shard. */
export function* partsOf(rows: TaskRows, maxRows: number): Generator<TaskRows> {
  const { bounds } = rows;
  for (let from = 0; from < bounds.length - 1;) {
    let to = from + 1;
    while (to < bounds.length - 1 && rowsBetween(bounds, from, to + 1) <= maxRows) to++;
    yield shardsBetween(rows, from, to);
    from = to;
  }
}

/** The shards of thread `index`: neighbours, as even as whole shards allow, and perhaps none. */
function shareOf(rows: TaskRows, index: number, numThreads: number): TaskRows {
  const numShards = rows.bounds.length - 1;
  const from = Math.floor((numShards * index) / numThreads);
  const to = Math.floor((numShards * (index + 1)) / numThreads);
  return shardsBetween(rows, from, to);
}

function rowsBetween(bounds: Uint32Array, from: number, to: number): number {
  return (bounds[to] as number) - (bounds[from] as number);
}

function started(thread: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    thread.once('message', () => resolve());
    thread.once('error', reject);
    thread.once('exit', (code) => reject(new Error(`a compute thread ended with code ${code}`)));
  });
}
