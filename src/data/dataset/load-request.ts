// The input and output of loading, for every kind of data: the files that the config names, what else the
// result depends on, and the packed rows.
import {
  kindOf,
  type ArraySource,
  type DataSource,
  type ImageSource,
  type TableRows,
  type TableSource,
  type TextFile,
} from '../../config/data-sources.ts';
import type { Config, DataConfig } from '../../config/schema.ts';
import type { PackedBlocks, SplitIndices } from './packed-dataset.ts';
import type { SourceRows } from './split.ts';
import type { FittedTransforms } from './transforms.ts';
import { dataError, type LockstepError } from '../../errors.ts';
import type { HostMath } from '../../kernels/host-math.ts';

/** The files of each split, all of one kind; a split without files is taken from train. */
export type DataSources =
  | { readonly kind: 'tables'; readonly files: SplitFiles<TableSource | TableRows> }
  | { readonly kind: 'images'; readonly files: SplitFiles<ImageSource> }
  | { readonly kind: 'text'; readonly files: SplitFiles<TextFile> }
  | { readonly kind: 'arrays'; readonly files: SplitFiles<ArraySource> };

/** Files by split; `train` is also the single file that is divided. */
export interface SplitFiles<File> {
  readonly train: File;
  readonly validation: File | undefined;
  readonly test: File | undefined;
}

/** Sorts the files of a config whose rules hold: one file or a training set, and no mixture. */
export function findSources({ file, train, validation, test }: DataConfig): DataSources {
  if (file !== undefined) {
    return { kind: 'tables', files: { train: file, validation: undefined, test: undefined } };
  }
  const files = { train, validation, test };
  if (areAll(files, isTable)) return { kind: 'tables', files };
  if (areAll(files, isImages)) return { kind: 'images', files };
  if (areAll(files, isText)) return { kind: 'text', files };
  if (areAll(files, isArrays)) return { kind: 'arrays', files };
  throw new Error('a config without data, or with a mixture of kinds, was not refused');
}

/** The files that are named, in the order in which their rows lie in the dataset. */
export function listFiles<File>({ train, validation, test }: SplitFiles<File>): File[] {
  return [train, ...(validation === undefined ? [] : [validation]), ...(test === undefined ? [] : [test])];
}

/** The error of samples that a program passed in for training, and that are not there now. */
export function missingSamples(
  sha256: string,
  sets: ReadonlyMap<string, { readonly name: string }> | undefined,
): LockstepError {
  const given = [...(sets ?? [])].map(([other, { name }]) => `that of ${name} is ${other}`);
  if (given.length > 0) {
    const message = `the samples with SHA-256 ${sha256} are not among the given arrays: ${given.join(', ')}`;
    const help =
      'pass all arrays of the training, with the same values, types and shapes; give new samples as data';
    return dataError('E_DATA_ARRAYS', message, { help });
  }
  const message = `the samples with SHA-256 ${sha256} were arrays in a program; no file holds them`;
  const help = 'pass them again: train(config) with the arrays, or evaluate(run, { arrays: [samples] })';
  return dataError('E_DATA_ARRAYS', message, { help });
}

/** Row counts of `listFiles`, by split; 0 for a split without a file. */
export function assignCounts(files: SplitFiles<unknown>, counts: readonly number[]): SourceRows {
  const rest = [...counts];
  const next = (file: unknown) => (file === undefined ? 0 : (rest.shift() ?? 0));
  return { train: next(files.train), validation: next(files.validation), test: next(files.test) };
}

function areAll<File extends DataSource>(
  files: SplitFiles<DataSource | undefined>,
  isOfKind: (source: DataSource) => source is File,
): files is SplitFiles<File> {
  return listFiles(files).every((source) => source !== undefined && isOfKind(source));
}

function isTable(source: DataSource): source is TableSource | TableRows {
  return kindOf(source) === 'table';
}

function isImages(source: DataSource): source is ImageSource {
  return kindOf(source) === 'images';
}

function isText(source: DataSource): source is TextFile {
  return kindOf(source) === 'text';
}

function isArrays(source: DataSource): source is ArraySource {
  return kindOf(source) === 'arrays';
}

/** Everything learnt from a training split. */
export interface FittedData {
  readonly transforms: FittedTransforms;
  /** Weights of classes in the loss, in their order; undefined where all weigh 1. */
  readonly classWeights?: readonly number[] | undefined;
}

/** Everything that the packed rows depend on, besides the content of files and arrays. */
export interface PackRequest {
  readonly config: Config;
  readonly math: HostMath;
  readonly warn: (message: string) => void;
  /**
   * Transforms to apply as they are: nothing is fitted to the data then, and it need
   * not be fit for training.
   */
  readonly fitted?: FittedData | undefined;
}

/** The packed rows, in a buffer of their own or a file, with everything that describes them. */
export interface PackedRows extends FittedData, PackedBlocks {
  readonly splits: SplitIndices;
  /** A name for each value of a row. */
  readonly featureNames: readonly string[];
  readonly targetNames: readonly string[];
  /** Class names; empty for regression. */
  readonly classNames: readonly string[];
  /**
   * Weights by which metrics count, [numRows, labels of a row]: 0 where a label is ignored; weights of
   * classes are no part of them. Undefined where all count the same.
   */
  readonly sampleWeights: Float32Array | undefined;
  /**
   * The numbers of each target column as they were read, for all rows: transforms and float32 leave less
   * of them in the blob. Empty where targets are labels. Only the coordinator has them; they take 8
   * bytes each.
   */
  readonly targetValues: readonly Float64Array[];
}
