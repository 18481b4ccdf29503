// New rows for a trained model: a table of at least the feature columns, encoded as the training rows were.
import { encodeFeatures, widthOf } from './encode.ts';
import { MAX_CATEGORIES } from './load-table.ts';
import { readTable, type TableFormat } from './table.ts';
import type { PlannedColumn } from './column.ts';
import { dataError } from './data-error.ts';
import type { FittedTransforms } from './transforms.ts';

/** What to encode, and by which transforms. */
export interface FeaturesRequest {
  readonly path: string;
  readonly transforms: FittedTransforms;
  readonly format: TableFormat;
  readonly warn: (message: string) => void;
}

/** Encoded rows [numRows, featureWidth]. */
export interface EncodedFeatures {
  readonly rows: Float32Array;
  readonly numRows: number;
  readonly featureWidth: number;
}

/**
 * Reads a table and encodes its features; columns that are no features are ignored.
 *
 * @throws LockstepError if a feature column is absent or holds what the transforms do not cover.
 */
export async function loadFeatures(request: FeaturesRequest): Promise<EncodedFeatures> {
  const { features } = request.transforms;
  const plan = (header: readonly string[]) => planFeatures(header, request.transforms);
  const table = await readTable({ ...request, paths: [request.path], plan });
  const featureWidth = widthOf(features);
  const rows = new Float32Array(table.numRows * featureWidth);
  encodeFeatures(table, features, { rows, warn: request.warn });
  return { rows, numRows: table.numRows, featureWidth };
}

function planFeatures(header: readonly string[], { features }: FittedTransforms): PlannedColumn[] {
  const present = new Set(header);
  return features.map((feature) => {
    if (feature.kind === 'pixels') throw dataError('E_DATA_FORMAT', 'the model takes images, not a table');
    if (feature.kind === 'bytes') throw dataError('E_DATA_FORMAT', 'the model takes a text, not a table');
    const { column: name, kind } = feature;
    if (!present.has(name)) {
      const message = `no column "${name}", which the model was trained on`;
      throw dataError('E_DATA_COLUMNS', message, { help: 'give the table the columns of the training data' });
    }
    const cells = kind === 'numeric' ? 'number' : 'text';
    return { name, isFeature: true, kind: cells, maxCategories: MAX_CATEGORIES };
  });
}
