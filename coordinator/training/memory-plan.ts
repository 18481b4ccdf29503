// What a run takes of the memory of its processes, at most, and for how many sums of gradients
// that leaves room: said by --dry-run, refused while preparing where it is too much, and kept
// to by who hands out tasks.
import os from 'node:os';
import { MAX_QUEUED_SAVES } from '../../src/checkpoint/save-queue.ts';
import type { Config } from '../../src/config/schema.ts';
import { blobByteLength } from '../../src/data/dataset/packed-dataset.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { evaluationWidth, heldLayout, streamedRoundBytes } from '../../src/engine/samples.ts';
import type { EnginePlan } from '../../src/engine/plan.ts';
import { LockstepError } from '../../src/errors.ts';
import { MAX_THREADS } from '../../src/limits.ts';
import { formatBytes, MEMORY_LIMIT_BYTES } from '../../src/memory.ts';
import type { Model } from '../../src/model/model.ts';
import { optimizerBytes } from '../../src/optimizer/optimizer.ts';
import { MAX_UNREAD_BYTES } from '../../src/protocol/limits.ts';
import { SharedTask } from '../../src/threads/shared-task.ts';
import { OUTPUT_BYTES_OF_THREAD, secondWorkspaceBytes, taskSizes } from '../../src/threads/team.ts';
import { heightOf, maximalNodes, mostEverHeld, shareOf } from '../../src/tree.ts';
import type { SumRoom } from '../scheduler/outcome.ts';
import { countOf } from '../../src/printable.ts';

/** The parts of a run that the plan depends on. */
export interface PlannedRun {
  readonly config: Config;
  readonly model: Model;
  readonly plan: EnginePlan;
  readonly data: LoadedData;
}

/** The workers on this machine; 0 for this process alone. */
export interface LocalCompute {
  readonly workers: number;
  /** Compute threads of each worker; in this process `auto` is as many as may pay and fit. */
  readonly threads: number | 'auto';
}

/** Bytes by what they are for. */
export type MemoryUses = Readonly<Record<string, number>>;

/** The memory that a run's processes take at most, in bytes. */
export interface MemoryPlan {
  /** Memory of a worker with this many threads; undefined where there is none. */
  readonly worker: MemoryUses | undefined;
  readonly threads: number;
  /** Memory in WebAssembly of this process... */
  readonly here: MemoryUses;
  /** ...and beside it. */
  readonly beside: MemoryUses;
  readonly room: SumRoom;
  /** Sums that may have to wait in this process, where there is room for all of them. */
  readonly wantedSums: number;
}

/**
 * Versions of the weights that wait for sockets: the current one, the next, and what a
 * slow worker has not read.
 */
const QUEUED_VERSIONS = 3;
/** Memory of Node.js with this program, garbage included. */
const PROGRAM_BYTES = 224 * 2 ** 20;
/**
 * Tables of kernels, ends of regions, rows of a microbatch, shards of an evaluation
 * while they are looked at.
 */
const SMALL_BYTES = 8 * 2 ** 20;

/**
 * Plans the memory of a run; workers that join over the network are taken to have one thread.
 * @throws LockstepError (exit 2) where one process needs more than WebAssembly can address
 */
export function planMemory(run: PlannedRun, local?: LocalCompute): MemoryPlan {
  if (local?.workers === 0) return planHere(run, local.threads);
  const threads = local && local.threads !== 'auto' ? local.threads : 1;
  const state = stateUses(run);
  const numShards = shardsOf(run);
  const engine = engineUses(run, threads);
  const weights = { 'weights of two versions': run.plan.bytes.weights };
  const { sums, ofTask } = workerSums(run, threads, { ...weights, ...engine });
  const isAlone = threads === 1;
  const second = isAlone ? { 'a second workspace': secondWorkspaceBytes(run.plan) } : {};
  const worker = { ...weights, ...engine, ...sumUses(run, sums), ...second };
  requireFit(
    isAlone ? 'a worker' : `a worker with ${threads} threads`,
    worker,
    `use ${isAlone ? '' : 'fewer --threads, '}fewer units, more shards or a smaller dataset`,
  );
  const wantedSums = mostEverHeld(numShards);
  const numSums = Math.max(1, Math.min(wantedSums, roomBeside(run, state)));
  const here = { ...state, ...sumUses(run, numSums) };
  requireFit('the coordinator', here, 'use fewer units, or an optimizer that keeps less');
  const toBeSent = {
    'weights to be sent': QUEUED_VERSIONS * run.plan.bytes.gradients,
    'weights in shared memory': run.plan.bytes.weights,
    ...streamedUses(run),
  };
  return {
    worker: {
      ...worker,
      ...resultUses(run, threads, sums),
      ...streamedUses(run),
      'Node.js': PROGRAM_BYTES,
    },
    threads,
    here,
    beside: { ...usesBeside(run), ...toBeSent },
    room: { here: numSums, ofTask },
    wantedSums,
  };
}

