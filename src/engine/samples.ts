// Where a packed dataset lies in memory, and how rows of it become a batch.
import {
  blobByteLength,
  targetsByteOffset,
  sampleWeightsByteOffset,
  sampleWeightWidth,
  type RowLayout,
} from '../data/dataset/packed-dataset.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { sizeOf } from '../layers/layer.ts';
import type { Memory } from '../memory.ts';

/** A dataset's rows and their address in a process's memory. */
export interface Samples {
  readonly layout: RowLayout;
  readonly address: number;
}

/** Allocates room for a dataset, to be filled by the caller. */
export function allocateSamples(memory: Memory, layout: RowLayout): Samples {
  return { layout, address: memory.allocate(blobByteLength(layout), 'the dataset') };
}

/** features[rows, featureWidth] = the rows that the u32 at `indices` name, scaled where they are bytes. */
export function gatherFeatures(
  kernels: Kernels,
  samples: Samples,
  indices: number,
  rows: number,
  features: number,
): void {
  const { featureType, featureShape, featureScale } = samples.layout;
  const featureWidth = sizeOf(featureShape);
  if (featureType === 'u8') {
    kernels.gatherScaledBytes(samples.address, featureWidth, featureScale, indices, rows, features);
  } else {
    kernels.gatherRows(samples.address, 4 * featureWidth, indices, rows, features);
  }
}

/** targets[rows, targetWidth] of the same rows: f32 values or u32 labels. */
export function gatherTargets(
  kernels: Kernels,
  samples: Samples,
  indices: number,
  rows: number,
  targets: number,
): void {
  const source = samples.address + targetsByteOffset(samples.layout);
  kernels.gatherRows(source, 4 * samples.layout.targetWidth, indices, rows, targets);
}

/** Gathers sampleWeights[rows, sampleWeightWidth] of the same rows; the dataset must have some. */
export function gatherSampleWeights(
  kernels: Kernels,
  samples: Samples,
  indices: number,
  rows: number,
  sampleWeights: number,
): void {
  const source = samples.address + sampleWeightsByteOffset(samples.layout);
  kernels.gatherRows(source, 4 * sampleWeightWidth(samples.layout), indices, rows, sampleWeights);
}
