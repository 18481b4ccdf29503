// The results of one task on their way to the coordinator: every partial sum or evaluated shard as
// it is computed, as long as the coordinator reads, then the end or the failure. Each message
// repeats the name of the task.
import type { EvaluatedShard, PartialSum } from '../src/engine/engine.ts';
import { failpoint } from '../src/failpoint.ts';
import type { FailpointFacts } from '../src/failpoint.ts';
import { MAX_REASON_LENGTH } from '../src/protocol/limits.ts';
import type {
  EvaluateMessage,
  EvaluationMessage,
  GradientMessage,
  ResultMessage,
  TrainMessage,
} from '../src/protocol/message-types.ts';
import type { Extent } from '../src/protocol/shared-file.ts';
import type { TaskReports } from './compute-pool.ts';
import type { Replica } from './replica.ts';

/** A task, and where its results go. */
export interface TaskResultsOptions {
  readonly task: TrainMessage | EvaluateMessage;
  readonly replica: Replica;
  /** The coordinator's number for this worker. */
  readonly worker: number;
  readonly send: SendResult;
  /** Sends at once what waits for more of the same turn. */
  readonly flush: () => void;
  /** Stores bytes in shared memory; undefined where the message has to bring them. */
  readonly store: (bytes: Uint8Array) => Extent | undefined;
  /** Tells whether the coordinator keeps up with reading. */
  readonly isKeepingUp: () => boolean;
}

/** Sends a message about a task, and its body. */
type SendResult = (message: ResultMessage, body?: Uint8Array) => void;

/** The sender of one task's results. */
export class TaskResults implements TaskReports {
  /** Facts for failpoints; only training has steps. */
  readonly facts: FailpointFacts;
  readonly #options: TaskResultsOptions;
  /** Sums that wait where they lie: copies of them all in messages might not fit in memory. */
  readonly #unsent: PartialSum[] = [];
  #sendMs = 0;

  constructor(options: TaskResultsOptions) {
    const { task, worker } = options;
    this.#options = options;
    this.facts = {
      worker,
      type: task.type,
      round: task.round,
      ...(task.type === 'train' ? { step: task.step } : {}),
    };
  }

  readonly onSum = (sum: PartialSum): void => {
    this.#unsent.push(sum);
    this.sendSums();
  };

  /**
   * Sends as much as the coordinator reads; returns true once all is sent, as it must be
   * before the next task begins.
   */
  sendSums(): boolean {
    while (this.#unsent.length > 0 && this.#options.isKeepingUp())
      this.#sendSum(this.#unsent.shift() as PartialSum);
    return this.#unsent.length === 0;
  }

  #sendSum(sum: PartialSum): void {
    const { task: message, replica } = this.#options;
    const { bucket, lossSum } = sum;
    const facts = { ...this.facts, bucket };
    failpoint('worker.afterCompute', facts);
    const action = failpoint('worker.gradient', facts);
    if (action !== undefined) spoil(replica.sumValues(sum), action);
    const { run, round, task, weightsFingerprint } = message;
    const { level, index } = sum.node;
    const startedMs = performance.now();
    const { bytes, fingerprint } = replica.packSum(sum, message.numShards);
    const key = {
      type: 'gradient',
      run,
      round,
      task,
      level,
      index,
      bucket,
      weightsFingerprint,
      fingerprint,
    } as const;
    const isShared = this.#sendResult(lossSum === undefined ? key : { ...key, lossSum }, bytes);
    // What takes time on its way sets out at once; the last bucket with the end of the task.
    if (!isShared && lossSum === undefined) this.#options.flush();
    this.#sendMs += performance.now() - startedMs;
  }

  readonly onShard = (evaluated: EvaluatedShard): void => {
    const { task: message, replica } = this.#options;
    const { run, round, task, weightsFingerprint } = message;
    const { shard, lossSum } = evaluated;
    const startedMs = performance.now();
    const { bytes, fingerprint } = replica.outputBytes(evaluated);
    this.#sendResult(
      { type: 'evaluation', run, round, task, shard, lossSum, weightsFingerprint, fingerprint },
      bytes,
    );
    this.#sendMs += performance.now() - startedMs;
  };

  /** Reports that the task is done; 0 ms for one that was given up because its round is over. */
  finish(computeMs: number): void {
    const { run, round, task } = this.#options.task;
    const residentBytes = residentMemory();
    this.#options.send({
      type: 'finished',
      run,
      round,
      task,
      computeMs,
      sendMs: this.#sendMs,
      residentBytes,
    });
    this.#options.flush();
  }

  /** Reports that the task failed. */
  fail(reason: string): void {
    const { run, round, task } = this.#options.task;
    this.#options.send({ type: 'failure', run, round, task, message: reason.slice(0, MAX_REASON_LENGTH) });
  }

  /** Returns true if the message leaves its body in shared memory. */
  #sendResult(message: GradientMessage | EvaluationMessage, bytes: Uint8Array): boolean {
    const extent = this.#options.store(bytes);
    if (extent) this.#options.send({ ...message, extent });
    else this.#options.send(message, bytes);
    return extent !== undefined;
  }
}

/** Time between two readings of the resident memory, each of which takes 0.1 ms. */
const MEMORY_INTERVAL_MS = 1000;
let residentBytes = 0;
let readMs = -Infinity;

function residentMemory(): number {
  if (performance.now() - readMs < MEMORY_INTERVAL_MS) return residentBytes;
  readMs = performance.now();
  return (residentBytes = process.memoryUsage.rss());
}

/**
 * Carries out the failpoint `worker.gradient` on a sum, as a worker that lies or has broken
 * memory would: `flip` changes the lowest bit of one value that bfloat16 has too, `one` makes it 1, `nan` NaN.
 */
function spoil(values: Float32Array, action: string): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, 1);
  if (action === 'flip') bits[0] = (bits[0] as number) ^ 0x1_0000;
  else if (action === 'one') values[0] = 1;
  else if (action === 'nan') values[0] = Number.NaN;
  else throw new Error(`failpoint worker.gradient: there is no action ${action}`);
}
