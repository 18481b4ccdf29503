// Of which kind the samples of a config are: rows of tables, labelled images, windows of a text, or arrays.
import type { DataConfig } from './schema.ts';

/** One set of samples: the path of a table, or a mapping that names other files. */
export type DataSource = NonNullable<DataConfig['train']>;
export type ImageFiles = Extract<DataSource, { readonly images: string }>;
export type TextFile = Extract<DataSource, { readonly text: string }>;
export type ArraySource = Extract<DataSource, { readonly arrays: string }>;

/** What samples can be. */
export type DataKind = 'table' | 'images' | 'text' | 'arrays';

/** Classes of a text: one for each value that a byte can have. */
export const NUM_BYTE_VALUES = 256;

/** The kind of one source. */
export function kindOf(source: DataSource): DataKind {
  if (typeof source === 'string') return 'table';
  if ('arrays' in source) return 'arrays';
  return 'text' in source ? 'text' : 'images';
}

/** The kind of all samples, which is that of the training set. */
export function dataKind({ train }: Pick<DataConfig, 'train'>): DataKind {
  return train === undefined ? 'table' : kindOf(train);
}