/** The plan of a run that computes in this process; `auto` threads are as many as there are cores, if they fit. */
function planHere(run: PlannedRun, threads: number | 'auto'): MemoryPlan {
  const beside = usesBeside(run);
  const most = threads === 'auto' ? Math.min(os.availableParallelism(), MAX_THREADS, shardsOf(run)) : threads;
  const planOf = (count: number): MemoryPlan => {
    const sums = sumUses(run, sumsOfThreads(run, shardsOf(run), count));
    const here = { ...stateUses(run), ...engineUses(run, count), ...sums };
    const room = { here: 0, ofTask: 0 };
    return { worker: undefined, threads: count, here, beside, room, wantedSums: 0 };
  };
  let plan = planOf(most);
  while (threads === 'auto' && plan.threads > 1 && !fitsHere(plan)) plan = planOf(plan.threads - 1);
  requireFit(
    plan.threads === 1 ? 'training in this process' : `training with ${most} threads in this process`,
    plan.here,
    `use ${plan.threads === 1 ? '' : 'fewer --threads, '}fewer units or more shards, or give the work to workers`,
  );
  return plan;
}

/** Tells whether WebAssembly can address a plan's memory, and the machine has it. */
function fitsHere({ here, beside }: MemoryPlan): boolean {
  const total = totalOf(here);
  return total + SMALL_BYTES <= MEMORY_LIMIT_BYTES && total + totalOf(beside) <= machineBytes();
}

/**
 * Warns where the processes on this machine may take more memory than it has: the
 * system would end one of them.
 */
export function warnOfMemory(
  { worker, here, beside }: MemoryPlan,
  localWorkers: number,
  warn: (message: string) => void,
): void {
  const own = totalOf(here) + totalOf(beside);
  const ofWorker = worker ? totalOf(worker) : 0;
  const total = own + localWorkers * ofWorker;
  const machine = machineBytes();
  if (total <= machine) return;
  const parts = localWorkers
    ? ` (${formatBytes(own)} here, ${formatBytes(ofWorker)} in each of ${countOf(localWorkers, 'worker')})`
    : '';
  const less = localWorkers > 1 ? 'fewer --workers or fewer units' : 'fewer units';
  warn(
    `the run may need up to ${formatBytes(total)} of memory${parts}, but this machine has ${formatBytes(machine)}: if that runs out, the system swaps or kills a process; ${less} would need less`,
  );
}

/**
 * The memory that this process and its children may use: all of the machine's, or
 * what its container is given.
 */
function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(os.totalmem(), constrained) : os.totalmem();
}

/** Bytes of all. */
export function totalOf(uses: MemoryUses): number {
  return Object.values(uses).reduce((total, bytes) => total + bytes, 0);
}

/**
 * Bytes of a checkpoint's tensors: the optimizer has parameters and state twice, a checkpoint once;
 * and the best weights, and averaged ones.
 */
export function checkpointBytes({
  config,
  model: { numParameters },
}: Pick<PlannedRun, 'config' | 'model'>): number {
  return optimizerBytes(numParameters, config.optimizer) / 2 + (config.ema ? 2 : 1) * 4 * numParameters;
}

/** The number of shards of the largest batch. */
function shardsOf({ config }: PlannedRun): number {
  return Math.min(config.shards, config.batchSize);
}

function stateUses({ config, model, plan }: PlannedRun): MemoryUses {
  return {
    'weights and optimizer state': optimizerBytes(model.numParameters, config.optimizer),
    'best weights': plan.bytes.gradients,
    ...(model.buckets !== model.blocks ? { 'a gathered gradient': plan.bytes.gradients } : {}),
    ...(config.ema ? { 'averaged weights': plan.bytes.gradients } : {}),
  };
}

function usesBeside(run: PlannedRun): MemoryUses {
  const { config, data } = run;
  const copies = config.checkpoint ? MAX_QUEUED_SAVES * checkpointBytes(run) : 0;
  return {
    [`${MAX_QUEUED_SAVES} copies for checkpoints`]: copies,
    dataset: data.dataset.blob.byteLength,
    'the model when it is saved': run.plan.bytes.gradients,
    'outputs of an evaluation': outputBytes(run),
    'Node.js': PROGRAM_BYTES,
  };
}

