// What a run takes of the memory of its processes, at most, and for how many sums of gradients that leaves room: said by
// --dry-run, refused while preparing where it is too much, and kept to by who hands out ranges.
import os from 'node:os';
import { MAX_QUEUED_SAVES } from '../src/checkpoint/save-queue.ts';
import type { Config } from '../src/config/schema.ts';
import { countOf } from '../src/data/data-error.ts';
import { blobByteLength } from '../src/data/dataset.ts';
import type { LoadedData } from '../src/data/load.ts';
import { evaluationWidth } from '../src/engine/evaluation.ts';
import type { EnginePlan } from '../src/engine/plan.ts';
import { LockstepError } from '../src/errors.ts';
import { MEMORY_LIMIT_BYTES, formatBytes } from '../src/memory.ts';
import type { Model } from '../src/model/model.ts';
import { optimizerBytes } from '../src/optimizer/optimizer.ts';
import { heightOf, mostEverHeld } from '../src/tree.ts';
import type { SumRoom } from './machine/events.ts';

/** What the plan depends on. */
export interface PlannedRun {
  readonly config: Config;
  readonly model: Model;
  readonly plan: EnginePlan;
  readonly data: LoadedData;
}

/** Bytes by what they are for. */
export type MemoryUses = Readonly<Record<string, number>>;

/** See the head of this file. */
export interface MemoryPlan {
  /** Of a worker with one thread, in all; undefined where there is none. */
  readonly worker: MemoryUses | undefined;
  /** In the WebAssembly memory of this process... */
  readonly here: MemoryUses;
  /** ...and beside it. */
  readonly beside: MemoryUses;
  readonly room: SumRoom;
  /** Sums that may have to wait in this process, where there is room for all of them. */
  readonly wantedSums: number;
}

/** Versions of the weights that wait for sockets: the current one, the next, and what a slow worker has not read. */
const QUEUED_VERSIONS = 3;
/** Of Node.js with this program, and of what it makes and throws away. */
const PROGRAM_BYTES = 224 * 2 ** 20;
/** Tables of kernels, ends of regions, rows of a pass, leaves of an evaluation while they are looked at. */
const SMALL_BYTES = 8 * 2 ** 20;

/**
 * Plans the memory of a run whose workers compute, or this process alone. @throws LockstepError (exit 2) where one
 * process needs more than WebAssembly can address
 */
export function planMemory(run: PlannedRun, computesHere: boolean): MemoryPlan {
  const state = stateUses(run);
  const beside = usesBeside(run);
  const numLeaves = Math.min(run.config.shards, run.config.batchSize);
  const engine = engineUses(run);
  if (computesHere) {
    // Its range is always the whole batch, which is one sum, but for those that wait between passes.
    const here = { ...state, ...engine, ...sumUses(run, 1 + sumsBetweenPasses(run, numLeaves)) };
    requireFit(
      'training in this process',
      here,
      'use fewer units or more shards, or give the work to workers',
    );
    return { worker: undefined, here, beside, room: { here: 0, ofRange: 0 }, wantedSums: 0 };
  }
  const weights = { 'weights of two versions': run.plan.bytes.weights };
  const { sums, ofRange } = workerSums(run, numLeaves, { ...weights, ...engine });
  const worker = { ...weights, ...engine, ...sumUses(run, sums) };
  requireFit('a worker', worker, 'use fewer units, more shards or a smaller dataset');
  const wantedSums = mostEverHeld(numLeaves);
  const numSums = Math.max(1, Math.min(wantedSums, roomBeside(run, state)));
  const here = { ...state, ...sumUses(run, numSums) };
  requireFit('the coordinator', here, 'use fewer units, or an optimizer that keeps less');
  const toBeSent = { 'weights to be sent': QUEUED_VERSIONS * run.plan.bytes.gradients };
  return {
    worker: { ...worker, 'Node.js': PROGRAM_BYTES },
    here,
    beside: { ...beside, ...toBeSent },
    room: { here: numSums, ofRange },
    wantedSums,
  };
}

/** Warns where the processes on this machine may take more memory than it has: the system would end one of them. */
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

/** What this process and its children may have: all of the machine, or what its container is given. */
function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(os.totalmem(), constrained) : os.totalmem();
}

/** Bytes of all. */
export function totalOf(uses: MemoryUses): number {
  return Object.values(uses).reduce((total, bytes) => total + bytes, 0);
}

/** Bytes of a checkpoint's tensors: the optimizer has parameters and state twice, a checkpoint once; and the best weights, and averaged ones. */
export function checkpointBytes({
  config,
  model: { numParameters },
}: Pick<PlannedRun, 'config' | 'model'>): number {
  return optimizerBytes(numParameters, config.optimizer) / 2 + (config.ema ? 2 : 1) * 4 * numParameters;
}

function stateUses({ config, model, plan }: PlannedRun): MemoryUses {
  return {
    'weights and optimizer state': optimizerBytes(model.numParameters, config.optimizer),
    'best weights': plan.bytes.gradients,
    ...(config.ema ? { 'averaged weights': plan.bytes.gradients } : {}),
  };
}

function usesBeside(run: PlannedRun): MemoryUses {
  const { config, data, model } = run;
  const { layout } = data.dataset;
  const rows = Math.max(data.splits.validation.length, data.splits.test.length);
  const copies = config.checkpoint ? MAX_QUEUED_SAVES * checkpointBytes(run) : 0;
  return {
    [`${MAX_QUEUED_SAVES} copies for checkpoints`]: copies,
    dataset: blobByteLength(layout),
    'the model when it is saved': run.plan.bytes.gradients,
    'outputs of an evaluation': 4 * rows * evaluationWidth(model, layout, config.loss),
    'Node.js': PROGRAM_BYTES,
  };
}

/** Of an engine with one thread, but for its weights and sums. */
function engineUses({ plan, data }: PlannedRun): MemoryUses {
  const { packedWeights, activations, scratch } = plan.bytes;
  return {
    'packed weights': packedWeights,
    activations,
    scratch,
    dataset: blobByteLength(data.dataset.layout),
  };
}

function sumUses({ plan }: PlannedRun, numSums: number): MemoryUses {
  return { [`${numSums} ${numSums === 1 ? 'sum' : 'sums'} of gradients`]: numSums * plan.bytes.gradients };
}

/** Whole sums of gradients that fit in a process beside these. */
function roomBeside({ plan }: PlannedRun, uses: MemoryUses): number {
  return Math.floor((MEMORY_LIMIT_BYTES - SMALL_BYTES - totalOf(uses)) / plan.bytes.gradients);
}

/** Sums that a worker has at once: what a range comes back as, all of which stay until it is done, and those between passes. */
function workerSums(run: PlannedRun, numLeaves: number, uses: MemoryUses): { sums: number; ofRange: number } {
  const waiting = sumsBetweenPasses(run, numLeaves);
  // From the second leaf to the last but one: two sums of each level below the two highest.
  const most = Math.max(1, 2 * heightOf(numLeaves) - 2);
  const ofRange = Math.max(1, Math.min(most, roomBeside(run, uses) - waiting));
  // A range of one sum is given out in any case; one of a single leaf has none that wait.
  return { sums: Math.max(1, Math.min(ofRange + waiting, roomBeside(run, uses))), ofRange };
}

/** Partial sums that wait for their neighbours while a subtree takes more passes than one. */
function sumsBetweenPasses({ plan }: PlannedRun, numLeaves: number): number {
  return Math.max(0, heightOf(numLeaves) - heightOf(plan.maxLeaves));
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
