// From a message with a result to a sum that the round machine can judge: its bytes are checked against the model and
// the fingerprints they came with, copied to memory, and digested. What is wrong with them evicts their sender.
import { ByteFingerprinter, fingerprintOf } from '../../src/engine/fingerprint.ts';
import type { EvaluationMessage, GradientMessage } from '../../src/protocol/message-types.ts';
import type { ActiveRound } from './active-round.ts';
import { digestSum } from './digest.ts';
import type { SumDigest } from './digest.ts';
import type { DigestKind } from '../scheduler/events.ts';
import type { SumSlots } from './sum-slots.ts';
import type { TrainingState } from '../training/training-state.ts';

/** A sum that is as its sender meant it. */
export interface CheckedSum extends SumDigest {
  /** Keeps it under a slot. */
  readonly store: (slot: number) => void;
  /** Called when it is not kept. */
  readonly drop: () => void;
}

/** A sum that somebody waits for, as it came. */
export interface ReceivedSum<M> {
  readonly message: M;
  readonly body: Uint8Array;
  /** Of which kind its digest must be. */
  readonly kind: DigestKind;
}

/** A checked sum, or why its sender is to be evicted. */
export type Receipt = CheckedSum | { readonly evict: string };

/** See the head of this file. */
export class SumInbox {
  readonly #state: TrainingState;
  readonly #slots: SumSlots;
  readonly #evaluationWidth: number;
  readonly #outputs: ByteFingerprinter;

  constructor(state: TrainingState, slots: SumSlots, evaluationWidth: number) {
    this.#state = state;
    this.#slots = slots;
    this.#evaluationWidth = evaluationWidth;
    this.#outputs = new ByteFingerprinter(state.kernels, state.memory);
  }

  /** Checks a bucket of a sum of gradients. */
  gradient(active: ActiveRound, { message, body, kind }: ReceivedSum<GradientMessage>): Receipt {
    const { round, bucket, fingerprint, lossSum } = message;
    const { kernels, memory, model } = this.#state;
    if (active.kind !== 'train') return { evict: 'sent a gradient of rows that it was to evaluate' };
    const { length } = model.buckets[bucket] ?? { length: -1 };
    const isLastBucket = bucket === model.buckets.length - 1;
    if (body.byteLength !== 4 * length || isLastBucket !== (lossSum !== undefined)) {
      return { evict: `sent ${body.byteLength} bytes for bucket ${bucket}` };
    }
    if (message.weights !== this.#state.fingerprint) {
      return { evict: `computed round ${round} with other weights` };
    }
    const address = this.#slots.take(bucket);
    memory.bytes(address, body.byteLength).set(body);
    const drop = (): void => this.#slots.giveBack(bucket, address);
    if (fingerprintOf(kernels, address, length) !== fingerprint) {
      drop();
      return { evict: `sent a damaged bucket ${bucket}` };
    }
    const sum = { address, length, fingerprint, lossSum: lossSum ?? 0 };
    const digest = digestSum(kernels, memory, kind, sum);
    if (!digest.isFinite) active.divergence ??= this.#state.divergence(bucket, address);
    const store = (slot: number): void => this.#slots.store(slot, bucket, address, sum.lossSum);
    return { ...digest, store, drop };
  }

  /** Checks a shard of an evaluation. */
  evaluation(active: ActiveRound, { message, body, kind }: ReceivedSum<EvaluationMessage>): Receipt {
    const { round, shard, lossSum, fingerprint } = message;
    const width = this.#evaluationWidth;
    if (active.kind !== 'evaluate') return { evict: 'sent an evaluation of rows that it was to train on' };
    const start = active.batch.bounds[shard];
    const end = active.batch.bounds[shard + 1];
    if (start === undefined || end === undefined || body.byteLength !== 4 * (end - start) * width) {
      return { evict: `sent ${body.byteLength} bytes for evaluation shard ${shard}` };
    }
    if (message.weights !== this.#state.fingerprint) {
      return { evict: `evaluated round ${round} with other weights` };
    }
    const { kernels, memory } = this.#state;
    const [address, length] = [this.#outputs.copy(body), body.byteLength / 4];
    if (fingerprintOf(kernels, address, length) !== fingerprint) {
      return { evict: `sent damaged outputs of evaluation shard ${shard}` };
    }
    const store = (): void => {
      active.shardLosses[shard] = lossSum;
      const target = active.outputs.subarray(start * width, end * width);
      new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(body);
    };
    const digest = digestSum(kernels, memory, kind, { address, length, fingerprint, lossSum });
    return { ...digest, store, drop: () => undefined };
  }
}
