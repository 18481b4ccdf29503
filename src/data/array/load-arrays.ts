// Arrays to packed rows. Features go straight to their block, value by value through the arithmetic of
// table columns, so that the same numbers get the same bits from either. Targets and sample weights become
// columns of a table.
import { targetColumns, type ArraySource } from '../../config/data-sources.ts';
import type { DataConfig } from '../../config/schema.ts';
import { arrayError, encodeArray, type FittedArray } from './numbers.ts';
import type { ArraySet, ArraySets } from './arrays.ts';
import { configError, dataError } from '../../errors.ts';
import {
  assignCounts,
  missingSamples,
  type PackedRows,
  type PackRequest,
  type SplitFiles,
} from '../dataset/load-request.ts';
import {
  blobByteLength,
  featureView,
  PIXEL_SCALE,
  refuseTooLarge,
  type RowLayout,
  type SplitIndices,
} from '../dataset/packed-dataset.ts';
import { splitRows } from '../dataset/split.ts';
import { describeValues, nameFeatures, type Standardization } from '../dataset/transforms.ts';
import { cellsOf } from '../table/cell-store.ts';
import type { Column } from '../table/column.ts';
import { fitTarget } from '../table/fit-target.ts';
import { layOutTargets, packTargets } from '../table/pack-targets.ts';
import { numberRows, type Table, type TablePart } from '../table/table.ts';
import { readNpySamples } from './npy-file.ts';
import { formatShape, sizeOf } from '../../shape.ts';
import { countOf } from '../../printable.ts';

interface ArraysRequest extends PackRequest {
  readonly arrays?: ArraySets | undefined;
}

/** Packs the samples that were handed in for the hashes that the config names. */
export async function packArrays(
  files: SplitFiles<ArraySource>,
  request: ArraysRequest,
): Promise<PackedRows> {
  const { config } = request;
  const sets = await readSets(files, request);
  const rowCounts = sets.map(({ numRows }) => numRows);
  const keys = config.data.split.stratify && sets[0]?.targets;
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data, keys });
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

async function readSets(files: SplitFiles<ArraySource>, request: ArraysRequest): Promise<ArraySet[]> {
  const sets: ArraySet[] = [];
  for (const name of ['train', 'validation', 'test'] as const) {
    const source = files[name];
    if (source)
      sets.push('arrays' in source ? findSet(source, request) : await readNpySamples(source, `data.${name}`));
  }
  return sets;
}

function fitFeature(
  sets: readonly ArraySet[],
  { config, fitted, splits, warn }: PackRequest & { readonly splits: SplitIndices },
): FittedArray {
  const [first] = sets as [ArraySet];
  const saved = fitted?.transforms.features.find((feature) => feature.kind === 'array');
  const { standardize, train } = config.data;
  // In a program that is its default; a config cannot know what is in the file.
  const isOfFile = typeof train === 'object' && 'features' in train;
  const isTabular = first.shape.length === 1 && !(first.features instanceof Uint8Array);
  const isStandardized = standardize && (isTabular || !isOfFile);
  const feature = saved ?? fitArray(first, splits.train, { isStandardized, warn });
  for (const set of sets) requireFitting(set, feature, saved ? 'the model' : first.name);
  return feature;
}

function findSet({ arrays: sha256 }: { readonly arrays: string }, { arrays }: ArraysRequest): ArraySet {
  const set = arrays?.get(sha256);
  if (set && 'features' in set) return set;
  throw missingSamples(sha256, arrays);
}

/** A table of targets and sample weights, under the names that the config has for them. */
function tableOf(sets: readonly ArraySet[], data: DataConfig): Table {
  const names = targetColumns(data);
  const parts: TablePart[] = [];
  let numRows = 0;
  for (const set of sets) {
    requireColumns(set, names.length, data.weights);
    parts.push({ file: set.name, firstRow: numRows, numRows: set.numRows, hasLines: false });
    numRows += set.numRows;
  }
  const columns = names.map((name, at) =>
    gatherColumn(name, numRows, sets, (set, row) => set.targets[row * names.length + at]),
  );
  if (data.weights !== undefined)
    columns.push(gatherColumn(data.weights, numRows, sets, (set, row) => set.sampleWeights?.[row]));
  return {
    parts,
    numRows,
    columns: new Map(columns.map((column) => [column.name, column])),
    places: numberRows(parts),
  };
}

function gatherColumn(
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
  return { name, kind: 'number', categories: [], ...cellsOf(values) };
}

function requireColumns(set: ArraySet, numTargets: number, weightsName: string | undefined): void {
  if (set.targetWidth !== numTargets) {
    const counts = `${countOf(set.targetWidth, 'value')} a sample, data.target has ${countOf(numTargets, 'name')}`;
    throw arrayError(`${set.name}.targets has ${counts}`);
  }
  if (weightsName === undefined || set.sampleWeights) return;
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

/** Fits the features on the rows in `train`, all of which are rows of `set`. */
function fitArray(
  { features, shape }: ArraySet,
  train: Uint32Array,
  { isStandardized, warn }: { readonly isStandardized: boolean; readonly warn: (message: string) => void },
): FittedArray {
  const isBytes = features instanceof Uint8Array;
  if (isBytes && isStandardized) {
    const message = 'data.standardize does not go with bytes, which are scaled to 0..1';
    throw configError('E_CONFIG_STANDARDIZE', message, 'set it to false, or give the features as numbers');
  }
  const standardized = isStandardized ? describeEach(features, sizeOf(shape), train) : null;
  const numConstant = standardized?.filter(({ scale }) => scale === 0).length ?? 0;
  if (numConstant > 0) {
    const found = `${countOf(numConstant, 'feature')} of ${sizeOf(shape)}`;
    warn(`${found} with one value in the training split; standardised to 0`);
  }
  return { kind: 'array', shape, byteScale: isBytes ? PIXEL_SCALE : null, standardized };
}

function describeEach(features: ArraySet['features'], width: number, train: Uint32Array): Standardization[] {
  const areFloat32 = features instanceof Float32Array;
  return Array.from({ length: width }, (_, at) =>
    describeValues(
      Float64Array.from(train, (row) => features[row * width + at] as number),
      areFloat32,
    ),
  );
}

/**
 * Checks samples against the fitted features.
 *
 * @throws LockstepError if they are not of the shape and type of `others`, on which the features were
 * fitted
 */
function requireFitting({ name, shape, features }: ArraySet, fitted: FittedArray, others: string): void {
  const [found, needed] = [shape, fitted.shape].map((sides) => formatShape(sides));
  if (found !== needed) {
    throw dataError('E_DATA_SHAPE', `${name} has samples of ${found}, those of ${others} are ${needed}`);
  }
  if (features instanceof Uint8Array === (fitted.byteScale !== null)) return;
  const [type, other] = fitted.byteScale === null ? ['bytes', 'numbers'] : ['numbers', 'bytes'];
  const message = `${name}.features are ${type}, those of ${others} are ${other}`;
  throw dataError('E_DATA_SHAPE', message, {
    help: `give ${other}: a Uint8Array is bytes, everything else numbers`,
  });
}
