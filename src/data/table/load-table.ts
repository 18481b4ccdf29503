// Tables to packed rows: one or more CSV files, any mix of number and text columns.
import type { TableRows, TableSource } from '../../config/data-sources.ts';
import type { DataConfig } from '../../config/schema.ts';
import {
  assignCounts,
  listFiles,
  type PackedRows,
  type PackRequest,
  type SplitFiles,
} from '../dataset/load-request.ts';
import {
  blobByteLength,
  featureView,
  refuseTooLarge,
  targetBytes,
  type RowLayout,
  type SplitIndices,
} from '../dataset/packed-dataset.ts';
import { ScratchFile } from '../dataset/scratch-file.ts';
import { splitRows } from '../dataset/split.ts';
import { nameFeatures, widthOf, type FittedTransforms } from '../dataset/transforms.ts';
import { encodeFeatures } from './encode-features.ts';
import { fitFeatures } from './features.ts';
import { findTableFiles } from './open-table.ts';
import { fitTarget } from './fit-target.ts';
import { layOutTargets, packTargets } from './pack-targets.ts';
import {
  assignColumnRoles,
  planColumns,
  planSavedColumns,
  savedRoles,
  type ColumnRoles,
} from './plan-columns.ts';
import { configError, dataError, quoteName } from '../../errors.ts';
import { findRows, type RowSet, type SampleSets } from './row-set.ts';
import { columnOf, locateRow, type Table } from './table.ts';
import { readTable } from './read-table.ts';

interface TableRequest extends PackRequest {
  /** Rows in memory, among other samples. */
  readonly arrays?: SampleSets | undefined;
}

/** Reads the tables, fits their transforms on the training split and packs every row. */
export async function packTable(
  files: SplitFiles<TableSource | TableRows>,
  request: TableRequest,
): Promise<PackedRows> {
  const { config, warn } = request;
  const sets = await Promise.all(listFiles(files).map((source) => findTable(source, request)));
  const { table, roles } = await readPlannedTable(sets.flat(), request);
  const partsOfSets = [...table.parts];
  const rowCounts = sets.map(({ length }) =>
    partsOfSets.splice(0, length).reduce((sum, { numRows }) => sum + numRows, 0),
  );
  const keys = splitKeys(table, roles, config.data);
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data, keys });
  const transforms = fitTransforms(table, roles, { ...request, splits });
  const { features, target } = transforms;
  const layout = layOut(table, transforms, request);
  const file = config.data.stream ? await ScratchFile.create() : undefined;
  const blob = new Uint8Array(file ? targetBytes(layout) : blobByteLength(layout));
  const out = file ? { file } : { rows: featureView({ layout, blob }) as Float32Array };
  encodeFeatures(table, features, { ...out, warn });
  const weights = packTargets(blob, { table, layout, target, splits, request });
  return {
    layout,
    blob,
    file,
    splits,
    transforms,
    featureNames: nameFeatures(features),
    targetNames: roles.targets,
    classNames: target.kind === 'labels' ? target.classNames : [],
    ...weights,
  };
}

async function findTable(
  source: TableSource | TableRows,
  { arrays }: TableRequest,
): Promise<(string | RowSet)[]> {
  if (typeof source === 'object' && 'rows' in source) return [findRows(source.rows, arrays)];
  return findTableFiles(source);
}

/**
 * The class, group or time of each row, by which they are split.
 *
 * @throws LockstepError where a cell is missing, or a time is a text
 */
function splitKeys(table: Table, { targets }: ColumnRoles, { split }: DataConfig): Float64Array | undefined {
  const { group, stratify, time } = split;
  const name = group ?? time ?? (stratify ? targets[0] : undefined);
  if (name === undefined) return undefined;
  const { kind, values } = columnOf(table, name);
  if (time !== undefined && kind === 'text') {
    const message = `data.split.time: column ${quoteName(name)} holds texts, not numbers or dates`;
    throw configError(
      'E_CONFIG_SPLIT',
      message,
      'write dates as 2024-12-31, or say in data.columns how they are read',
    );
  }
  const missing = values.findIndex(Number.isNaN);
  if (missing < 0) return values;
  const message = `column ${quoteName(name)}, by which rows are split, has missing cells`;
  throw dataError('E_DATA_MISSING', message, { location: locateRow(table, missing), help: 'fill them in' });
}

function fitTransforms(
  table: Table,
  roles: ColumnRoles,
  { splits, fitted, ...request }: PackRequest & { readonly splits: SplitIndices },
): FittedTransforms {
  const { config, warn } = request;
  const target = fitTarget(table, { ...request, fitted, names: roles.targets, splits });
  if (fitted) return fitted.transforms;
  const features = fitFeatures(table, splits.train, { names: roles.features, data: config.data, warn });
  return { features, target };
}

async function readPlannedTable(files: readonly (string | RowSet)[], { config, warn, fitted }: PackRequest) {
  const { data } = config;
  let roles: ColumnRoles = { features: [], targets: [], sampleWeights: [], splitBy: [] };
  const table = await readTable({
    files,
    format: { ...data, isSaved: fitted !== undefined },
    isStreamed: data.stream,
    plan: (header) => {
      if (fitted) {
        roles = savedRoles(fitted.transforms, data);
        return planSavedColumns(header, fitted.transforms, data);
      }
      roles = assignColumnRoles(header, data);
      return planColumns(roles, config);
    },
    warn,
  });
  return { table, roles };
}

/**
 * Lays the rows out.
 *
 * @throws LockstepError if they would exceed what a worker can hold, before they are allocated
 */
function layOut(
  table: Table,
  { features, target }: FittedTransforms,
  { config, fitted }: PackRequest,
): RowLayout {
  const layout: RowLayout = {
    numRows: table.numRows,
    featureShape: [widthOf(features)],
    featureType: 'f32',
    featureScale: 1,
    ...layOutTargets(target, config),
  };
  if (config.data.stream) return layout;
  const help = 'set data.stream: true, use fewer rows, or leave wide columns out';
  refuseTooLarge(layout, fitted ? 'use fewer rows' : help);
  return layout;
}
