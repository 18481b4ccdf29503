// Which files the config names, and of which sort: one table, separate tables, or sets of images.
import type { DataConfig } from '../config/schema.ts';
import type { SourceRows } from './split.ts';

/** IDX files of one set of images. */
export interface ImageFiles {
  readonly images: string;
  readonly labels: string;
}

/** The files of each split, of one sort; a split without files is taken from train. */
export type DataSources =
  | { readonly kind: 'tables'; readonly files: SplitFiles<string> }
  | { readonly kind: 'images'; readonly files: SplitFiles<ImageFiles> };

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
  if (typeof train === 'string' && !isImages(validation) && !isImages(test)) {
    return { kind: 'tables', files: { train, validation, test } };
  }
  if (isImages(train) && typeof validation !== 'string' && typeof test !== 'string') {
    return { kind: 'images', files: { train, validation, test } };
  }
  throw new Error('a config without data, or with tables and images, was not refused');
}

/** The files that are named, in the order in which their rows lie in the dataset. */
export function listFiles<File>({ train, validation, test }: SplitFiles<File>): File[] {
  return [train, ...(validation === undefined ? [] : [validation]), ...(test === undefined ? [] : [test])];
}

/** Row counts of `listFiles`, by split; 0 for a split without a file. */
export function assignCounts(files: SplitFiles<unknown>, counts: readonly number[]): SourceRows {
  const rest = [...counts];
  const next = (file: unknown) => (file === undefined ? 0 : (rest.shift() ?? 0));
  return { train: next(files.train), validation: next(files.validation), test: next(files.test) };
}

function isImages(source: string | ImageFiles | undefined): source is ImageFiles {
  return typeof source === 'object';
}
