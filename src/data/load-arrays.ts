// Arrays to packed rows. Features go straight to their block; targets and weights become columns of a table, whose
// checks and transforms are those of a table from a file.
import type { ArraySource } from '../config/data-kind.ts';
import { targetColumns } from '../config/data-rules.ts';
import type { DataConfig } from '../config/schema.ts';
import { sizeOf } from '../shape.ts';
import { encodeArray, fitArray, requireFitting, type FittedArray } from './array-features.ts';
import { arrayError, type ArraySet } from './arrays.ts';
import type { Column } from './column.ts';
import { countOf } from './data-error.ts';
import { blobByteLength, featureView, refuseTooLarge, type RowLayout, type SplitIndices } from './dataset.ts';
import { nameFeatures } from './encode.ts';
import { fitTarget } from './fit-target.ts';
import { layOutTargets, packTargets } from './pack-targets.ts';
import type { LoadRequest, PackedRows } from './packed-rows.ts';
import { assignCounts, listFiles, type SplitFiles } from './sources.ts';
import { splitRows } from './split.ts';
import type { Table, TablePart } from './table.ts';

/** Packs the samples that were handed in for the hashes that the config names. */
export async function packArrays(files: SplitFiles<ArraySource>, request: LoadRequest): Promise<PackedRows> {
  const { config } = request;
  const sets = listFiles(files).map((source) => findSet(source, request));
  const rowCounts = sets.map(({ numRows }) => numRows);
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data });
  const feature = fitFeature(sets, { ...request, splits });
  const table = tableOf(sets, config.data);
  const targetNames = targetColumns(config.data);
  const target = fitTarget(table, { ...request, names: targetNames, splits });
  const layout: RowLayout = {
    numRows: table.numRows,
    featureShape: feature.shape,
    featureType: feature.byteScale === null ? 'f32' : 'u8',
    featureScale: feature.byteScale ?? 1,
    ...layOutTargets(target, config),
  };
  refuseTooLarge(layout, 'use fewer samples');
  const blob = new Uint8Array(blobByteLength(layout));
  writeFeatures(sets, feature, featureView({ layout, blob }));
  return {
    layout,
    blob,
    splits,
    transforms: { features: [feature], target },
    featureNames: nameFeatures([feature]),
    targetNames,
    classNames: target.kind === 'labels' ? target.classNames : [],
    ...packTargets(blob, { table, layout, target, splits, request }),
  };
}

function fitFeature(
  sets: readonly ArraySet[],
  { config, fitted, splits, warn }: LoadRequest & { readonly splits: SplitIndices },
): FittedArray {
  const [first] = sets as [ArraySet];
  const saved = fitted?.transforms.features.find((feature) => feature.kind === 'array');
  const isStandardized = config.data.standardize;
  const feature = saved ?? fitArray(first, splits.train, { isStandardized, warn });
  for (const set of sets) requireFitting(set, feature, saved ? 'the model' : first.name);
  return feature;
}

function findSet({ arrays: sha256 }: ArraySource, { arrays }: LoadRequest): ArraySet {
  const set = arrays?.get(sha256);
  if (set) return set;
  const given = [...(arrays?.values() ?? [])].map(({ name, sha256: other }) => `that of ${name} is ${other}`);
  if (given.length > 0) {
    throw arrayError(
      `the samples with SHA-256 ${sha256} are not among the arrays handed in: ${given.join(', ')}`,
      'hand in all that training had, with the same values, types and shapes; new samples go in as data',
    );
  }
  throw arrayError(
    `the samples with SHA-256 ${sha256} were arrays in a program; no file holds them`,
    'hand them in again: train(config) with the arrays, or evaluate(run, { arrays: [samples] })',
  );
}

/** Targets and weights under the names that the config has for them. */
function tableOf(sets: readonly ArraySet[], data: DataConfig): Table {
  const names = targetColumns(data);
  const parts: TablePart[] = [];
  let numRows = 0;
  for (const set of sets) {
    requireColumns(set, names.length, data.weights);
    parts.push({ file: set.name, firstRow: numRows, numRows: set.numRows });
    numRows += set.numRows;
  }
  const columns = names.map((name, at) =>
    columnOf(name, numRows, sets, (set, row) => set.targets[row * names.length + at]),
  );
  if (data.weights !== undefined)
    columns.push(columnOf(data.weights, numRows, sets, (set, row) => set.weights?.[row]));
  return {
    parts,
    numRows,
    columns: new Map(columns.map((column) => [column.name, column])),
    lines: undefined,
  };
}

function columnOf(
  name: string,
  numRows: number,
  sets: readonly ArraySet[],
  valueAt: (set: ArraySet, row: number) => number | undefined,
): Column {
  const values = new Float64Array(numRows);
  let filled = 0;
  for (const set of sets) {
    for (let row = 0; row < set.numRows; row++) values[filled++] = valueAt(set, row) as number;
  }
  return { name, kind: 'number', values, categories: [] };
}

function requireColumns(set: ArraySet, numTargets: number, weights: string | undefined): void {
  if (set.targetWidth !== numTargets) {
    const counts = `${countOf(set.targetWidth, 'value')} a sample, data.target has ${countOf(numTargets, 'name')}`;
    throw arrayError(`${set.name}.targets has ${counts}`);
  }
  if (weights === undefined || set.weights) return;
  throw arrayError(
    `${set.name}.weights: missing; data.weights asks for them`,
    'give each sample a weight, such as 1',
  );
}

function writeFeatures(
  sets: readonly ArraySet[],
  feature: FittedArray,
  rows: Float32Array | Uint8Array,
): void {
  let filled = 0;
  for (const set of sets) {
    const length = set.numRows * sizeOf(set.shape);
    encodeArray({ ...set, name: `${set.name}.features` }, feature, rows.subarray(filled, filled + length));
    filled += length;
  }
}
