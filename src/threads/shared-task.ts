// The memory by which the threads of a process compute one task together: words on which they meet,
// the task itself, and what each thread contributes. It lies in their WebAssembly memory, so that a
// task costs no message.
import type { TaskRows } from '../engine/engine.ts';
import type { Memory } from '../memory.ts';
import { span } from '../trace.ts';
import type { TreeNode } from '../tree.ts';

/** The largest task, and the threads that share it. */
export interface SharedTaskSizes {
  readonly numThreads: number;
  readonly maxRows: number;
  /** Most of those rows if they are evaluated. */
  readonly maxEvaluatedRows: number;
  readonly maxShards: number;
  readonly numBlocks: number;
  /** f32 that result from each evaluated row. */
  readonly evaluationWidth: number;
}

/** An optimizer step, which the threads take once they have summed the gradients. */
export interface SharedStep {
  /** Address of the parameters to move. */
  readonly parameters: number;
  readonly learningRate: number;
  /** Divisor of the sum of gradients: the total weight of the samples. */
  readonly divisor: number;
  /** Divisor of sums of statistics. */
  readonly numSamples: number;
}

/** A task for the first `numThreads` threads of a process. */
export interface ThreadTask {
  readonly kind: 'train' | 'evaluate';
  readonly numThreads: number;
  /** Optimizer steps taken before; 0 for an evaluation. */
  readonly step: number;
  /** Address of the flat weights to pack first; 0 if the packed ones are current. */
  readonly flatToPack: number;
  readonly rows: TaskRows;
  /** Undefined where somebody else takes the step. */
  readonly update: SharedStep | undefined;
}

/** The sums of gradients and losses over a node's shards. */
export interface NodeSum {
  readonly node: TreeNode;
  /** Address of the flat f32 sum of gradients. */
  readonly address: number;
  readonly lossSum: number;
}

/** Milliseconds that a thread has spent on tasks so far. */
export interface ThreadTimes {
  /** Packing weights; forward and backward passes. */
  readonly computing: number;
  /** Adding up gradients, and taking the optimizer's steps. */
  readonly updating: number;
  /** Waiting for the other threads. */
  readonly waiting: number;
}

/** Indices of words, each of which has a cache line of 64 bytes to itself. */
const [TASK, ARRIVED, MEETINGS, FAILED, NEXT] = [0, 16, 32, 48, 64] as const;
/**
 * The lowest bits of the word TASK hold the number of threads less one, at most `MAX_THREADS`; those
 * above count tasks. So a thread that is left out looks at nothing that the next task may change.
 */
const THREAD_BITS = 8;
const THREAD_MASK = 2 ** THREAD_BITS - 1;
const NUM_WORDS = 80;
const NUM_FIELDS = 11;
/** Numbers of a sum: level, index, address, loss. */
const SUM_FIELDS = 4;
/** Numbers of a `ThreadTimes`. */
const TIME_FIELDS = 3;
/** Maximal nodes of neighbouring shards: at most two of each level of a tree of 1,024. */
const MAX_SUMS = 22;
/** Looks at a word before a thread sleeps: about as long as waking it takes. */
const NUM_SPINS = 4_000;
/** Longest time that one thread may take for its share while the others wait. */
const MEETING_DEADLINE_MS = 600_000;

/** One thread's view of the task that the threads of a process share. Methods that wait block it. */
export class SharedTask {
  #numThreads: number;
  readonly #words: Int32Array;
  readonly #fields: Float64Array;
  readonly #sums: Float64Array;
  readonly #times: Float64Array;
  readonly #bounds: Uint32Array;
  readonly #indices: Uint32Array;
  /** The word TASK when this thread looked at it last. */
  #seen = 0;
  #waitingMs = 0;
  /** Sums of squares of a training task's gradient, by block; NaN where it is not finite. */
  readonly squares: Float64Array;
  /** Fingerprints of the next parameters, by block. */
  readonly fingerprints: BigUint64Array;
  /** f64 sums of losses of an evaluation's shards. */
  readonly lossSums: Float64Array;
  /** f32 [rows, evaluationWidth] of an evaluation. */
  readonly outputs: Float32Array;

