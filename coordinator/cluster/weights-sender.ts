// Messages with buckets of the weights: the same bytes for all workers, encoded once for as long as
// somebody waits for them. A worker gets those that it lacks with its task; whoever is at work gets
// the next ones as they are made.
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { TrainingState, WeightsBucket } from '../training/training-state.ts';

interface EncodedBucket {
  readonly version: number;
  readonly fingerprint: string;
  /** The message, kept until the last socket has sent it. */
  readonly data: WeakRef<Buffer>;
}

/** A receiver of weights. */
export interface WeightsReceiver {
  send(data: Buffer): void;
}

/** The buckets of one version that a worker has been sent. */
interface SentVersion {
  version: number;
  /** Fingerprints by bucket. */
  readonly buckets: (string | undefined)[];
}

/** The sender of a run's weights. */
export class WeightsSender {
  readonly #run: string;
  readonly #state: TrainingState;
  /** Messages by bucket. */
  readonly #encoded: (EncodedBucket | undefined)[] = [];
  /** A worker holds two versions, an even and an odd one. */
  readonly #sent = new WeakMap<WeightsReceiver, readonly [SentVersion, SentVersion]>();

  constructor(run: string, state: TrainingState) {
    this.#run = run;
    this.#state = state;
  }

  /** Sends all of the current weights that the worker lacks; returns how many bytes. */
  supply(receiver: WeightsReceiver): number {
    let bytesSent = 0;
    for (let index = 0; index < this.#state.model.buckets.length; index++) {
      bytesSent += this.send([receiver], index, 'current');
    }
    return bytesSent;
  }

  /** Sends a bucket, where it is known, to those who lack it; returns how many bytes. */
  send(receivers: Iterable<WeightsReceiver>, index: number, which: 'current' | 'next'): number {
    const state = this.#state;
    const bucket = which === 'current' ? state.currentBucket(index) : state.nextBucket(index);
    if (!bucket) return 0;
    const version = which === 'current' ? state.version : state.version + 1;
    let data: Buffer | undefined;
    let bytesSent = 0;
    for (const receiver of receivers) {
      const sent = this.#sentOf(receiver, version);
      if (sent.buckets[index] === bucket.fingerprint) continue;
      sent.buckets[index] = bucket.fingerprint;
      data ??= this.#message(index, version, bucket);
      receiver.send(data);
      bytesSent += data.byteLength;
    }
    return bytesSent;
  }

  #sentOf(receiver: WeightsReceiver, version: number): SentVersion {
    const none = (): SentVersion => ({ version: -1, buckets: [] });
    const known = this.#sent.get(receiver);
    const both = known ?? ([none(), none()] as const);
    if (!known) this.#sent.set(receiver, both);
    const sent = both[version % 2] as SentVersion;
    if (sent.version !== version) sent.buckets.length = 0;
    sent.version = version;
    return sent;
  }

  #message(index: number, version: number, { fingerprint, bytes }: WeightsBucket): Buffer {
    const known = this.#encoded[index];
    // A step that restarts makes other bytes of the same version.
    const isKnown = known?.version === version && known.fingerprint === fingerprint;
    const queued = isKnown ? known.data.deref() : undefined;
    if (queued) return queued;
    const header = { type: 'weights', run: this.#run, version, bucket: index, fingerprint } as const;
    const data = encodeMessage(header, bytes);
    this.#encoded[index] = { version, fingerprint, data: new WeakRef(data) };
    return data;
  }
}
