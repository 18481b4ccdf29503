// Rows that two splits share, found by hashes of their bytes.
import { sizeOf } from '../../shape.ts';
import { targetsByteOffset, type PackedDataset, type SplitIndices } from './packed-dataset.ts';

// Finaliser constants of MurmurHash3, and its 32-bit block constants as two unlike multipliers.
const MIX_1 = 0x85ebca6b;

const MIX_2 = 0xc2b2ae35;

const MULTIPLIER_1 = 0xcc9e2d51;

const MULTIPLIER_2 = 0x1b873593;

/** A double holds 53 bits: all of one hash and the upper bits of the other. */
const KEPT_BITS = 21;

/** Test rows whose features and target equal those of some training row (by a 53-bit hash). */
export function countSharedRows(dataset: PackedDataset, splits: SplitIndices): number {
  const hashRow = rowHasher(dataset);
  const trained = Float64Array.from(splits.train, hashRow).sort();
  let numShared = 0;
  for (const row of splits.test) numShared += includesSorted(trained, hashRow(row)) ? 1 : 0;
  return numShared;
}

function rowHasher({ layout, blob }: PackedDataset): (row: number) => number {
  const featureBytes = sizeOf(layout.featureShape) * (layout.featureType === 'u8' ? 1 : 4);
  const targetBytes = layout.targetWidth * 4;
  const targetsFrom = targetsByteOffset(layout);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  let first = 0;
  let second = 0;
  const take = (word: number) => {
    first = Math.imul(rotate(first ^ word), MULTIPLIER_1);
    second = Math.imul(rotate(second + word), MULTIPLIER_2);
  };
  const takeBytes = (from: number, length: number) => {
    const end = from + length;
    let at = from;
    for (; at + 4 <= end; at += 4) take(view.getInt32(at, true));
    for (; at < end; at++) take(view.getUint8(at));
  };
  return (row) => {
    first = MULTIPLIER_1;
    second = MULTIPLIER_2;
    takeBytes(row * featureBytes, featureBytes);
    takeBytes(targetsFrom + row * targetBytes, targetBytes);
    return finishHash(first) * 2 ** KEPT_BITS + (finishHash(second) >>> (32 - KEPT_BITS));
  };
}

function rotate(word: number): number {
  return (word << 15) | (word >>> 17);
}

function finishHash(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), MIX_1);
  mixed = Math.imul(mixed ^ (mixed >>> 13), MIX_2);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function includesSorted(sorted: Float64Array, wanted: number): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < wanted) low = middle + 1;
    else high = middle;
  }
  return sorted[low] === wanted;
}
