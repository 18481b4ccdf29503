// What a worker sends back for one task: every sum or shard as it comes, as long as the coordinator reads, then the end or
// the failure. Each message repeats the names of the work that it answers.
import type { PartialSum } from '../src/engine/engine.ts';
import { failpoint } from '../src/failpoint.ts';
import type { FailpointFacts } from '../src/failpoint.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import { MAX_REASON_LENGTH } from '../src/protocol/limits.ts';
import type { EvaluateMessage, TrainMessage, WorkerMessage } from '../src/protocol/message-types.ts';
import type { EvaluatedShard, PoolReports } from './compute-pool.ts';
import type { Replica } from './replica.ts';
import { spoil } from './spoil.ts';

/** A task to be answered, and how. */
export interface TaskResultsOptions {
  readonly work: TrainMessage | EvaluateMessage;
  readonly replica: Replica;
  /** The coordinator's number for this worker. */
  readonly worker: number;
  readonly send: (data: Buffer) => void;
  /** Whether the coordinator keeps up with reading. */
  readonly isRead: () => boolean;
}

/** See the head of this file. */
export class TaskResults implements PoolReports {
  /** What failpoints may ask; only training has steps. */
  readonly facts: FailpointFacts;
  readonly #options: TaskResultsOptions;
  /** Sums that wait where they lie, for a copy of each in a message could be more than there is memory for. */
  readonly #unsent: PartialSum[] = [];
  #sendMs = 0;

  constructor(options: TaskResultsOptions) {
    const { work, worker } = options;
    this.#options = options;
    this.facts = {
      worker,
      type: work.type,
      round: work.round,
      ...(work.type === 'train' ? { step: work.step } : {}),
    };
  }

  readonly onBucket = (sum: PartialSum): void => {
    this.#unsent.push(sum);
    this.sendSums();
  };

  /** Sends what the coordinator has room for; true once all is sent. What is not has to be before the next job begins. */
  sendSums(): boolean {
    while (this.#unsent.length > 0 && this.#options.isRead())
      this.#sendSum(this.#unsent.shift() as PartialSum);
    return this.#unsent.length === 0;
  }

  #sendSum(sum: PartialSum): void {
    const { work, replica } = this.#options;
    const { bucket, lossSum } = sum;
    const facts = { ...this.facts, bucket };
    failpoint('worker.afterCompute', facts);
    const action = failpoint('worker.gradient', facts);
    if (action !== undefined) spoil(replica.bucketBytes(sum).bytes, action);
    const { run, round, task, weights } = work;
    const { level, index } = sum.node;
    const startedMs = performance.now();
    const { bytes, fingerprint } = replica.bucketBytes(sum);
    const key = {
      type: 'gradient',
      run,
      round,
      task,
      level,
      index,
      bucket,
      weights,
      fingerprint,
    } as const;
    this.#send(lossSum === undefined ? key : { ...key, lossSum }, bytes);
    this.#sendMs += performance.now() - startedMs;
  }

  readonly onShard = (evaluated: EvaluatedShard): void => {
    const { work, replica } = this.#options;
    const { run, round, task, weights } = work;
    const { shard, lossSum } = evaluated;
    const startedMs = performance.now();
    const { bytes, fingerprint } = replica.shardBytes(evaluated);
    this.#send({ type: 'evaluation', run, round, task, shard, lossSum, weights, fingerprint }, bytes);
    this.#sendMs += performance.now() - startedMs;
  };

  /** The task is done; 0 ms for one that was given up because its round is over: this worker is free again. */
  finish(computeMs: number): void {
    const { run, round, task } = this.#options.work;
    const residentBytes = process.memoryUsage.rss();
    this.#send({ type: 'finished', run, round, task, computeMs, sendMs: this.#sendMs, residentBytes });
  }

  fail(reason: string): void {
    const { run, round, task } = this.#options.work;
    this.#send({ type: 'failure', run, round, task, message: reason.slice(0, MAX_REASON_LENGTH) });
  }

  #send(message: WorkerMessage, body?: Uint8Array): void {
    this.#options.send(encodeMessage(message, body));
  }
}
