// Digests of received sums, by which the round machine tells equal from different answers. Which NaN an operation gives
// is up to the processor, so sums that are not finite are compared with all NaN made one.
import { createHash } from 'node:crypto';
import type { Kernels } from '../../src/kernels/kernels.ts';
import type { Memory } from '../../src/memory.ts';
import type { DigestKind } from '../scheduler/events.ts';

/** A sum whose bytes are in memory. */
export interface SumBytes {
  readonly address: number;
  /** f32. */
  readonly length: number;
  /** Of those bytes, as `fingerprintOf` gives it. */
  readonly fingerprint: string;
  /** 0 for buckets that come without. */
  readonly lossSum: number;
}

/** What the round machine needs to know of a sum's values. */
export interface SumDigest {
  readonly digest: string;
  /** Whether the values are finite, and the loss is one that samples can have. */
  readonly isFinite: boolean;
}

/**
 * No sum of losses is larger: a row's is at most a squared f32 times a weight that is one, 4e115, and there are at most 2^31
 * rows. What is larger is no loss, and would make the sum over some steps infinite.
 */
const MAX_LOSS_SUM = 1e125;

/** The digest of a sum. */
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
