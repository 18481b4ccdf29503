// The packed dataset in memory, the buffers into which a thread gathers rows of it, and the width
// of what results from evaluating a row.
import {
  blobByteLength,
  sampleWeightsByteOffset,
  sampleWeightWidth,
  targetsByteOffset,
} from '../data/dataset/packed-dataset.ts';
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { unsmoothedLoss } from '../losses/registry.ts';
import type { LossInput } from '../losses/registry.ts';
import type { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { sizeOf } from '../shape.ts';

/** A dataset's rows and their address in a process's memory. */
export interface Samples {
  readonly layout: RowLayout;
  readonly address: number;
}

/** Allocates memory for a dataset, to be filled by the caller. */
export function allocateSamples(memory: Memory, layout: RowLayout): Samples {
  return { layout, address: memory.allocate(blobByteLength(layout), 'the dataset') };
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

  /** Gathers the features, targets and weights of these rows. */
  gather(samples: Samples, rows: Uint32Array): void {
    const { layout, address } = samples;
    this.gatherFeatures(samples, rows);
    const gather = (source: number, width: number, to: number): void =>
      this.#kernels.gatherRows(source, 4 * width, this.indices, rows.length, to);
    gather(address + targetsByteOffset(layout), layout.targetWidth, this.targets);
    if (this.sampleWeights === 0) return;
    gather(address + sampleWeightsByteOffset(layout), sampleWeightWidth(layout), this.sampleWeights);
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

/** f32 that come back for each evaluated sample. */
export function evaluationWidth(
  { outputWidth }: Pick<Model, 'outputWidth'>,
  layout: RowLayout,
  loss: LossInput,
): number {
  if (!isSequence(layout)) return outputWidth;
  return layout.targetWidth + (unsmoothedLoss(loss) ? 1 : 0);
}
