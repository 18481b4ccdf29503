// A packed dataset: every sample a fixed-width row in one contiguous buffer, named by its SHA-256.
// This is what the coordinator ships and what a worker keeps; where it came from is not known here.
import { createHash } from 'node:crypto';
import { dataError } from '../../errors.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import { formatCount } from '../../printable.ts';

/**
 * Layout of the stored samples. The blob holds features, then targets, then any sample weights, each
 * block row-major.
 */
export interface RowLayout {
  readonly numRows: number;
  /** Shape of one sample: [features] of a table, [channels, height, width] of images. */
  readonly featureShape: Shape;
  /** `f32`, or `u8` for images: a kernel multiplies by `featureScale` when it gathers a batch. */
  readonly featureType: 'f32' | 'u8';
  readonly featureScale: number;
  /** `values`: f32 targets; `labels`: class indices as u32. */
  readonly targetKind: 'values' | 'labels';
  /** Target values per sample; labels per sample, 1 or one for each position of a sequence. */
  readonly targetWidth: number;
  /** Number of classes for labels, 0 for values. */
  readonly numClasses: number;
  /** True if there is a block of f32 sample weights; without one, every sample weighs 1. */
  readonly hasSampleWeights: boolean;
}

/** A dataset in memory, with the content hash that names it. */
export interface PackedDataset {
  readonly layout: RowLayout;
  readonly blob: Uint8Array;
  readonly sha256: string;
}

/** The rows of the packed dataset that belong to each split, in file order. */
export interface SplitIndices {
  readonly train: Uint32Array;
  readonly validation: Uint32Array;
  readonly test: Uint32Array;
}

/**
 * Brings a byte of an image to 0..1; rounded to float32 here so that every kernel multiplies by the same
 * bits.
 */
export const PIXEL_SCALE = Math.fround(1 / 255);
const BLOCK_ALIGNMENT = 16;

/** Largest blob: half of what a 32-bit memory can address, so that a model fits beside it. */
export const MAX_BLOB_BYTES = 2 ** 31;
/** Bytes hashed at once; createHash takes less than 2 GiB. */
const HASHED_BYTES = 2 ** 26;

/** Byte length of the feature block, padded so that the targets after it are aligned. */
export function targetsByteOffset(layout: RowLayout): number {
  const bytes = layout.numRows * sizeOf(layout.featureShape) * (layout.featureType === 'u8' ? 1 : 4);
  return Math.ceil(bytes / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT;
}

/** Byte offset of the sample weights, which are f32 [numRows, sampleWeightWidth]. */
export function sampleWeightsByteOffset(layout: RowLayout): number {
  return targetsByteOffset(layout) + layout.numRows * layout.targetWidth * 4;
}

/** Number of weights of a sample: one for each label, or one for all its target values. */
export function sampleWeightWidth({ targetKind, targetWidth }: RowLayout): number {
  return targetKind === 'labels' ? targetWidth : 1;
}

/** Byte length of the whole blob. */
export function blobByteLength(layout: RowLayout): number {
  const sampleWeights = layout.hasSampleWeights ? layout.numRows * sampleWeightWidth(layout) * 4 : 0;
  return sampleWeightsByteOffset(layout) + sampleWeights;
}

/**
 * Refuses a layout whose blob would be over the limit; `help` is the way out.
 *
 * @throws LockstepError with the size
 */
export function refuseTooLarge(layout: RowLayout, help: string): void {
  const bytes = blobByteLength(layout);
  if (bytes <= MAX_BLOB_BYTES) return;
  const size = `${formatCount(layout.numRows)} rows of ${formatCount(sizeOf(layout.featureShape))} features`;
  const message = `${size} take ${(bytes / 2 ** 30).toFixed(1)} GiB; at most ${MAX_BLOB_BYTES / 2 ** 30} GiB fit`;
  throw dataError('E_DATA_TOO_LARGE', message, { help });
}

/** The blob's feature block, unscaled: [numRows, featureShape]. */
export function featureView({
  layout,
  blob,
}: Pick<PackedDataset, 'layout' | 'blob'>): Float32Array | Uint8Array {
  const length = layout.numRows * sizeOf(layout.featureShape);
  return layout.featureType === 'u8'
    ? blob.subarray(0, length)
    : new Float32Array(blob.buffer, blob.byteOffset, length);
}

/** The blob's target block: f32 values, or u32 class indices, [numRows, targetWidth]. */
export function targetView({
  layout,
  blob,
}: Pick<PackedDataset, 'layout' | 'blob'>): Float32Array | Uint32Array {
  const offset = blob.byteOffset + targetsByteOffset(layout);
  const length = layout.numRows * layout.targetWidth;
  return layout.targetKind === 'labels'
    ? new Uint32Array(blob.buffer, offset, length)
    : new Float32Array(blob.buffer, offset, length);
}

/** The blob's sample weights, f32 [numRows, sampleWeightWidth]; undefined if it has none. */
export function sampleWeightView({
  layout,
  blob,
}: Pick<PackedDataset, 'layout' | 'blob'>): Float32Array | undefined {
  if (!layout.hasSampleWeights) return undefined;
  const offset = blob.byteOffset + sampleWeightsByteOffset(layout);
  return new Float32Array(blob.buffer, offset, layout.numRows * sampleWeightWidth(layout));
}

/**
 * Divisor of the sums of losses and gradients over some rows: the sum of their sample weights in the
 * order of `indices`, in f64; without sample weights, the number of rows, or of labels where rows have
 * several.
 */
export function totalSampleWeight(dataset: PackedDataset, indices: Uint32Array): number {
  const sampleWeights = sampleWeightView(dataset);
  const width = sampleWeightWidth(dataset.layout);
  if (!sampleWeights) return indices.length * width;
  let total = 0;
  for (const index of indices) {
    for (let i = index * width; i < (index + 1) * width; i++) total += sampleWeights[i] as number;
  }
  return total;
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
    ...(layout.hasSampleWeights ? ['weights'] : []),
  ];
  return hashBlocks(fields, [blob]);
}

/** SHA-256, in hexadecimal, over `fields` as JSON and every byte of `blocks`. */
export function hashBlocks(fields: unknown, blocks: readonly ArrayBufferView[]): string {
  const hash = createHash('sha256').update(JSON.stringify(fields));
  for (const { buffer, byteOffset, byteLength } of blocks) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    for (let start = 0; start < byteLength; start += HASHED_BYTES) {
      hash.update(bytes.subarray(start, start + HASHED_BYTES));
    }
  }
  return hash.digest('hex');
}
