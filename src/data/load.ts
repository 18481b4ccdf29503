// From config to memory: reads the data, splits it, fits the transforms and packs the rows.
// The steps that tables and images do not share are in load-table.ts and load-images.ts.
import type { Config } from '../config/schema.ts';
import { configError, countOf } from './data-error.ts';
import { hashDataset, type PackedDataset, type RowLayout, type SplitIndices } from './dataset.ts';
import { countSharedRows } from './duplicates.ts';
import { packImages } from './load-images.ts';
import { packTable } from './load-table.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { findSources } from './sources.ts';

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
  const { layout, blob, ...rest } =
    sources.kind === 'tables'
      ? await packTable(sources.files, request)
      : await packImages(sources.files, request);
  checkOutputUnits(request.config, layout);
  const dataset: PackedDataset = { layout, blob, sha256: hashDataset(layout, blob) };
  warnAboutLeaks(dataset, rest.splits, request.warn);
  return { dataset, ...rest };
}

/** Regression needs a unit for each target column, which the config alone can tell. */
function checkOutputUnits(config: Config, { targetKind, numClasses }: RowLayout): void {
  const units = config.model.layers.at(-1)?.units;
  if (targetKind === 'values' || units === numClasses) return;
  const message = `the last layer has ${countOf(units ?? 0, 'unit')}, the data has ${numClasses} classes`;
  const help = `set its units to ${numClasses}, or data.classes to ${units} if the data lacks some classes`;
  throw configError('E_CONFIG_OUTPUT_UNITS', message, help);
}

function warnAboutLeaks(dataset: PackedDataset, splits: SplitIndices, warn: (message: string) => void): void {
  const numShared = countSharedRows(dataset, splits);
  if (numShared === 0) return;
  const verb = numShared === 1 ? 'stands' : 'stand';
  const found = `${countOf(numShared, 'row')} of the test split also ${verb} in the training split`;
  warn(`${found}: test results will look better than they are`);
}
