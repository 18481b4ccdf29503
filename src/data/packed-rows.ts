// What passes between load.ts and the two sorts of data it can load.
import type { ArraySets } from './arrays.ts';
import type { Config } from '../config/schema.ts';
import type { RowLayout, SplitIndices } from './dataset.ts';
import type { HostMath } from '../kernels/host-math.ts';
import type { FittedTransforms } from './transforms.ts';

/** What was learnt from a training split. */
export interface FittedData {
  readonly transforms: FittedTransforms;
  /** Weights of classes in the loss, in their order; undefined where all weigh 1. */
  readonly classWeights?: readonly number[] | undefined;
}

/** What loading depends on. */
export interface LoadRequest {
  readonly config: Config;
  readonly math: HostMath;
  readonly warn: (message: string) => void;
  /** Given, it is applied as it is, and nothing is fitted to the data or asked of it as training data. */
  readonly fitted?: FittedData | undefined;
  /** Samples that were handed in, by the hashes that the config names. */
  readonly arrays?: ArraySets | undefined;
}

/** Rows in memory, and how they came to be. */
export interface PackedRows extends FittedData {
  readonly layout: RowLayout;
  /** Backed by a buffer of its own. */
  readonly blob: Uint8Array;
  readonly splits: SplitIndices;
  /** One name for each value of a row. */
  readonly featureNames: readonly string[];
  readonly targetNames: readonly string[];
  /** Empty for regression. */
  readonly classNames: readonly string[];
  /**
   * [numRows, labels of a row]: how much each counts in metrics; 0 where a label is ignored, and without the weights of
   * classes. Undefined where all count alike.
   */
  readonly sampleWeights: Float32Array | undefined;
  /**
   * Of each target column the numbers as they were read, for all rows: transforms and float32 have left less of them in
   * the blob. Empty where targets are labels. Only the coordinator has them; they take 8 bytes each.
   */
  readonly targetValues: readonly Float64Array[];
}
