// One of the threads that compute a task together: it packs its share of the weights, takes its
// shards through the model, adds up its slice of the gradients and moves its slices of the
// parameters. No result depends on the number of threads.
import { Engine, shardsBetween } from '../engine/engine.ts';
import type { PartialSum, TaskRows } from '../engine/engine.ts';
import type { EnginePlan } from '../engine/plan.ts';
import type { Samples } from '../engine/samples.ts';
import { failpoint } from '../failpoint.ts';
import { instantiateKernels } from '../kernels/kernels.ts';
import type { KernelModule, Kernels } from '../kernels/kernels.ts';
import type { LossInput } from '../losses/registry.ts';
import { Memory, MEMORY_LIMIT_BYTES } from '../memory.ts';
import { GradientSums } from '../model/gradient-sums.ts';
import { resolveModel } from '../model/model.ts';
import type { Bucket, Model, ModelSpec } from '../model/model.ts';
import { clipScale, normOf, Optimizer } from '../optimizer/optimizer.ts';
import type { OptimizerVectors } from '../optimizer/optimizer.ts';
import type { OptimizerConfig } from '../optimizer/registry.ts';
import { span } from '../trace.ts';
import { ReductionTree, shareOf } from '../tree.ts';
import type { Merge } from '../tree.ts';
import { SharedTask } from './shared-task.ts';
import type { NodeSum, SharedStep, SharedTaskSizes, ThreadTask } from './shared-task.ts';

/** Everything that the threads of a process start from: what a message can carry. */
export interface TeamSetup {
  readonly kernelModule: KernelModule;
  readonly memory: WebAssembly.Memory;
  readonly modelSpec: ModelSpec;
  readonly loss: LossInput;
  readonly seed: number;
  readonly plan: EnginePlan;
  readonly packedWeights: readonly number[];
  readonly samples: Samples;
  /** Sizes and address of the task that the threads share. */
  readonly sizes: SharedTaskSizes;
  readonly address: number;
  /** The optimizer whose steps the threads take; undefined where somebody else takes them. */
  readonly optimizer: ThreadOptimizer | undefined;
}

/** An optimizer whose vectors all threads see. */
export interface ThreadOptimizer {
  readonly config: OptimizerConfig;
  readonly clipValue: number | undefined;
  readonly clipNorm: number | undefined;
  readonly vectors: OptimizerVectors;
}

/** f32 of a cache line: slices of vectors begin at multiples of it. */
const LINE_LENGTH = 16;

/** One thread of a team. */
export class ComputeThread {
  readonly shared: SharedTask;
  readonly setup: TeamSetup;
  readonly #thread: number;
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  readonly #model: Model;
  readonly #engine: Engine;
  readonly #sums: GradientSums;
  readonly #optimizer: Optimizer | undefined;
  /** Milliseconds of the current task on sums and on the optimizer's step. */
  #updatingMs = 0;

  private constructor(setup: TeamSetup, thread: number, kernels: Kernels) {
    const { optimizer, sizes } = setup;
    this.setup = setup;
    this.#thread = thread;
    this.#kernels = kernels;
    const memory = new Memory(setup.memory);
    const model = resolveModel(setup.modelSpec, setup.samples.layout.featureShape);
    this.#memory = memory;
    this.#model = model;
    this.shared = new SharedTask(memory, setup.address, sizes);
    this.#engine = new Engine({ ...setup, kernels, memory, model });
    this.#sums = new GradientSums(kernels, model, setup.plan.groups);
    this.#optimizer = optimizer && new Optimizer({ kernels, memory, model, ...optimizer });
  }

  static async create(setup: TeamSetup, thread: number): Promise<ComputeThread> {
    return new ComputeThread(setup, thread, await instantiateKernels(setup.kernelModule, setup.memory));
  }