  /** Takes `byteLength(sizes)` bytes at `address`, which were zero when the first thread came. */
  constructor(memory: Memory, address: number, sizes: SharedTaskSizes) {
    const { numThreads, maxRows, maxShards, numBlocks } = sizes;
    const { buffer } = memory.wasm;
    this.#numThreads = numThreads;
    this.#words = new Int32Array(buffer, address, NUM_WORDS);
    let end = address + 4 * NUM_WORDS;
    const take = (byteLength: number): number => (end += byteLength) - byteLength;
    const numSums = numThreads * (1 + MAX_SUMS * SUM_FIELDS);
    const numTimes = numThreads * TIME_FIELDS;
    this.#fields = new Float64Array(buffer, take(8 * NUM_FIELDS), NUM_FIELDS);
    this.#sums = new Float64Array(buffer, take(8 * numSums), numSums);
    this.#times = new Float64Array(buffer, take(8 * numTimes), numTimes);
    this.squares = new Float64Array(buffer, take(8 * numBlocks), numBlocks);
    this.fingerprints = new BigUint64Array(buffer, take(8 * numBlocks), numBlocks);
    this.lossSums = new Float64Array(buffer, take(8 * maxShards), maxShards);
    this.#bounds = new Uint32Array(buffer, take(4 * (maxShards + 1)), maxShards + 1);
    this.#indices = new Uint32Array(buffer, take(4 * maxRows), maxRows);
    this.outputs = new Float32Array(buffer, end, numOutputs(sizes));
  }

  /** Threads of the task that this thread was given, or gave, last; at first all. */
  get numThreads(): number {
    return this.#numThreads;
  }

  static byteLength(sizes: SharedTaskSizes): number {
    const { numThreads, maxRows, maxShards, numBlocks } = sizes;
    const ofThread = 1 + MAX_SUMS * SUM_FIELDS + TIME_FIELDS;
    const numbers = NUM_FIELDS + numThreads * ofThread + 2 * numBlocks + maxShards;
    return 4 * NUM_WORDS + 8 * numbers + 4 * (maxShards + 1 + maxRows + numOutputs(sizes));
  }

