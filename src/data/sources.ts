// Which files the config names, and of which sort: one table, separate tables, sets of images, texts, or
// arrays that a program hands in.
import {
  kindOf,
  type ArraySource,
  type DataSource,
  type ImageFiles,
  type TextFile,
} from '../config/data-kind.ts';
import type { DataConfig } from '../config/schema.ts';
import type { SourceRows } from './split.ts';

/** The files of each split, of one sort; a split without files is taken from train. */
export type DataSources =
  | { readonly kind: 'tables'; readonly files: SplitFiles<string> }
  | { readonly kind: 'images'; readonly files: SplitFiles<ImageFiles> }
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

function isTable(source: DataSource): source is string {
  return kindOf(source) === 'table';
}

function isImages(source: DataSource): source is ImageFiles {
  return kindOf(source) === 'images';
}

function isText(source: DataSource): source is TextFile {
  return kindOf(source) === 'text';
}

function isArrays(source: DataSource): source is ArraySource {
  return kindOf(source) === 'arrays';
}