  /**
   * Does this thread's share of a task, together with the others: returns the sums of a training
   * task once all are done. A thread that computes alone reports the sums of buckets while it
   * computes.
   * @throws Error if one of the threads fails
   */
  run(task: ThreadTask, report?: (sum: PartialSum) => void): readonly NodeSum[] {
    const [busyMs, waitingMs] = [this.#busyMs(), this.shared.waitingMs];
    this.#updatingMs = 0;
    try {
      if (task.flatToPack !== 0) this.#pack(task.flatToPack);
      const share = rowsOf(task.rows, this.#thread, task.numThreads);
      if (share.indices.length > 0) this.#meetFailpoint(task, share);
      const sums = task.kind === 'train' ? this.#train(task, share, report) : this.#evaluate(task, share);
      this.shared.meet();
      this.shared.addTimes(this.#thread, {
        computing: this.#busyMs() - busyMs - this.#updatingMs,
        updating: this.#updatingMs,
        waiting: this.shared.waitingMs - waitingMs,
      });
      return sums;
    } catch (error) {
      this.shared.fail(this.#thread);
      throw error;
    }
  }

  /** A clock that stands still while this thread waits for the others. */
  #busyMs(): number {
    return performance.now() - this.shared.waitingMs;
  }

  #pack(flat: number): void {
    const [kernels, memory] = [this.#kernels, this.#memory];
    const [packed, part, numParts] = [this.setup.packedWeights, this.#thread, this.shared.numThreads];
    const end = span('pack weights');
    this.#model.stack.pack({ kernels, memory, flat, packed, part, numParts });
    end();
    this.shared.meet();
  }

  /** Simulates a kernel bug, or faulty memory, by accessing an address where there is no memory. */
  #meetFailpoint({ kind, step }: ThreadTask, { indices }: TaskRows): void {
    const facts = { type: kind, step, row: indices, thread: this.#thread };
    if (failpoint('worker.thread', facts) === 'trap') this.#kernels.addInto(MEMORY_LIMIT_BYTES - 4, 0, 1);
  }

  #train(
    { rows, step, update }: ThreadTask,
    share: TaskRows,
    report?: (sum: PartialSum) => void,
  ): readonly NodeSum[] {
    const own: NodeSum[] = [];
    this.#engine.train(share, step, (sum) => {
      report?.(sum);
      // The last bucket lies at the start of the flat vector, and brings the loss.
      if (sum.lossSum !== undefined) own.push({ ...sum, lossSum: sum.lossSum });
    });
    const computedMs = this.#busyMs();
    const sums = this.shared.numThreads === 1 ? own : this.#addUp(own, rows.numShards);
    const [whole] = sums;
    if (update && this.#optimizer && whole) {
      this.shared.meet();
      this.#update(this.#optimizer, update, { step, sum: whole.address });
    }
    this.#updatingMs = this.#busyMs() - computedMs;
    return sums;
  }

  /** Adds up this thread's slice of all threads' sums; returns what they result in. */
  #addUp(own: readonly NodeSum[], numShards: number): readonly NodeSum[] {
    this.shared.setSums(this.#thread, own);
    this.shared.meet();
    const { merges, sums } = reduceSums(this.shared.sums(), numShards);
    const { numParameters } = this.#model;
    const lines = shareOf(Math.ceil(numParameters / LINE_LENGTH), this.#thread, this.shared.numThreads);
    const offset = LINE_LENGTH * lines.from;
    const length = Math.min(LINE_LENGTH * lines.to, numParameters) - offset;
    const end = span('add up gradients');
    for (const { left, right, node } of merges) {
      this.#sums.add(left + 4 * offset, right + 4 * offset, { node, numShards, offset, length });
    }
    end();
    return sums;
  }

  /** Takes items of the optimizer step while there are any: first norms of blocks, then slices of parameters. */
  #update(
    optimizer: Optimizer,
    { parameters, learningRate, divisor, numSamples }: SharedStep,
    { step, sum }: { readonly step: number; readonly sum: number },
  ): void {
    const { shared } = this;
    const { blocks } = this.#model;
    const { clipNorm } = this.setup.optimizer as ThreadOptimizer;
    const endStep = span('optimizer step');
    let item = shared.next();
    for (; item < blocks.length; item = shared.next()) {
      const squares = optimizer.sumSquares(item, sum + 4 * (blocks[item]?.offset ?? 0));
      shared.squares[item] = squares === undefined ? Number.NaN : squares / (divisor * divisor);
    }
    let scale = 1;
    let first = blocks.length;
    if (clipNorm !== undefined) {
      shared.meet();
      scale = clipScale(normOf(shared.squares), clipNorm);
      [item, first] = [shared.next(), 0];
    }
    optimizer.follow(parameters, step, learningRate);
    for (; item - first < optimizer.numSlices; item = shared.next()) {
      optimizer.applySlice(item - first, { sum, divisor, numSamples, scale });
    }
    endStep();
    shared.meet();
    const endFingerprints = span('fingerprints');
    for (item = shared.next(); item < blocks.length; item = shared.next()) {
      const { offset, length } = blocks[item] as Bucket;
      shared.fingerprints[item] = this.#kernels.fingerprint64(optimizer.nextParameters + 4 * offset, length);
    }
    endFingerprints();
  }

  #evaluate({ rows }: ThreadTask, share: TaskRows): readonly NodeSum[] {
    if (share.indices.length === 0) return [];
    const { lossSums, outputs } = this.#engine.evaluate(share);
    const firstShard = share.firstShard - rows.firstShard;
    this.shared.lossSums.set(lossSums, firstShard);
    const firstRow = rows.bounds[firstShard] as number;
    this.shared.outputs.set(outputs, firstRow * this.setup.sizes.evaluationWidth);
    return [];
  }
}

/** The additions that make a task's sums of those of its threads, and what they result in. */
export function reduceSums(
  sums: readonly NodeSum[],
  numShards: number,
): { readonly merges: readonly Merge<number>[]; readonly sums: readonly NodeSum[] } {
  const tree = new ReductionTree<number>(numShards);
  const merges: Merge<number>[] = [];
  const bySlot = new Map<number, NodeSum>();
  for (const sum of sums) {
    bySlot.set(sum.address, sum);
    const added = tree.add(sum.node, sum.address);
    if (!added) throw new Error('two threads computed the same shards');
    for (const merge of added.merges) {
      const { left, right } = merge;
      const [leftSum, rightSum] = [bySlot.get(left) as NodeSum, bySlot.get(right) as NodeSum];
      bySlot.set(left, { ...leftSum, lossSum: leftSum.lossSum + rightSum.lossSum });
      bySlot.delete(right);
      merges.push(merge);
    }
    bySlot.set(added.slot, { ...(bySlot.get(added.slot) as NodeSum), node: added.node });
  }
  return { merges, sums: [...bySlot.values()] };
}

/** The rows of a thread's share of the shards. */
function rowsOf(rows: TaskRows, thread: number, numThreads: number): TaskRows {
  if (numThreads === 1) return rows;
  const { from, to } = shareOf(rows.bounds.length - 1, thread, numThreads);
  return shardsBetween(rows, from, to);
}