  /** Gives the threads a task; the last one must be done. */
  give({ kind, numThreads, step, flatToPack, rows, update }: ThreadTask): void {
    const { numShards, firstShard, bounds, indices } = rows;
    const isUpdate = update ? 1 : 0;
    const { parameters = 0, learningRate = 0, divisor = 0, numSamples = 0 } = update ?? {};
    this.#fields.set([kind === 'train' ? 1 : 0, step, flatToPack, numShards, firstShard]);
    this.#fields.set([bounds.length, isUpdate, parameters, learningRate, divisor, numSamples], 5);
    this.#bounds.set(bounds);
    this.#indices.set(indices);
    this.#numThreads = numThreads;
    const numTasks = (Atomics.load(this.#words, TASK) >> THREAD_BITS) + 1;
    Atomics.store(this.#words, TASK, (numTasks << THREAD_BITS) | (numThreads - 1));
    Atomics.notify(this.#words, TASK);
  }

  /** Waits for the next task of this thread. Without a deadline: it has nothing else to do. */
  awaitTask(thread: number): ThreadTask {
    do {
      this.#await(TASK, this.#seen, Infinity);
      this.#seen = Atomics.load(this.#words, TASK);
    } while (thread > (this.#seen & THREAD_MASK));
    this.#numThreads = (this.#seen & THREAD_MASK) + 1;
    return this.#task();
  }

  #task(): ThreadTask {
    const [train, step, flatToPack, numShards, firstShard] = this.#fields as unknown as number[];
    const [length, isUpdate, parameters, learningRate, divisor, numSamples] = this.#fields.subarray(
      5,
    ) as unknown as number[];
    const bounds = this.#bounds.slice(0, length);
    const indices = this.#indices.slice(0, bounds[bounds.length - 1]);
    const rows = { numShards, firstShard, bounds, indices } as TaskRows;
    const update = { parameters, learningRate, divisor, numSamples } as SharedStep;
    return {
      kind: train ? 'train' : 'evaluate',
      numThreads: this.#numThreads,
      step: step as number,
      flatToPack: flatToPack as number,
      rows,
      update: isUpdate ? update : undefined,
    };
  }

  /** Waits until all threads of the task have come here. @throws Error if one of them failed, or has not come in time */
  meet(): void {
    const words = this.#words;
    const numMeetings = Atomics.load(words, MEETINGS);
    this.#requireSound();
    if (Atomics.add(words, ARRIVED, 1) === this.#numThreads - 1) {
      Atomics.store(words, ARRIVED, 0);
      Atomics.store(words, NEXT, 0);
      Atomics.add(words, MEETINGS, 1);
      Atomics.notify(words, MEETINGS);
    } else {
      const sinceMs = performance.now();
      const end = span('wait for other threads');
      if (!this.#await(MEETINGS, numMeetings, MEETING_DEADLINE_MS)) {
        throw new Error(`a compute thread has not done its share within ${MEETING_DEADLINE_MS / 1000} s`);
      }
      end();
      this.#waitingMs += performance.now() - sinceMs;
    }
    this.#requireSound();
  }

  /** Milliseconds that this thread has waited for the others so far. */
  get waitingMs(): number {
    return this.#waitingMs;
  }

  #requireSound(): void {
    const failed = Atomics.load(this.#words, FAILED);
    if (failed > 0) throw new Error(`compute thread ${failed - 1} failed`);
  }

  /** Notes that a thread failed: the others end their task at the next meeting, and no other begins. */
  fail(thread: number): void {
    Atomics.compareExchange(this.#words, FAILED, 0, thread + 1);
    Atomics.add(this.#words, MEETINGS, 1);
    Atomics.notify(this.#words, MEETINGS);
  }

  /** Takes the next item of work of those that the threads share since they last met, counted from 0. */
  next(): number {
    return Atomics.add(this.#words, NEXT, 1);
  }

  setSums(thread: number, sums: readonly NodeSum[]): void {
    const at = thread * (1 + MAX_SUMS * SUM_FIELDS);
    const numbers = sums.flatMap(({ node, address, lossSum }) => [node.level, node.index, address, lossSum]);
    this.#sums.set([sums.length, ...numbers], at);
  }

  /** The sums of all threads of the task, in the order of their shards. */
  sums(): NodeSum[] {
    const sums: NodeSum[] = [];
    for (let thread = 0; thread < this.#numThreads; thread++) {
      const at = thread * (1 + MAX_SUMS * SUM_FIELDS);
      for (let index = 0; index < (this.#sums[at] as number); index++) {
        const from = at + 1 + index * SUM_FIELDS;
        const [level, place, address, lossSum] = this.#sums.subarray(from, from + SUM_FIELDS);
        const node = { level: level as number, index: place as number };
        sums.push({ node, address: address as number, lossSum: lossSum as number });
      }
    }
    return sums;
  }

  addTimes(thread: number, { computing, updating, waiting }: ThreadTimes): void {
    const at = thread * TIME_FIELDS;
    for (const [index, ms] of [computing, updating, waiting].entries()) {
      this.#times[at + index] = (this.#times[at + index] as number) + ms;
    }
  }

  /** The times of all threads of the task. */
  times(): ThreadTimes[] {
    return Array.from({ length: this.#numThreads }, (_, thread) => {
      const from = thread * TIME_FIELDS;
      const [computing = 0, updating = 0, waiting = 0] = this.#times.subarray(from, from + TIME_FIELDS);
      return { computing, updating, waiting };
    });
  }

  /** Waits until a word is no longer `value`; returns false if it still is after so long. */
  #await(word: number, value: number, deadlineMs: number): boolean {
    for (let spin = 0; spin < NUM_SPINS; spin++) {
      if (Atomics.load(this.#words, word) !== value) return true;
    }
    // A thread may be woken without reason: who changed the word before may notify only now.
    while (Atomics.load(this.#words, word) === value) {
      if (Atomics.wait(this.#words, word, value, deadlineMs) === 'timed-out') return false;
    }
    return true;
  }
}

/** Number of f32 that the largest evaluation results in. */
function numOutputs({ maxEvaluatedRows, evaluationWidth }: SharedTaskSizes): number {
  return maxEvaluatedRows * evaluationWidth;
}
