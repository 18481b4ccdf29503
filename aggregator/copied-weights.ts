// The weights of a run as an aggregator has them: the copy of its replica, to which its coordinator
// adds versions.
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Memory } from '../src/memory.ts';
import type { Model } from '../src/model/model.ts';
import type { EvaluateMessage, TrainMessage } from '../src/protocol/message-types.ts';
import type { RoundState } from '../coordinator/cluster/round.ts';
import type { Replica, StoredBucket } from '../worker/replica.ts';

/** The weights of the task at hand, and of the version after it. */
export class CopiedWeights implements RoundState {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  version = -1;
  weightsFingerprint = '';
  step = 0;
  readonly #replica: Replica;

  constructor(replica: Replica) {
    this.kernels = replica.kernels;
    this.memory = replica.memory;
    this.model = replica.model;
    this.#replica = replica;
  }

  /** Makes the weights of a task the current ones; the replica has them. */
  use(message: TrainMessage | EvaluateMessage): void {
    this.version = message.version;
    this.weightsFingerprint = message.weightsFingerprint;
    this.step = message.type === 'train' ? message.step : 0;
  }

  get parameters(): number {
    return this.#replica.addressOf(this.version);
  }

  currentBucket(index: number): StoredBucket {
    const bucket = this.#replica.storedBucket(this.version, index);
    if (!bucket) throw new Error(`bucket ${index} of weights version ${this.version} is not there`);
    return bucket;
  }

  nextBucket(index: number): StoredBucket | undefined {
    return this.#replica.storedBucket(this.version + 1, index);
  }

  /** The coordinator judges whether sums are finite: it can compute them again. */
  divergence(): undefined {
    return undefined;
  }
}
