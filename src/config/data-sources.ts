// The sources of samples that a config names, by kind: tables, labelled images, texts, arrays; and
// their targets.
import type { DataConfig } from './schema.ts';

/** A set of samples: the files of a table, or a mapping that names other files. */
export type DataSource = NonNullable<DataConfig['train']>;

/** A path or a pattern, or several. */
export type TableSource = NonNullable<DataConfig['file']>;

/** Rows of a table that a program passed in. */
export type TableRows = Extract<DataSource, { readonly rows: string }>;

/** Two files of images and their labels. */
export type IdxFiles = Extract<DataSource, { readonly images: string }>;

/** A set of labelled images. */
export type ImageSource = IdxFiles | Extract<DataSource, { readonly folder: string }>;

export type TextFile = Extract<DataSource, { readonly text: string }>;

/** Samples in files of NumPy. */
export type NpySource = Extract<DataSource, { readonly features: string }>;

/** Samples in files of NumPy, or that a program passed in. */
export type ArraySource = NpySource | Extract<DataSource, { readonly arrays: string }>;

export function isTableSource(source: DataSource): source is TableSource {
  return typeof source === 'string' || Array.isArray(source);
}

/** The kinds of samples. */
export type DataKind = 'table' | 'images' | 'text' | 'arrays';

/** Classes of a text: one for each value that a byte can have. */
export const NUM_BYTE_VALUES = 256;

/** The kind of one source. */
export function kindOf(source: DataSource): DataKind {
  if (isTableSource(source) || 'rows' in source) return 'table';
  if ('arrays' in source || 'features' in source) return 'arrays';
  return 'text' in source ? 'text' : 'images';
}

/** The kind of all samples, which is that of the training set. */
export function dataKind({ train }: Pick<DataConfig, 'train'>): DataKind {
  return train === undefined ? 'table' : kindOf(train);
}

/** The columns to predict; none for images and texts. */
export function targetColumns({ target }: DataConfig): readonly string[] {
  return typeof target === 'string' ? [target] : (target ?? []);
}
