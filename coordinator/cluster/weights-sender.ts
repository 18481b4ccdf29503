// Buckets of the weights on their way to the workers: the same bytes for all, written once into a
// file for those that share it, encoded once for the others, for as long as somebody waits for them.
// A worker gets those that it lacks with its task; whoever is at work gets the next ones as they are
// made.
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { Extent, SharedFile } from '../../src/protocol/shared-file.ts';
import type { WeightsBucket } from '../training/training-state.ts';
import type { RoundState } from './round.ts';

interface EncodedBucket {
  readonly version: number;
  readonly fingerprint: string;
  /** The message, kept until the last socket has sent it. */
  readonly data: WeakRef<Buffer>;
}

/** A bucket in the file. */
interface WrittenBucket {
  readonly version: number;
  readonly fingerprint: string;
  /** Undefined where there was no room. */
  readonly extent: Extent | undefined;
}

/** A receiver of weights. */
export interface WeightsReceiver {
  /** True if it reads the file of weights. */
  readonly sharesMemory: boolean;
  send(data: Buffer): void;
}

/** The run whose weights are sent. */
export interface WeightsSenderOptions {
  readonly run: string;
  readonly state: RoundState;
  /** The file for workers of this machine, of two versions of the weights. */
  readonly weightsFile: SharedFile | undefined;
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
  readonly #state: RoundState;
  readonly #file: SharedFile | undefined;
  /** Messages by bucket. */
  readonly #encoded: (EncodedBucket | undefined)[] = [];
  /** Buckets of an even and an odd version in the file. */
  readonly #written: readonly [WrittenBucket[], WrittenBucket[]] = [[], []];
  /** A worker holds two versions, an even and an odd one. */
  readonly #sent = new WeakMap<WeightsReceiver, readonly [SentVersion, SentVersion]>();

  constructor({ run, state, weightsFile }: WeightsSenderOptions) {
    this.#run = run;
    this.#state = state;
    this.#file = weightsFile;
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
    let whole: Buffer | undefined;
    let shared: Buffer | undefined;
    let bytesSent = 0;
    for (const receiver of receivers) {
      const sent = this.#sentOf(receiver, version);
      if (sent.buckets[index] === bucket.fingerprint) continue;
      sent.buckets[index] = bucket.fingerprint;
      const data = receiver.sharesMemory
        ? (shared ??= this.#sharedMessage(index, version, bucket))
        : (whole ??= this.#message(index, version, bucket));
      receiver.send(data);
      bytesSent += bucket.bytes.byteLength;
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

  #sharedMessage(index: number, version: number, bucket: WeightsBucket): Buffer {
    const { fingerprint } = bucket;
    const extent = this.#write(index, version, bucket);
    if (!extent) return this.#message(index, version, bucket);
    return encodeMessage({ type: 'weights', run: this.#run, version, bucket: index, fingerprint, extent });
  }

  /** Writes a bucket into the file, unless it is there; undefined where that has no room for it. */
  #write(index: number, version: number, { fingerprint, bytes }: WeightsBucket): Extent | undefined {
    const written = this.#written[version % 2] as (WrittenBucket | undefined)[];
    const known = written[index];
    if (known?.version === version && known.fingerprint === fingerprint) return known.extent;
    const { model } = this.#state;
    const offset = 4 * ((version % 2) * model.numParameters + (model.buckets[index]?.offset ?? 0));
    const extent = this.#file?.write(bytes, offset) ? { offset, length: bytes.byteLength } : undefined;
    written[index] = { version, fingerprint, extent };
    return extent;
  }
}
