// The packed dataset in memory, the buffers into which a thread gathers rows of it, and the width
// of what results from evaluating a row.
import {
  blobByteLength,
  featureBytes,
  sampleWeightsByteOffset,
  sampleWeightWidth,
  targetsByteOffset,
} from '../data/dataset/packed-dataset.ts';
import type { RowLayout, RowSource } from '../data/dataset/packed-dataset.ts';
import { range } from '../data/dataset/split.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { unsmoothedLoss } from '../losses/registry.ts';
import type { Loss, LossInput } from '../losses/registry.ts';
import type { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { sizeOf } from '../shape.ts';

/** Rows of a task. */
export interface SampleRows {
  /** Dataset rows, in batch order. */
  readonly indices: Uint32Array;
  /** Packs the rows; undefined if the whole dataset is in memory. */
  readonly source?: RowSource | undefined;
  /** The place of the first row among those that the source knows; default 0. */
  readonly position?: number | undefined;
}

/** Rows and their address in a process's memory. */
export interface Samples {
  readonly layout: RowLayout;
  readonly address: number;
  /** True where these are the rows of the task at hand, in its order, and not the whole dataset. */
  readonly areOfTask?: boolean | undefined;
}

/** Allocates memory for a dataset, or for the `maxRows` rows of the largest task, to be filled by the caller. */
export function allocateSamples(memory: Memory, layout: RowLayout, maxRows?: number): Samples {
  const held = heldLayout(layout, maxRows);
  const address = memory.allocate(blobByteLength(held), 'the dataset');
  return { layout: held, address, areOfTask: maxRows !== undefined };
}

/** The layout of the rows that are in memory at once: all, or those of the largest task. */
export function heldLayout(layout: RowLayout, maxRows: number | undefined): RowLayout {
  return maxRows === undefined ? layout : { ...layout, numRows: maxRows };
}

/** Bytes of the rows of a round that evaluates a streamed dataset, unless one shard has more. */
export const STREAMED_ROUND_BYTES = 32 * 2 ** 20;
/** Rows of one shard of an evaluation's loss tree, where the outputs of that many fit one message. */
export const EVALUATION_SHARD_ROWS = 256;

/** Most bytes of the rows that one round sends to a worker. */
export function streamedRoundBytes(layout: RowLayout, batchSize: number): number {
  const numRows = Math.max(batchSize, EVALUATION_SHARD_ROWS);
  return Math.max(STREAMED_ROUND_BYTES, blobByteLength({ ...layout, numRows }));
}

/**
 * Brings the rows of a task to memory, if they are not there with all others. Returns the task as the
 * threads are to compute it.
 */
export function placeRows<Rows extends SampleRows>(memory: Memory, samples: Samples, rows: Rows): Rows {
  if (!samples.areOfTask) return rows;
  const { indices, source, position = 0 } = rows;
  const blob = source?.read(indices, position);
  if (!blob) throw new Error('a task came without its rows');
  const { layout, address } = samples;
  const own = { ...layout, numRows: indices.length };
  const copy = (from: number, to: number, byteLength: number): void =>
    memory.bytes(address + to, byteLength).set(blob.subarray(from, from + byteLength));
  copy(0, 0, indices.length * featureBytes(layout));
  copy(targetsByteOffset(own), targetsByteOffset(layout), 4 * indices.length * layout.targetWidth);
  if (layout.hasSampleWeights) {
    const length = indices.length * sampleWeightWidth(layout);
    copy(sampleWeightsByteOffset(own), sampleWeightsByteOffset(layout), 4 * length);
  }
  return { ...rows, source: undefined, position: 0 };
}

/** Everything that sample buffers are made from. */
export interface SampleBuffersOptions {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly maxRows: number;
  /** The layout of the samples whose targets are gathered. */
  readonly layout: RowLayout;
  /** Address of the block that features are gathered into. */
  readonly features: number;
}

/** One thread's buffers for the samples of a microbatch. */
export class SampleBuffers {
  /** Address of the u32 [rows] dataset rows. */
  readonly indices: number;
  /** Address of the f32 [rows, featureWidth] features. */
  readonly features: number;
  /** Address of the targets, [rows, targetWidth] f32 values or u32 labels. */
  readonly targets: number;
  /** Address of the f32 [rows, sampleWeightWidth] weights of the samples, or 0 where the dataset has none. */
  readonly sampleWeights: number;
  readonly #kernels: Kernels;
  readonly #memory: Memory;

  constructor({ kernels, memory, maxRows, layout, features }: SampleBuffersOptions) {
    this.#kernels = kernels;
    this.#memory = memory;
    this.indices = memory.allocate(4 * maxRows, 'sample indices');
    this.features = features;
    this.targets = memory.allocate(4 * maxRows * layout.targetWidth, 'targets');
    this.sampleWeights = layout.hasSampleWeights
      ? memory.allocate(4 * maxRows * sampleWeightWidth(layout), 'sample weights')
      : 0;
  }

  /** Gathers the features, targets and weights of these rows, of which the first is at `position` of a task. */
  gather(samples: Samples, rows: Uint32Array, position: number): void {
    const { layout, address, areOfTask } = samples;
    this.gatherFeatures(samples, areOfTask ? range(position, rows.length) : rows);
    const gather = (source: number, width: number, to: number): void =>
      this.#kernels.gatherRows(source, 4 * width, this.indices, rows.length, to);
    gather(address + targetsByteOffset(layout), layout.targetWidth, this.targets);
    if (this.sampleWeights !== 0)
      gather(address + sampleWeightsByteOffset(layout), sampleWeightWidth(layout), this.sampleWeights);
    // Random draws are keyed by a sample's place in the dataset, wherever its row is.
    if (areOfTask) this.#memory.u32(this.indices, rows.length).set(rows);
  }

  /** Gathers the features of these rows, scaled where they are bytes. */
  gatherFeatures({ layout, address }: Samples, rows: Uint32Array): void {
    const { featureType, featureShape, featureScale } = layout;
    const width = sizeOf(featureShape);
    this.#memory.u32(this.indices, rows.length).set(rows);
    if (featureType === 'u8') {
      this.#kernels.gatherScaledBytes(address, width, featureScale, this.indices, rows.length, this.features);
    } else {
      this.#kernels.gatherRows(address, 4 * width, this.indices, rows.length, this.features);
    }
  }
}

/** True where samples have a label for each of several positions. */
export function isSequence({ targetKind, targetWidth }: RowLayout): boolean {
  return targetKind === 'labels' && targetWidth > 1;
}

/** The most classes at positions that are counted class by class: a text has 256, which say little. */
const MAX_COUNTED_CLASSES = 100;

/** True where the predicted class of each position comes back, besides the rank of the right one. */
export function countsClasses({ numClasses }: RowLayout): boolean {
  return numClasses <= MAX_COUNTED_CLASSES;
}

/**
 * f32 that come back for each evaluated sample: its outputs; of a sequence the ranks of the right classes,
 * then the predicted classes if they are counted, then the log loss if it is not the loss.
 */
export function evaluationWidth(
  { outputWidth }: Pick<Model, 'outputWidth'>,
  layout: RowLayout,
  loss: LossInput | Loss,
): number {
  if (!isSequence(layout)) return outputWidth;
  return layout.targetWidth * (countsClasses(layout) ? 2 : 1) + (unsmoothedLoss(loss) ? 1 : 0);
}
