// Partial sums in the coordinator's memory. One that arrives is checked against the model and the
// fingerprint it came with, copied, and digested for the scheduler; one that is kept waits in its
// slot until its neighbour is added to it.
import { createHash } from 'node:crypto';
import { ByteFingerprinter, fingerprintOf } from '../../src/engine/fingerprint.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import type { Memory } from '../../src/memory.ts';
import { GradientSums } from '../../src/model/gradient-sums.ts';
import type { Bucket } from '../../src/model/model.ts';
import type { EvaluationMessage, GradientMessage } from '../../src/protocol/message-types.ts';
import { copyBody } from '../../src/protocol/shared-file.ts';
import type { Body } from '../../src/protocol/shared-file.ts';
import type { Merge } from '../../src/tree.ts';
import type { DigestKind, SumDigest } from '../scheduler/outcome.ts';
import type { Round, RoundState } from './round.ts';

/** A partial sum whose bytes match its sender's fingerprint. */
export interface CheckedSum extends SumDigest {
  /** Keeps the sum in a slot, or drops it where there is none. */
  readonly keep: (slot: number | undefined) => void;
}

/** A checked sum, or the reason to evict its sender. */
export type Receipt = CheckedSum | { readonly refusal: string };

interface Slot {
  readonly bucket: number;
  readonly address: number;
  lossSum: number;
}

/** The parts and sizes that partial sums are kept with. */
export interface PartialSumsOptions {
  readonly state: RoundState;
  /** Most groups of shards whose sums are rounded; undefined where no sum is. */
  readonly groups: number | undefined;
  /** Number of f32 that result from each row of an evaluation. */
  readonly evaluationWidth: number;
}

/** Buffers in a memory that is never freed. */
interface Buffers {
  /** Free ones for sums, by their length. */
  readonly free: Map<number, number[]>;
  readonly outputs: ByteFingerprinter;
}

/** An aggregator has one memory for all its sessions, and each has partial sums of its own. */
const BUFFERS = new WeakMap<Memory, Buffers>();

function buffersOf({ kernels, memory }: RoundState): Buffers {
  const known = BUFFERS.get(memory);
  const buffers = known ?? { free: new Map(), outputs: new ByteFingerprinter(kernels, memory) };
  if (!known) BUFFERS.set(memory, buffers);
  return buffers;
}

/** The partial sums of the current round. Freed buffers are used again, so memory stops growing early. */
export class PartialSums {
  readonly #state: RoundState;
  readonly #sums: GradientSums;
  readonly #evaluationWidth: number;
  readonly #buffers: Buffers;
  readonly #slots = new Map<number, Slot>();

  constructor({ state, groups, evaluationWidth }: PartialSumsOptions) {
    this.#state = state;
    this.#sums = new GradientSums(state.kernels, state.model, groups);
    this.#evaluationWidth = evaluationWidth;
    this.#buffers = buffersOf(state);
  }

  /** Checks a sum that the scheduler wants, and digests it. */
  check(round: Round, message: GradientMessage | EvaluationMessage, body: Body, kind: DigestKind): Receipt {
    if (message.weightsFingerprint !== this.#state.weightsFingerprint) {
      return { refusal: `computed round ${message.round} with other weights` };
    }
    if (message.type === 'gradient') return this.#checkGradient(round, message, body, kind);
    return this.#checkEvaluation(round, message, body, kind);
  }

