// New rows for a trained model: a table of at least the feature columns, encoded as the training rows were.
import type { DataConfig } from '../config/schema.ts';
import { encodeFeatures, widthOf } from './encode.ts';
import { withoutDrops } from './missing-rules.ts';
import { planFeatures } from './saved-columns.ts';
import { readTable } from './table.ts';
import type { TableFormat } from './table-format.ts';
import type { FittedTransforms } from './transforms.ts';

/** What to encode, and by which transforms. */
export interface FeaturesRequest {
  readonly path: string;
  readonly transforms: Pick<FittedTransforms, 'features'>;
  readonly format: Omit<TableFormat, 'isSaved'> & Pick<DataConfig, 'missing'>;
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
  const plan = (header: readonly string[]) =>
    planFeatures(header, request.transforms, withoutDrops(request.format.missing));
  const format = { ...request.format, isSaved: true };
  const table = await readTable({ ...request, paths: [request.path], format, plan });
  const featureWidth = widthOf(features);
  const rows = new Float32Array(table.numRows * featureWidth);
  encodeFeatures(table, features, { rows, warn: request.warn });
  return { rows, numRows: table.numRows, featureWidth };
}
