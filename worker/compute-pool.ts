// The compute threads of a worker as one: gives them a task, and reports what they result in.
import { setImmediate } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import type { EvaluatedShard, PartialSum } from '../src/engine/engine.ts';
import { Memory, MEMORY_LIMIT_BYTES } from '../src/memory.ts';
import type { Model } from '../src/model/model.ts';
import { ComputeThread, reduceSums } from '../src/threads/compute-thread.ts';
import type { TeamSetup } from '../src/threads/compute-thread.ts';
import { SharedTask } from '../src/threads/shared-task.ts';
import type { ThreadTask } from '../src/threads/shared-task.ts';
import { secondWorkspaceBytes, startThreads, watchThreads } from '../src/threads/team.ts';
import type { ThreadResult } from '../src/threads/thread-entry.ts';
import { flushTrace } from '../src/trace-file.ts';

/** A task of a worker, whose coordinator takes the optimizer step. */
export interface WorkerTask extends Omit<ThreadTask, 'update' | 'numThreads'> {
  /** True where the thread that has the sockets has nothing to do meanwhile. */
  readonly mayBlock: boolean;
}

/** The receivers of a task's results, as they are computed. */
export interface TaskReports {
  readonly onSum: (sum: PartialSum) => void;
  readonly onShard: (shard: EvaluatedShard) => void;
}

interface ActiveTask {
  readonly task: WorkerTask;
  readonly reports: TaskReports;
  readonly resolve: (computeMs: number) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A task that is expected to take less than this is computed by the thread that has the socket. To
 * wake another thread and to be woken by it takes up to 1 ms on a virtual machine; and so long no
 * ping is answered.
 */
const SHORT_TASK_MS = 25;

/** The compute threads of one worker, or the one that has its socket. They run one task at a time. */
export class ComputePool {
  readonly #setup: TeamSetup;
  readonly #model: Model;
  readonly #shared: SharedTask;
  readonly #evaluationWidth: number;
  readonly #threads: readonly Worker[];
  readonly #mayComputeHere: boolean;
  /** Milliseconds of a row in the last task of each kind. */
  readonly #rowMs = { train: Infinity, evaluate: Infinity };
  /** This thread as one that computes, once a task has proved to be short. */
  #own: Promise<ComputeThread | undefined> | undefined;
  /** Settles when the socket has had its turn since this thread computed. */
  #turn: Promise<void> = Promise.resolve();
  #active: ActiveTask | undefined;
  /** Settles with the task that was given last. */
  #lastTask: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  private constructor(setup: TeamSetup, model: Model, threads: readonly Worker[]) {
    this.#setup = setup;
    this.#model = model;
    this.#shared = new SharedTask(new Memory(setup.memory), setup.address, setup.sizes);
    this.#evaluationWidth = setup.sizes.evaluationWidth;
    this.#threads = threads;
    // Several threads have to be woken in any case.
    this.#mayComputeHere =
      threads.length === 0 || (threads.length === 1 && secondWorkspaceBytes(setup.plan) > 0);
    watchThreads(
      threads,
      (error) => this.#fail(error),
      (result) => this.#receiveOrFail(result),
    );
  }

