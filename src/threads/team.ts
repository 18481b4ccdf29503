// The start of the threads that compute together in one process: their memory, and the threads.
import { Worker } from 'node:worker_threads';
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import type { EnginePlan } from '../engine/plan.ts';
import { allocateSamples, evaluationWidth } from '../engine/samples.ts';
import type { KernelModule } from '../kernels/kernels.ts';
import type { LossInput } from '../losses/registry.ts';
import { MAX_SHARDS } from '../limits.ts';
import type { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { MAX_BODY_BYTES } from '../protocol/limits.ts';
import type { TeamSetup, ThreadOptimizer } from './compute-thread.ts';
import { SharedTask } from './shared-task.ts';
import type { SharedTaskSizes } from './shared-task.ts';
import type { ThreadMessage, ThreadResult, ThreadStart } from './thread-entry.ts';

/** Everything that a team is laid out from. */
export interface TeamOptions {
  readonly kernelModule: KernelModule;
  readonly memory: Memory;
  readonly model: Model;
  readonly loss: LossInput;
  readonly seed: number;
  readonly batchSize: number;
  readonly plan: EnginePlan;
  readonly layout: RowLayout;
  /** True where each task brings its rows. */
  readonly isStreamed?: boolean | undefined;
  readonly numThreads: number;
  readonly optimizer?: ThreadOptimizer | undefined;
}

/** Evaluated rows of each thread in one task: enough that meeting costs little. */
const EVALUATED_ROWS = 2_048;
/** Outputs of each thread in one task: two of the largest shards, since shares of whole shards are uneven. */
export const OUTPUT_BYTES_OF_THREAD = 2 * MAX_BODY_BYTES;

/** Memory of a second workspace, which must not be large beside the program itself. */
const MAX_SECOND_BYTES = 32 * 2 ** 20;
/** Sums of gradients that a task may hold at once: more than the nodes of any share of 64 shards. */
const SECOND_SUMS = 8;

/**
 * Memory of the workspace in which the thread that has a worker's socket computes short tasks; 0
 * where that would be too large, and the worker's one thread computes all.
 */
export function secondWorkspaceBytes({ bytes }: EnginePlan): number {
  const needed = bytes.activations + bytes.scratch + SECOND_SUMS * bytes.gradients;
  return needed <= MAX_SECOND_BYTES ? needed : 0;
}

/** Most rows of an evaluation that a team takes at a time; never less than one shard. */
function evaluatedRows(numThreads: number, width: number): number {
  return numThreads * Math.max(1, Math.min(EVALUATED_ROWS, Math.floor(OUTPUT_BYTES_OF_THREAD / (4 * width))));
}

/** The sizes of the largest task of a team. */
export function taskSizes({
  model,
  layout,
  loss,
  batchSize,
  numThreads,
}: Pick<TeamOptions, 'model' | 'layout' | 'loss' | 'batchSize' | 'numThreads'>): SharedTaskSizes {
  const width = evaluationWidth(model, layout, loss);
  const maxEvaluatedRows = evaluatedRows(numThreads, width);
  return {
    numThreads,
    maxRows: Math.max(batchSize, maxEvaluatedRows),
    maxEvaluatedRows,
    maxShards: MAX_SHARDS,
    numBlocks: model.blocks.length,
    evaluationWidth: width,
  };
}

/** Lays out the memory that the threads share; the caller fills `samples`, once or for each task. */
export function layOutTeam(options: TeamOptions): TeamSetup {
  const { kernelModule, memory, model, loss, seed, plan, layout, optimizer } = options;
  const sizes = taskSizes(options);
  return {
    kernelModule,
    memory: memory.wasm,
    modelSpec: model.spec,
    loss,
    seed,
    plan,
    packedWeights: model.stack.allocatePacked(memory),
    samples: allocateSamples(memory, layout, options.isStreamed ? sizes.maxRows : undefined),
    sizes,
    address: memory.allocate(SharedTask.byteLength(sizes), 'tasks of threads'),
    optimizer,
  };
}

/** Starts the threads from `first` on: all of them, or none. @throws Error where one cannot start */
export async function startThreads(setup: TeamSetup, first: number): Promise<Worker[]> {
  const program = new URL('./thread-entry.js', import.meta.url);
  const threads = Array.from({ length: setup.sizes.numThreads - first }, (_, index) => {
    return new Worker(program, { workerData: { setup, thread: first + index } satisfies ThreadStart });
  });
  try {
    await Promise.all(threads.map(started));
  } catch (error) {
    await Promise.all(threads.map((thread) => thread.terminate()));
    throw error;
  }
  return threads;
}

function started(thread: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    thread.once('message', () => resolve());
    onEnd(thread, reject);
  });
}

/** Tells of every failure of started threads, and of everything else that they say. */
export function watchThreads(
  threads: readonly Worker[],
  onFailure: (error: Error) => void,
  onResult?: (result: ThreadResult) => void,
): void {
  for (const thread of threads) {
    thread.on('message', (message: ThreadMessage) => {
      if (message.type === 'failed') onFailure(new Error(message.message));
      else if (message.type !== 'started') onResult?.(message);
    });
    onEnd(thread, onFailure);
  }
}

function onEnd(thread: Worker, onFailure: (error: Error) => void): void {
  thread.on('error', onFailure);
  thread.on('exit', (code) => onFailure(new Error(`a compute thread ended with code ${code}`)));
}
