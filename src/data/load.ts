// From config to memory: reads the data, splits it, fits the transforms and packs the rows.
// Each kind of data has its folder: table, image, text and array. They share dataset; arrays also use table.
import type { Config } from '../config/schema.ts';
import type { ArraySets } from './array/arrays.ts';
import { packArrays } from './array/load-arrays.ts';
import { configError } from '../errors.ts';
import { findSources, type DataSources, type PackedRows, type PackRequest } from './dataset/load-request.ts';
import { hashDataset } from './dataset/hash-dataset.ts';
import type { PackedBlocks, PackedDataset, RowLayout, SplitIndices } from './dataset/packed-dataset.ts';
import { refuseWeightless } from './dataset/sample-weights.ts';
import { countSharedRows } from './dataset/shared-rows.ts';
import { packImages } from './image/load-images.ts';
import { packTable } from './table/load-table.ts';
import { packText, WINDOW } from './text/load-text.ts';
import { countOf } from '../printable.ts';

/** A request to load the data of a run. */
export interface LoadRequest extends PackRequest {
  /** Samples that were handed in, by the hashes that the config names. */
  readonly arrays?: ArraySets | undefined;
}

/** A dataset ready to train on. */
export interface LoadedData extends Omit<PackedRows, keyof PackedBlocks> {
  readonly dataset: PackedDataset;
}

/**
 * Loads the data of a run. The result depends on the config and the files' content only.
 *
 * @throws LockstepError for whatever is wrong with the files, or with the config in view of them.
 */
export async function loadData(request: LoadRequest): Promise<LoadedData> {
  const sources = findSources(request.config.data);
  const { layout, blob, file, ...rest } = await packRows(sources, request);
  const dataset: PackedDataset = { layout, blob, file, sha256: hashDataset({ layout, blob, file }) };
  refuseIdleTopK(request.config, layout);
  refuseWeightless(dataset, rest.splits, request.fitted !== undefined);
  if (request.fitted) return { dataset, ...rest };
  warnAboutLeaks(dataset, rest.splits, { noun: sources.kind === 'text' ? WINDOW : 'row', ...request });
  return { dataset, ...rest };
}

function packRows(sources: DataSources, request: LoadRequest): Promise<PackedRows> {
  switch (sources.kind) {
    case 'tables':
      return packTable(sources.files, request);
    case 'images':
      return packImages(sources.files, request);
    case 'arrays':
      return packArrays(sources.files, request);
    case 'text':
      return packText(sources.files, request);
    default:
      return sources satisfies never;
  }
}

/** Refuses a `topK` that every row would pass, since there are no more classes. */
function refuseIdleTopK({ metrics }: Config, { numClasses }: RowLayout): void {
  if (metrics.topK === undefined || metrics.topK < numClasses) return;
  const message = `metrics.topK is ${metrics.topK}, the data has ${numClasses} classes`;
  throw configError('E_CONFIG_TOP_K', message, 'set it below the number of classes, or remove it');
}

function warnAboutLeaks(
  dataset: PackedDataset,
  splits: SplitIndices,
  { noun, warn }: Pick<LoadRequest, 'warn'> & { readonly noun: string },
): void {
  const numShared = countSharedRows(dataset, splits);
  if (numShared === 0) return;
  const verb = numShared === 1 ? 'appears' : 'appear';
  const found = `${countOf(numShared, noun)} of the test split also ${verb} in the training split`;
  warn(`${found}: test results will look better than they are`);
}
