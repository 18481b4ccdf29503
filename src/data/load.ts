// From config to memory: reads the data, splits it, fits the transforms and packs the rows.
// The steps that the kinds of data do not share are in load-table.ts, load-images.ts, load-text.ts and load-arrays.ts.
import type { Config } from '../config/schema.ts';
import { configError, countOf } from './data-error.ts';
import { hashDataset, type PackedDataset, type RowLayout, type SplitIndices } from './dataset.ts';
import { countSharedRows } from './duplicates.ts';
import { refuseWeightless } from './fold-weights.ts';
import { packArrays } from './load-arrays.ts';
import { packImages } from './load-images.ts';
import { packTable } from './load-table.ts';
import { packText } from './load-text.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { findSources, type DataSources } from './sources.ts';
import { WINDOW } from './text-windows.ts';

/** A dataset ready to train on. */
export interface LoadedData extends Omit<PackedRows, 'layout' | 'blob'> {
  readonly dataset: PackedDataset;
}

/**
 * Loads the data of a run. The result depends on the config and the files' content only.
 *
 * @throws LockstepError for whatever is wrong with the files, or with the config in view of them.
 */
export async function loadData(request: LoadRequest): Promise<LoadedData> {
  const sources = findSources(request.config.data);
  const { layout, blob, ...rest } = await packRows(sources, request);
  const dataset: PackedDataset = { layout, blob, sha256: hashDataset(layout, blob) };
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

/** Among as many classes as there are, every row is found. */
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
  const verb = numShared === 1 ? 'stands' : 'stand';
  const found = `${countOf(numShared, noun)} of the test split also ${verb} in the training split`;
  warn(`${found}: test results will look better than they are`);
}
