// A compute thread: one engine on the process's shared memory. Tasks come in, addresses of finished
// partial sums go out; the socket lives in another thread, so a long kernel never delays it.
import { parentPort, workerData } from 'node:worker_threads';
import { Engine } from '../src/engine/engine.ts';
import type { PartialSum, TaskRows } from '../src/engine/engine.ts';
import type { EnginePlan } from '../src/engine/plan.ts';
import type { Samples } from '../src/engine/samples.ts';
import { failpoint } from '../src/failpoint.ts';
import { instantiateKernels } from '../src/kernels/kernels.ts';
import { Memory, MEMORY_LIMIT_BYTES } from '../src/memory.ts';
import type { LossInput } from '../src/losses/registry.ts';
import { resolveModel } from '../src/model/model.ts';
import type { ModelSpec } from '../src/model/model.ts';

/** The start data of every thread of a process. */
export interface ThreadSetup {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly modelSpec: ModelSpec;
  readonly loss: LossInput;
  readonly seed: number;
  readonly plan: EnginePlan;
  /** Addresses of the packed weights. */
  readonly packedWeights: readonly number[];
  readonly samples: Samples;
  readonly thread: number;
  readonly numThreads: number;
  /** Address of two i32: arrivals and generation of the barrier after packing. */
  readonly barrier: number;
}

/** A task of a worker, or the share of one thread in it. */
export interface WorkerTask {
  readonly kind: 'train' | 'evaluate';
  /** Optimizer steps taken before; 0 for an evaluation. */
  readonly step: number;
  /** Flat weights to pack first, all threads together; undefined if the packed ones are current. */
  readonly flatToPack: number | undefined;
  /** No rows where there are fewer shards than threads: such a thread only helps to pack. */
  readonly rows: TaskRows;
}

export type ThreadMessage =
  | { readonly type: 'started' }
  | { readonly type: 'sum'; readonly sum: PartialSum }
  | {
      readonly type: 'evaluated';
      readonly firstShard: number;
      readonly bounds: Uint32Array;
      readonly lossSums: Float64Array;
      readonly outputs: Float32Array;
    }
  /** The last bucket comes with the end: waking the other thread costs as much as sending a small message. */
  | { readonly type: 'done'; readonly computeMs: number; readonly lastSum: PartialSum | undefined }
  | { readonly type: 'failed'; readonly message: string };

/** Threads pack in milliseconds; one that has not finished by then is presumed dead. */
const BARRIER_DEADLINE_MS = 60_000;

if (!parentPort) throw new Error('this file is the body of a worker thread');
const port = parentPort;
const post = (message: ThreadMessage, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);

const setup = workerData as ThreadSetup;
const memory = new Memory(setup.memory);
const kernels = await instantiateKernels(setup.module, setup.memory);
const model = resolveModel(setup.modelSpec, setup.samples.layout.featureShape);
const engine = new Engine({ ...setup, kernels, memory, model });
port.on('message', runTask);
post({ type: 'started' });

function runTask(task: WorkerTask): void {
  const startedMs = performance.now();
  try {
    const { flatToPack, kind, rows, step } = task;
    if (flatToPack !== undefined) packTogether(flatToPack);
    const hasRows = rows.indices.length > 0;
    if (hasRows) meetFailpoint(task);
    const lastSum = hasRows && kind === 'train' ? train(rows, step) : undefined;
    if (hasRows && kind === 'evaluate') evaluate(rows);
    post({ type: 'done', computeMs: performance.now() - startedMs, lastSum });
  } catch (error) {
    post({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}

/** Simulates a kernel bug, or faulty memory, by accessing an address where there is no memory. */
function meetFailpoint({ kind, rows, step }: WorkerTask): void {
  const facts = { type: kind, step, row: rows.indices, thread: setup.thread };
  if (failpoint('worker.thread', facts) === 'trap') kernels.addInto(MEMORY_LIMIT_BYTES - 4, 0, 1);
}

/** Posts the sums of all buckets but the last, which it returns. */
function train(rows: TaskRows, step: number): PartialSum | undefined {
  let previous: PartialSum | undefined;
  engine.train(rows, step, (sum) => {
    if (previous) post({ type: 'sum', sum: previous });
    previous = sum;
  });
  return previous;
}

function evaluate(rows: TaskRows): void {
  const { lossSums, outputs } = engine.evaluate(rows);
  const { firstShard, bounds } = rows;
  post({ type: 'evaluated', firstShard, bounds, lossSums, outputs }, [outputs.buffer as ArrayBuffer]);
}

/** Packs this thread's share of the panels, and waits until the others have packed theirs. */
function packTogether(flat: number): void {
  const { thread: part, numThreads: numParts, packedWeights: packed } = setup;
  model.stack.pack({ kernels, memory, flat, packed, part, numParts });
  const words = new Int32Array(setup.memory.buffer, setup.barrier, 2);
  const generation = Atomics.load(words, 1);
  if (Atomics.add(words, 0, 1) === setup.numThreads - 1) {
    Atomics.store(words, 0, 0);
    Atomics.add(words, 1, 1);
    Atomics.notify(words, 1);
  } else if (Atomics.wait(words, 1, generation, BARRIER_DEADLINE_MS) === 'timed-out') {
    throw new Error(
      `another compute thread has not packed its weights within ${BARRIER_DEADLINE_MS / 1000} s`,
    );
  }
}