  /**
   * Starts all threads, or none; none at all where this thread `computesHere`.
   * @throws Error where one of them cannot start
   */
  static async start(setup: TeamSetup, model: Model, computesHere: boolean): Promise<ComputePool> {
    const pool = new ComputePool(setup, model, computesHere ? [] : await startThreads(setup, 0));
    if (computesHere) await (pool.#own = ComputeThread.create(setup, 0));
    return pool;
  }

  /** Runs a task. Resolves with the milliseconds that it took; rejects if a thread failed. */
  run(task: WorkerTask, reports: TaskReports): Promise<number> {
    const computeMs = this.#isShort(task) ? this.#computeHere(task, reports) : this.#start(task, reports);
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

  #isShort({ kind, mayBlock, rows }: WorkerTask): boolean {
    if (this.#threads.length === 0) return true;
    return mayBlock && this.#mayComputeHere && rows.indices.length * this.#rowMs[kind] < SHORT_TASK_MS;
  }

  async #computeHere(task: WorkerTask, reports: TaskReports): Promise<number> {
    const own = await (this.#own ??= this.#createOwn());
    if (!own) return this.#start(task, reports);
    await this.#turn;
    if (this.#failure) throw this.#failure;
    this.#turn = setImmediate();
    const startedMs = performance.now();
    try {
      own.run({ ...task, numThreads: 1, update: undefined }, reports.onSum);
    } catch (error) {
      this.#fail(asError(error));
      throw error;
    }
    flushTrace();
    const computeMs = performance.now() - startedMs;
    if (task.kind === 'evaluate') this.#reportShards({ task, reports });
    return this.#noteSpeed(task, computeMs);
  }

  /** Lays out a workspace for this thread; undefined where memory does not suffice. */
  async #createOwn(): Promise<ComputeThread | undefined> {
    const freeBytes = MEMORY_LIMIT_BYTES - new Memory(this.#setup.memory).usedBytes;
    // The sums of the other thread's tasks may still grow by as much.
    if (freeBytes < 2 * secondWorkspaceBytes(this.#setup.plan)) return undefined;
    return ComputeThread.create(this.#setup, 0).catch(() => undefined);
  }

  #noteSpeed({ kind, rows }: WorkerTask, computeMs: number): number {
    this.#rowMs[kind] = computeMs / rows.indices.length;
    return computeMs;
  }

  #start(task: WorkerTask, reports: TaskReports): Promise<number> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#active) return Promise.reject(new Error('a task was given before the last one was done'));
    return new Promise((resolve, reject) => {
      this.#active = { task, reports, resolve, reject };
      this.#shared.give({ ...task, numThreads: this.#threads.length, update: undefined });
    });
  }

  /** Ends the threads, in the middle of a kernel if need be. */
  async close(): Promise<void> {
    this.#failure ??= new Error('the compute threads were stopped');
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #receiveOrFail(result: ThreadResult): void {
    try {
      this.#receive(result);
    } catch (error) {
      this.#fail(asError(error));
    }
  }

  #receive(result: ThreadResult): void {
    const active = this.#active;
    if (!active) return;
    if (result.type === 'sum') return active.reports.onSum(result.sum);
    if (result.lastSum) active.reports.onSum(result.lastSum);
    else if (active.task.kind === 'train') this.#reportSums(active);
    else this.#reportShards(active);
    this.#active = undefined;
    active.resolve(this.#noteSpeed(active.task, result.computeMs));
  }

  /** Reports the sums of several threads, which they have added up: last layers first. */
  #reportSums({ task, reports }: ActiveTask): void {
    const { buckets } = this.#model;
    for (const { node, address, lossSum } of reduceSums(this.#shared.sums(), task.rows.numShards).sums) {
      buckets.forEach(({ offset }, bucket) => {
        const isLast = bucket === buckets.length - 1;
        const sum = { node, bucket, address: address + 4 * offset, lossSum: isLast ? lossSum : undefined };
        reports.onSum(sum);
      });
    }
  }

  #reportShards({ task, reports }: Pick<ActiveTask, 'task' | 'reports'>): void {
    const { firstShard, bounds } = task.rows;
    for (let shard = 0; shard + 1 < bounds.length; shard++) {
      const [start, end] = [bounds[shard] as number, bounds[shard + 1] as number];
      const width = this.#evaluationWidth;
      const outputs = this.#shared.outputs.subarray(start * width, end * width);
      const lossSum = this.#shared.lossSums[shard] as number;
      reports.onShard({ shard: firstShard + shard, lossSum, outputs });
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#active?.reject(this.#failure);
    this.#active = undefined;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