/** Memory for the outputs of the largest evaluation. */
function outputBytes({ config, data, model }: PlannedRun): number {
  const { dataset, splits } = data;
  const rows = Math.max(splits.validation.length, splits.test.length);
  return 4 * rows * evaluationWidth(model, dataset.layout, config.loss);
}

/**
 * Memory for results that wait for a coordinator slow to read, in files and in messages, and for
 * outputs copied into messages meanwhile.
 */
function resultUses(run: PlannedRun, threads: number, numSums: number): MemoryUses {
  const outputs = outputBytes(run);
  const waiting = Math.min(MAX_UNREAD_BYTES, Math.max(outputs, numSums * run.plan.bytes.gradients));
  return {
    'results in shared memory': waiting,
    'results to be sent': waiting + 2 * Math.min(outputs, threads * OUTPUT_BYTES_OF_THREAD),
  };
}

/** Memory of the engines of a process, without their weights and sums. */
function engineUses({ config, model, plan, data }: PlannedRun, threads: number): MemoryUses {
  const { packedWeights, activations, scratch } = plan.bytes;
  const { file, layout } = data.dataset;
  const sizes = taskSizes({ ...config, model, layout, numThreads: threads });
  return {
    'packed weights': packedWeights,
    activations: threads * activations,
    scratch: threads * scratch,
    'the task of the threads': SharedTask.byteLength(sizes),
    dataset: blobByteLength(heldLayout(layout, file && sizes.maxRows)),
  };
}

/** Memory for rows of a streamed dataset that wait for a socket, or for their turn in a worker. */
function streamedUses({ config, data: { dataset } }: PlannedRun): MemoryUses {
  if (!dataset.file) return {};
  return { 'streamed rows': 2 * streamedRoundBytes(dataset.layout, config.batchSize) };
}

function sumUses({ plan }: PlannedRun, numSums: number): MemoryUses {
  return { [`${numSums} ${numSums === 1 ? 'sum' : 'sums'} of gradients`]: numSums * plan.bytes.gradients };
}

/** Whole sums of gradients that fit in a process beside these. */
function roomBeside({ plan }: PlannedRun, uses: MemoryUses): number {
  return Math.floor((MEMORY_LIMIT_BYTES - SMALL_BYTES - totalOf(uses)) / plan.bytes.gradients);
}

/**
 * Sums that a worker has at once: what the shares of its threads in a task come back as, all of
 * which stay until it is done, and those between microbatches.
 */
function workerSums(run: PlannedRun, threads: number, uses: MemoryUses): { sums: number; ofTask: number } {
  const numShards = shardsOf(run);
  const waiting = sumsBetweenMicrobatches(run, numShards);
  const numSharing = Math.min(threads, numShards);
  const roomOfThread = Math.floor(roomBeside(run, uses) / numSharing);
  // From the second shard to the last but one: two sums of each level below the two highest.
  const most = Math.max(1, 2 * heightOf(numShards) - 2);
  const ofTask = Math.max(1, Math.min(most, roomOfThread - waiting));
  // A task of one sum is given out in any case; one of a single shard has none that wait.
  return { sums: numSharing * Math.max(1, Math.min(ofTask + waiting, roomOfThread)), ofTask };
}

/** Sums that threads have at once which share a whole batch: those of their shares, and those between microbatches. */
function sumsOfThreads(run: PlannedRun, numShards: number, threads: number): number {
  const waiting = sumsBetweenMicrobatches(run, numShards);
  let sums = 0;
  for (let thread = 0; thread < threads; thread++) {
    const { from, to } = shareOf(numShards, thread, threads);
    if (from < to) sums += maximalNodes(from, to, numShards).length + waiting;
  }
  return sums;
}

/** Partial sums that wait for their neighbours while a subtree takes more than one microbatch. */
function sumsBetweenMicrobatches({ plan }: PlannedRun, numShards: number): number {
  return Math.max(0, heightOf(numShards) - heightOf(plan.maxShards));
}

function requireFit(who: string, uses: MemoryUses, help: string): void {
  const total = totalOf(uses) + SMALL_BYTES;
  if (total <= MEMORY_LIMIT_BYTES) return;
  const parts = Object.entries(uses).map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  throw new LockstepError({
    category: 'usage',
    code: 'E_TOO_LARGE',
    message: `${who} needs ${formatBytes(total)} (${parts.join(', ')}); WebAssembly can address 4 GiB`,
    help,
  });
}
