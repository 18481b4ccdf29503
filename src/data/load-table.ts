// Tables to packed rows: one or more CSV files, any mix of number and text columns.
import type { DataConfig } from '../config/schema.ts';
import { sizeOf } from '../layers/layer.ts';
import { assignColumnRoles, type ColumnRoles } from './column-roles.ts';
import { configError } from './data-error.ts';
import {
  blobByteLength,
  refuseTooLarge,
  targetsByteOffset,
  type RowLayout,
  type SplitIndices,
} from './dataset.ts';
import { encodeFeatures, encodeLabels, encodeTargetValues, nameFeatures, widthOf } from './encode.ts';
import { MAX_CLASSES, checkClasses, fitClasses } from './labels.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { splitRows } from './split.ts';
import { assignCounts, listFiles, type SplitFiles } from './sources.ts';
import { columnOf, readTable, type Table } from './table.ts';
import { fitFeatures, fitTargetValues, type FittedTarget, type FittedTransforms } from './transforms.ts';
import type { PlannedColumn } from './column.ts';

/** More one-hot features than this from one column are an identifier. */
export const MAX_CATEGORIES = 1000;

/** Reads the tables, fits their transforms on the training split and packs every row. */
export async function packTable(files: SplitFiles<string>, request: LoadRequest): Promise<PackedRows> {
  const { config, warn } = request;
  const { table, roles } = await readPlannedTable(files, request);
  const rowCounts = table.parts.map(({ numRows }) => numRows);
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data });
  const features = fitFeatures(table, splits.train, { names: roles.features, data: config.data, warn });
  const target = fitTarget(table, { roles, splits, request });
  const layout = layOut(table, { features, target });
  const blob = new Uint8Array(blobByteLength(layout));
  fillBlob(blob, { table, layout, transforms: { features, target }, splits, request });
  return {
    layout,
    blob,
    splits,
    transforms: { features, target },
    featureNames: nameFeatures(features),
    targetNames: roles.targets,
    classNames: target.kind === 'labels' ? target.classNames : [],
  };
}

async function readPlannedTable(files: SplitFiles<string>, { config, warn }: LoadRequest) {
  const { data, loss } = config;
  let roles: ColumnRoles = { features: [], targets: [] };
  const table = await readTable({
    paths: listFiles(files),
    format: data,
    plan: (header) => {
      roles = assignColumnRoles(header, data);
      return planColumns(roles, data);
    },
    warn,
  });
  if (loss === 'mse') refuseTextTargets(table, roles.targets);
  return { table, roles };
}

function planColumns({ features, targets }: ColumnRoles, data: DataConfig): PlannedColumn[] {
  const categorical = new Set(data.categorical);
  const plan = (name: string, isTarget: boolean) => ({
    name,
    isTarget,
    kind: categorical.has(name) ? ('text' as const) : undefined,
    maxCategories: isTarget ? MAX_CLASSES : MAX_CATEGORIES,
  });
  return [...features.map((name) => plan(name, false)), ...targets.map((name) => plan(name, true))];
}

function refuseTextTargets(table: Table, targets: readonly string[]): void {
  const name = targets.find((target) => columnOf(table, target).kind === 'text');
  if (name === undefined) return;
  const message = `target "${name}" holds texts; loss mse needs numbers`;
  throw configError('E_CONFIG_TARGET', message, 'set loss: crossEntropy to predict classes');
}

function fitTarget(
  table: Table,
  context: { readonly roles: ColumnRoles; readonly splits: SplitIndices; readonly request: LoadRequest },
): FittedTarget {
  const { config, math, warn } = context.request;
  const { targets } = context.roles;
  if (config.loss === 'crossEntropy') {
    return fitClasses(table, targets[0] as string, config.data.classes);
  }
  const steps = config.data.targetTransform;
  return fitTargetValues(table, context.splits.train, { names: targets, steps, math, warn });
}

/** @throws LockstepError if the packed rows would exceed what a worker can hold, before they are allocated. */
function layOut(table: Table, { features, target }: FittedTransforms): RowLayout {
  const isLabels = target.kind === 'labels';
  const layout: RowLayout = {
    numRows: table.numRows,
    featureShape: [widthOf(features)],
    featureType: 'f32',
    featureScale: 1,
    targetKind: target.kind,
    targetWidth: isLabels ? 1 : target.columns.length,
    numClasses: isLabels ? target.classNames.length : 0,
  };
  refuseTooLarge(layout);
  return layout;
}

function fillBlob(
  blob: Uint8Array,
  parts: {
    readonly table: Table;
    readonly layout: RowLayout;
    readonly transforms: FittedTransforms;
    readonly splits: SplitIndices;
    readonly request: LoadRequest;
  },
): void {
  const { table, layout, transforms, splits, request } = parts;
  const rows = new Float32Array(blob.buffer, 0, layout.numRows * sizeOf(layout.featureShape));
  encodeFeatures(table, transforms.features, { rows, warn: request.warn });
  const targetsFrom = targetsByteOffset(layout);
  if (transforms.target.kind === 'labels') {
    const labels = new Uint32Array(blob.buffer, targetsFrom, layout.numRows);
    labels.set(encodeLabels(table, transforms.target));
    checkClasses(labels, transforms.target.classNames, { splits, warn: request.warn });
    return;
  }
  const out = new Float32Array(blob.buffer, targetsFrom, layout.numRows * layout.targetWidth);
  encodeTargetValues(table, transforms.target, { out, math: request.math });
}
