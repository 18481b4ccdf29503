// A packed dataset: every sample a fixed-width row in one contiguous buffer, named by its SHA-256.
// This is what the coordinator ships and what a worker keeps; where it came from is not known here.
// If it is streamed, its features are in a file, and each task comes with the rows that it needs.
import { dataError } from '../../errors.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import { formatCount } from '../../printable.ts';
import type { ScratchFile } from './scratch-file.ts';

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

/** The packed rows. */
export interface PackedBlocks {
  readonly layout: RowLayout;
  /** All blocks, or those after the features. */
  readonly blob: Uint8Array;
  /** The features, row-major, if they are streamed. */
  readonly file?: ScratchFile | undefined;
}

/** A dataset, with the content hash that names it. */
export interface PackedDataset extends PackedBlocks {
  readonly sha256: string;
}

/** Rows that are not in memory until a task needs them. */
export interface RowSource {
  /** Packs rows as a dataset of their own: those of `indices`, of which the first is at `position` of a task. */
  read(indices: Uint32Array, position: number): Uint8Array;
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

/** Byte length of the features of a row. */
export function featureBytes({ featureShape, featureType }: RowLayout): number {
  return sizeOf(featureShape) * (featureType === 'u8' ? 1 : 4);
}

/** Byte length of the feature block, padded so that the targets after it are aligned. */
export function targetsByteOffset(layout: RowLayout): number {
  return Math.ceil((layout.numRows * featureBytes(layout)) / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT;
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

/** Byte length of the blocks after the features: all that is in memory of a streamed dataset. */
export function targetBytes(layout: RowLayout): number {
  return blobByteLength(layout) - targetsByteOffset(layout);
}

/** The feature block of a dataset in memory, unscaled: [numRows, featureShape]. */
export function featureView({ layout, blob }: PackedBlocks): Float32Array | Uint8Array {
  const length = layout.numRows * sizeOf(layout.featureShape);
  return layout.featureType === 'u8'
    ? blob.subarray(0, length)
    : new Float32Array(blob.buffer, blob.byteOffset, length);
}

/** Bytes of features that are read at once when all are, unless a row has more. */
const BLOCK_BYTES = 4 * 2 ** 20;

/** The features of some rows that follow each other: [numRows, featureShape]. */
interface FeatureBlock {
  readonly firstRow: number;
  readonly numRows: number;
  readonly features: Float32Array | Uint8Array;
}

/** The features of all rows, unscaled, block by block. */
export function* featureBlocks({ layout, blob, file }: PackedBlocks): Generator<FeatureBlock> {
  if (!file) {
    yield { firstRow: 0, numRows: layout.numRows, features: featureView({ layout, blob }) };
    return;
  }
  const width = featureBytes(layout);
  const blockRows = Math.max(1, Math.floor(BLOCK_BYTES / width));
  for (let firstRow = 0; firstRow < layout.numRows; firstRow += blockRows) {
    const numRows = Math.min(blockRows, layout.numRows - firstRow);
    const block = new Uint8Array(numRows * width);
    file.read(block, firstRow * width);
    yield { firstRow, numRows, features: featureView({ layout: { ...layout, numRows }, blob: block }) };
  }
}

/** The source of a streamed dataset's rows; undefined if it is in memory. */
export function rowSource(dataset: PackedBlocks): RowSource | undefined {
  return dataset.file && { read: (indices) => packRows(dataset, indices) };
}

/** The source of the rows of a task, which are all in memory. */
export function taskRowSource(rows: PackedBlocks): RowSource {
  return {
    read: (indices, position) =>
      packRows(
        rows,
        indices.map((_, at) => position + at),
      ),
  };
}

/** The features of some rows, unscaled, wherever they are: [indices.length, featureShape]. */
export function featuresOf(packed: PackedBlocks, indices: Uint32Array): Float32Array | Uint8Array {
  const layout = { ...packed.layout, numRows: indices.length };
  return featureView({ layout, blob: packRows(packed, indices) });
}

function packRows(packed: PackedBlocks, indices: Uint32Array): Uint8Array {
  const layout = { ...packed.layout, numRows: indices.length };
  const blob = new Uint8Array(blobByteLength(layout));
  const width = featureBytes(layout);
  for (let from = 0, to = 1; from < indices.length; from = to++) {
    while (to < indices.length && indices[to] === (indices[to - 1] as number) + 1) to++;
    const out = blob.subarray(from * width, to * width);
    const first = (indices[from] as number) * width;
    if (packed.file) packed.file.read(out, first);
    else out.set(packed.blob.subarray(first, first + out.length));
  }
  copyRows(targetView(packed), indices, targetView({ layout, blob }));
  const weights = sampleWeightView({ layout, blob });
  if (weights) copyRows(sampleWeightView(packed) as Float32Array, indices, weights);
  return blob;
}

function copyRows(all: ArrayBufferView, indices: Uint32Array, out: ArrayBufferView): void {
  const [from, to] = [all, out].map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  ) as [Uint8Array, Uint8Array];
  const width = to.length / indices.length;
  for (const [at, row] of indices.entries())
    to.set(from.subarray(row * width, (row + 1) * width), at * width);
}

/** The blob's target block: f32 values, or u32 class indices, [numRows, targetWidth]. */
export function targetView({ layout, blob }: PackedBlocks): Float32Array | Uint32Array {
  const offset = blob.byteOffset + blob.byteLength - targetBytes(layout);
  const length = layout.numRows * layout.targetWidth;
  return layout.targetKind === 'labels'
    ? new Uint32Array(blob.buffer, offset, length)
    : new Float32Array(blob.buffer, offset, length);
}

/** The blob's sample weights, f32 [numRows, sampleWeightWidth]; undefined if it has none. */
export function sampleWeightView({ layout, blob }: PackedBlocks): Float32Array | undefined {
  if (!layout.hasSampleWeights) return undefined;
  const length = layout.numRows * sampleWeightWidth(layout);
  return new Float32Array(blob.buffer, blob.byteOffset + blob.byteLength - 4 * length, length);
}

/**
 * Divisor of the sums of losses and gradients over some rows: the sum of their sample weights in the
 * order of `indices`, in f64; without sample weights, the number of rows, or of labels where rows have
 * several.
 */
export function totalSampleWeight(dataset: PackedBlocks, indices: Uint32Array): number {
  const sampleWeights = sampleWeightView(dataset);
  const width = sampleWeightWidth(dataset.layout);
  if (!sampleWeights) return indices.length * width;
  let total = 0;
  for (const index of indices) {
    for (let i = index * width; i < (index + 1) * width; i++) total += sampleWeights[i] as number;
  }
  return total;
}