  #checkGradient(round: Round, message: GradientMessage, body: Body, kind: DigestKind): Receipt {
    const { level, index, bucket, fingerprint, lossSum } = message;
    const { byteLength } = body;
    const { kernels, memory, model } = this.#state;
    if (round.kind !== 'train') return { refusal: 'sent a gradient of rows that it was to evaluate' };
    const { offset, length } = model.buckets[bucket] ?? { offset: 0, length: 0 };
    const slice = { offset, length, node: { level, index }, numShards: round.numShards };
    const isLastBucket = bucket === model.buckets.length - 1;
    if (
      length === 0 ||
      byteLength !== this.#sums.byteLength(slice) ||
      isLastBucket !== (lossSum !== undefined)
    ) {
      return { refusal: `sent ${byteLength} bytes for bucket ${bucket}` };
    }
    const address = this.#buffers.free.get(length)?.pop() ?? memory.allocate(4 * length, 'sums of gradients');
    copyBody(body, memory.bytes(address + 4 * length - byteLength, byteLength));
    this.#sums.unpack(address, slice);
    if (fingerprintOf(kernels, address, length) !== fingerprint) {
      this.#release(bucket, address);
      return { refusal: `sent a damaged bucket ${bucket}` };
    }
    const sum = { address, length, fingerprint, lossSum: lossSum ?? 0 };
    const digest = digestSum(kernels, memory, kind, sum);
    const divergence = digest.isFinite ? undefined : this.#state.divergence(bucket, address);
    round.divergence ??= divergence;
    const keep = (slot: number | undefined): void => {
      if (slot === undefined) this.#release(bucket, address);
      else this.#slots.set(slot, { bucket, address, lossSum: sum.lossSum });
    };
    return { digest: digest.digest, isFinite: !divergence, keep };
  }

  #checkEvaluation(round: Round, message: EvaluationMessage, body: Body, kind: DigestKind): Receipt {
    const { shard, lossSum, fingerprint } = message;
    const width = this.#evaluationWidth;
    if (round.kind !== 'evaluate') return { refusal: 'sent an evaluation of rows that it was to train on' };
    const { length: numRows } = round.rowsOf(shard);
    if (numRows === 0 || body.byteLength !== 4 * numRows * width) {
      return { refusal: `sent ${body.byteLength} bytes for evaluation shard ${shard}` };
    }
    const { kernels, memory } = this.#state;
    const { byteLength } = body;
    const [address, length] = [this.#buffers.outputs.reserve(byteLength), byteLength / 4];
    copyBody(body, memory.bytes(address, byteLength));
    if (fingerprintOf(kernels, address, length) !== fingerprint) {
      return { refusal: `sent damaged outputs of evaluation shard ${shard}` };
    }
    const keep = (slot: number | undefined): void => {
      if (slot === undefined) return;
      round.results.takeShard({ shard, lossSum, outputs: memory.f32(address, length) });
    };
    return { ...digestSum(kernels, memory, kind, { address, length, fingerprint, lossSum }), keep };
  }

  /** Adds the right sum to the left one, and frees the right one. */
  merge(bucket: number, { left, right, node }: Merge<number>, numShards: number): void {
    const [leftSum, rightSum] = [this.get(left), this.get(right)];
    const slice = { ...(this.#state.model.buckets[bucket] as Bucket), node, numShards };
    this.#sums.add(leftSum.address, rightSum.address, slice);
    leftSum.lossSum += rightSum.lossSum;
    this.free(right);
  }

  /** The sum in a slot. @throws RangeError where there is none */
  get(slot: number): Slot {
    const found = this.#slots.get(slot);
    if (!found) throw new RangeError(`no partial sum in slot ${slot}`);
    return found;
  }

  /** Frees a slot; one of an evaluation, whose outputs are kept elsewhere, holds nothing. */
  free(slot: number): void {
    const found = this.#slots.get(slot);
    if (!found) return;
    this.#slots.delete(slot);
    this.#release(found.bucket, found.address);
  }

  /** Frees all slots, for the next round or the next session. */
  freeAll(): void {
    for (const slot of [...this.#slots.keys()]) this.free(slot);
  }

  #release(bucket: number, address: number): void {
    const length = this.#lengthOf(bucket);
    const { free } = this.#buffers;
    const known = free.get(length);
    if (known) known.push(address);
    else free.set(length, [address]);
  }

  #lengthOf(bucket: number): number {
    return this.#state.model.buckets[bucket]?.length ?? 0;
  }
}

/** A sum whose bytes are in memory. */
interface SumBytes {
  readonly address: number;
  /** Number of f32. */
  readonly length: number;
  /** The fingerprint of those bytes, as `fingerprintOf` gives it. */
  readonly fingerprint: string;
  /** 0 for buckets that come without one. */
  readonly lossSum: number;
}

/**
 * The largest sum of losses. A row's loss is at most a squared f32 times a weight that is one,
 * 4e115, and there are at most 2^31 rows. A larger value is no loss, and would make the sum
 * over some steps infinite.
 */
const MAX_LOSS_SUM = 1e125;

/**
 * The digest of a sum, by which the scheduler tells equal from different ones. The
 * processor decides which NaN an operation gives, so sums that are not finite are compared
 * with every NaN made the same.
 */
export function digestSum(kernels: Kernels, memory: Memory, kind: DigestKind, sum: SumBytes): SumDigest {
  const { address, length, fingerprint, lossSum } = sum;
  if (!(Math.abs(lossSum) <= MAX_LOSS_SUM) || !kernels.allFinite(address, length)) {
    const values = memory.f32(address, length).map((value) => (Number.isNaN(value) ? Number.NaN : value));
    return { digest: `not finite ${sha256(new Uint8Array(values.buffer))} ${lossSum}`, isFinite: false };
  }
  const bytes = kind === 'fast' ? fingerprint : sha256(memory.bytes(address, 4 * length));
  return { digest: `${bytes} ${lossSum}`, isFinite: true };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
