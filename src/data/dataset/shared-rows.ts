// Rows that two splits share, found by hashes of their bytes.
import {
  featureBlocks,
  featureBytes,
  targetView,
  type PackedDataset,
  type SplitIndices,
} from './packed-dataset.ts';

// Finaliser constants of MurmurHash3, and its 32-bit block constants as two unlike multipliers.
const MIX_1 = 0x85ebca6b;

const MIX_2 = 0xc2b2ae35;

const MULTIPLIER_1 = 0xcc9e2d51;

const MULTIPLIER_2 = 0x1b873593;

/** A double holds 53 bits: all of one hash and the upper bits of the other. */
const KEPT_BITS = 21;

/** Test rows whose features and target equal those of some training row (by a 53-bit hash). */
export function countSharedRows(dataset: PackedDataset, splits: SplitIndices): number {
  const hashes = hashRows(dataset);
  const trained = Float64Array.from(splits.train, (row) => hashes[row] as number).sort();
  let numShared = 0;
  for (const row of splits.test) numShared += includesSorted(trained, hashes[row] as number) ? 1 : 0;
  return numShared;
}

/** A hash of each row's features and target. */
function hashRows(dataset: PackedDataset): Float64Array {
  const hashes = new Float64Array(dataset.layout.numRows);
  const targets = wordsOf(targetView(dataset), 4 * dataset.layout.targetWidth);
  const width = featureBytes(dataset.layout);
  for (const { firstRow, numRows, features } of featureBlocks(dataset)) {
    const block = wordsOf(features, width);
    for (let at = 0; at < numRows; at++) hashes[firstRow + at] = hashRow(block, at, targets, firstRow + at);
  }
  return hashes;
}

/** Rows as 32-bit words if they are whole ones, else as bytes. */
interface RowWords {
  readonly words: Int32Array | Uint8Array;
  readonly width: number;
}

function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView, width: number): RowWords {
  if (width % 4 !== 0) return { words: new Uint8Array(buffer, byteOffset, byteLength), width };
  return { words: new Int32Array(buffer, byteOffset, byteLength / 4), width: width / 4 };
}

function hashRow(features: RowWords, row: number, targets: RowWords, targetRow: number): number {
  const first = mix(targets, targetRow, MULTIPLIER_1, mix(features, row, MULTIPLIER_1, MULTIPLIER_1));
  const second = mix(targets, targetRow, MULTIPLIER_2, mix(features, row, MULTIPLIER_2, MULTIPLIER_2));
  return finishHash(first) * 2 ** KEPT_BITS + (finishHash(second) >>> (32 - KEPT_BITS));
}

/** Mixes the words of a row into a hash. */
function mix({ words, width }: RowWords, row: number, multiplier: number, start: number): number {
  let hash = start;
  for (let at = row * width; at < (row + 1) * width; at++) {
    hash = Math.imul(rotate(hash ^ (words[at] as number)), multiplier);
  }
  return hash;
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
