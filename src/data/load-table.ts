// Tables to packed rows: one or more CSV files, any mix of number and text columns.
import type { Config } from '../config/schema.ts';
import { sizeOf } from '../shape.ts';
import { assignColumnRoles, type ColumnRoles } from './column-roles.ts';
import { blobByteLength, refuseTooLarge, type RowLayout, type SplitIndices } from './dataset.ts';
import { encodeFeatures, nameFeatures, widthOf } from './encode.ts';
import { fitTarget } from './fit-target.ts';
import { MAX_CLASSES } from './labels.ts';
import { planMissing } from './missing-rules.ts';
import { layOutTargets, packTargets } from './pack-targets.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { planSavedColumns, savedRoles } from './saved-columns.ts';
import { splitRows } from './split.ts';
import { assignCounts, listFiles, type SplitFiles } from './sources.ts';
import { readTable, type Table } from './table.ts';
import { fitFeatures, type FittedTransforms } from './transforms.ts';
import type { PlannedColumn } from './column.ts';

/** More one-hot features than this from one column are an identifier. */
const MAX_CATEGORIES = 1000;

/** Reads the tables, fits their transforms on the training split and packs every row. */
export async function packTable(files: SplitFiles<string>, request: LoadRequest): Promise<PackedRows> {
  const { config, warn } = request;
  const { table, roles } = await readPlannedTable(files, request);
  const rowCounts = table.parts.map(({ numRows }) => numRows);
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data });
  const transforms = fitTransforms(table, roles, { ...request, splits });
  const { features, target } = transforms;
  const layout = layOut(table, transforms, request);
  const blob = new Uint8Array(blobByteLength(layout));
  const rows = new Float32Array(blob.buffer, 0, layout.numRows * sizeOf(layout.featureShape));
  encodeFeatures(table, features, { rows, warn });
  const weights = packTargets(blob, { table, layout, target, splits, request });
  return {
    layout,
    blob,
    splits,
    transforms,
    featureNames: nameFeatures(features),
    targetNames: roles.targets,
    classNames: target.kind === 'labels' ? target.classNames : [],
    ...weights,
  };
}

function fitTransforms(
  table: Table,
  roles: ColumnRoles,
  { splits, fitted, ...request }: LoadRequest & { readonly splits: SplitIndices },
): FittedTransforms {
  const { config, warn } = request;
  const target = fitTarget(table, { ...request, fitted, names: roles.targets, splits });
  if (fitted) return fitted.transforms;
  const features = fitFeatures(table, splits.train, { names: roles.features, data: config.data, warn });
  return { features, target };
}

async function readPlannedTable(files: SplitFiles<string>, { config, warn, fitted }: LoadRequest) {
  const { data } = config;
  let roles: ColumnRoles = { features: [], targets: [], weights: [] };
  const table = await readTable({
    paths: listFiles(files),
    format: { ...data, isSaved: fitted !== undefined },
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

function planColumns({ features, targets, weights }: ColumnRoles, { data, loss }: Config): PlannedColumn[] {
  const categorical = new Set(data.categorical);
  const plan = (name: string, isFeature: boolean): PlannedColumn => ({
    name,
    isFeature,
    kind: categorical.has(name) ? ('text' as const) : undefined,
    maxCategories: isFeature ? MAX_CATEGORIES : MAX_CLASSES,
    isListed: isFeature && data.features !== undefined,
    isClass: loss.kind === 'crossEntropy' && targets.includes(name),
    ...planMissing(data.missing, name, isFeature),
  });
  return [
    ...features.map((name) => plan(name, true)),
    ...[...targets, ...weights].map((name) => plan(name, false)),
  ];
}

/** @throws LockstepError if the packed rows would exceed what a worker can hold, before they are allocated. */
function layOut(
  table: Table,
  { features, target }: FittedTransforms,
  { config, fitted }: LoadRequest,
): RowLayout {
  const layout: RowLayout = {
    numRows: table.numRows,
    featureShape: [widthOf(features)],
    featureType: 'f32',
    featureScale: 1,
    ...layOutTargets(target, config),
  };
  refuseTooLarge(layout, fitted ? 'use fewer rows' : 'use fewer rows, or leave wide columns out');
  return layout;
}
