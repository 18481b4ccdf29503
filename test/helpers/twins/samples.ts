// Reproducible inputs for kernels and models, drawn by the host's Philox.
import {
  blobByteLength,
  targetsByteOffset,
  sampleWeightView,
  type PackedDataset,
  type RowLayout,
} from '../../../src/data/dataset/packed-dataset.ts';
import { hashDataset } from '../../../src/data/dataset/hash-dataset.ts';
import { philox4x32 } from '../../../src/random.ts';

/** A purpose that Lockstep itself does not use, so that no test reads a stream that a run reads. */
const TEST_PURPOSE = 0x7e57;

/** `length` words, all bits random. */
export function randomWords(seed: number, length: number): Uint32Array {
  const words = new Uint32Array(Math.ceil(length / 4) * 4);
  for (let i = 0; i < words.length; i += 4) {
    philox4x32([i / 4, 0, 0, 0], [seed, TEST_PURPOSE], words.subarray(i, i + 4));
  }
  return words.subarray(0, length);
}

/** `length` float32 in [-1, 1): full mantissas, so that any change of order shows in the bits. */
export function randomValues(seed: number, length: number): Float32Array {
  return Float32Array.from(randomWords(seed, length), (word) => word / 2 ** 31 - 1);
}

/** float32 that kernels may treat apart: zeros of both signs, denormals, the largest, the smallest normal. */
export const FINITE_EXTREMES = [0, -0, 2 ** -149, -(2 ** -149), 2 ** -126, (2 - 2 ** -23) * 2 ** 127, -1];

export const EXTREMES = [...FINITE_EXTREMES, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];

export interface SampleArrays {
  readonly featureWidth: number;
  /** [rows, featureWidth] */
  readonly features: Float32Array;
  /** f32 values or u32 class indices, [rows, targetWidth]. */
  readonly targets: Float32Array | Uint32Array;
  readonly numClasses: number;
  /** Weights of each row of values or each label; default none. */
  readonly sampleWeights?: Float32Array | undefined;
}

/** Packs arrays as the data loaders do. */
export function packSamples(arrays: SampleArrays): PackedDataset {
  const { featureWidth, features, targets, numClasses, sampleWeights } = arrays;
  const numRows = features.length / featureWidth;
  const layout: RowLayout = {
    numRows,
    featureShape: [featureWidth],
    featureType: 'f32',
    featureScale: 1,
    targetKind: numClasses > 0 ? 'labels' : 'values',
    targetWidth: targets.length / numRows,
    numClasses,
    hasSampleWeights: sampleWeights !== undefined,
  };
  const blob = new Uint8Array(blobByteLength(layout));
  blob.set(new Uint8Array(features.buffer, features.byteOffset, features.byteLength));
  blob.set(new Uint8Array(targets.buffer, targets.byteOffset, targets.byteLength), targetsByteOffset(layout));
  if (sampleWeights) sampleWeightView({ layout, blob })?.set(sampleWeights);
  return { layout, blob, sha256: hashDataset({ layout, blob }) };
}

/** Random samples for a model of these widths; `numClasses` 0 means regression. */
export function randomSamples(
  seed: number,
  {
    numRows,
    featureWidth,
    outputWidth,
    isClassification,
    hasSampleWeights = false,
  }: {
    numRows: number;
    featureWidth: number;
    outputWidth: number;
    isClassification: boolean;
    hasSampleWeights?: boolean;
  },
): SampleArrays {
  const features = randomValues(seed, numRows * featureWidth);
  const targets = isClassification
    ? randomWords(seed + 1, numRows).map((word) => word % outputWidth)
    : randomValues(seed + 1, numRows * outputWidth);
  const sampleWeights = Float32Array.from(randomWords(seed + 2, numRows), (word) => (word % 5) / 3);
  return {
    featureWidth,
    features,
    targets,
    numClasses: isClassification ? outputWidth : 0,
    ...(hasSampleWeights && { sampleWeights }),
  };
}
