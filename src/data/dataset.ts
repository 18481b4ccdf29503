// A packed dataset: every sample a fixed-width row in one contiguous buffer, named by its SHA-256.
// This is what the coordinator ships and what a worker keeps; where it came from is not known here.
import { createHash } from 'node:crypto';
import { sizeOf } from '../layers/layer.ts';
import type { Shape } from '../layers/layer.ts';
import { dataError, formatCount } from './data-error.ts';

/** How one sample is stored. Features come first in the blob, then targets, each block row-major. */
export interface RowLayout {
  readonly numRows: number;
  /** Of one sample: [features] of a table, [channels, height, width] of images. */
  readonly featureShape: Shape;
  /** `f32`, or `u8` for images: a kernel multiplies by `featureScale` when it gathers a batch. */
  readonly featureType: 'f32' | 'u8';
  readonly featureScale: number;
  /** `values`: f32 regression targets; `labels`: one class index as u32. */
  readonly targetKind: 'values' | 'labels';
  /** Target values per sample; 1 for labels. */
  readonly targetWidth: number;
  /** Number of classes for labels, 0 for values. */
  readonly numClasses: number;
}

/** A dataset in memory, with the content hash that names it. */
export interface PackedDataset {
  readonly layout: RowLayout;
  readonly blob: Uint8Array;
  readonly sha256: string;
}

/** Which rows of the packed dataset belong to which split, in file order. */
export interface SplitIndices {
  readonly train: Uint32Array;
  readonly validation: Uint32Array;
  readonly test: Uint32Array;
}

const BLOCK_ALIGNMENT = 16;

/** Largest blob: half of what a 32-bit memory can address, so that a model fits beside it. */
export const MAX_BLOB_BYTES = 2 ** 31;

/** createHash takes less than 2 GiB at once. */
const HASHED_BYTES = 2 ** 26;

/** Byte length of the feature block, padded so that the targets behind it are aligned. */
export function targetsByteOffset(layout: RowLayout): number {
  const bytes = layout.numRows * sizeOf(layout.featureShape) * (layout.featureType === 'u8' ? 1 : 4);
  return Math.ceil(bytes / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT;
}

/** Byte length of the whole blob. */
export function blobByteLength(layout: RowLayout): number {
  return targetsByteOffset(layout) + layout.numRows * layout.targetWidth * 4;
}

/** @throws LockstepError if a blob of this layout is over the limit; `help` is the way out. */
export function refuseTooLarge(layout: RowLayout, help = 'use fewer rows, or leave wide columns out'): void {
  const bytes = blobByteLength(layout);
  if (bytes <= MAX_BLOB_BYTES) return;
  const size = `${formatCount(layout.numRows)} rows of ${formatCount(sizeOf(layout.featureShape))} features`;
  const message = `${size} take ${(bytes / 2 ** 30).toFixed(1)} GiB; at most ${MAX_BLOB_BYTES / 2 ** 30} GiB fit`;
  throw dataError('E_DATA_TOO_LARGE', message, { help });
}

/** The blob's target block: f32 [numRows, targetWidth], or u32 [numRows] class indices. */
export function targetView(dataset: PackedDataset): Float32Array | Uint32Array {
  const { layout, blob } = dataset;
  const offset = blob.byteOffset + targetsByteOffset(layout);
  const length = layout.numRows * layout.targetWidth;
  return layout.targetKind === 'labels'
    ? new Uint32Array(blob.buffer, offset, length)
    : new Float32Array(blob.buffer, offset, length);
}

/** Names a dataset by its content: SHA-256 over the layout and every byte. */
export function hashDataset(layout: RowLayout, blob: Uint8Array): string {
  const fields = [
    layout.numRows,
    layout.featureShape,
    layout.featureType,
    layout.featureScale,
    layout.targetKind,
    layout.targetWidth,
    layout.numClasses,
  ];
  const hash = createHash('sha256').update(JSON.stringify(fields));
  for (let start = 0; start < blob.length; start += HASHED_BYTES) {
    hash.update(blob.subarray(start, start + HASHED_BYTES));
  }
  return hash.digest('hex');
}
