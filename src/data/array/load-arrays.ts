// Arrays to packed rows. Features go straight to their block, value by value through the arithmetic of
// table columns, so that the same numbers get the same bits from either. Targets and sample weights become
// columns of a table, with a row for each sample or for each of its positions.
import { targetColumns, type ArraySource } from '../../config/data-sources.ts';
import type { Config, DataConfig } from '../../config/schema.ts';
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
import { cellsOf, splitRows } from '../dataset/split.ts';
import { describeValues, nameFeatures, type Standardization } from '../dataset/transforms.ts';
import { cellsOf as inMemory } from '../table/cell-store.ts';
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
  const positions = positionsOf(sets, request);
  if (positions > 1) refuseAtPositions(config);
  const rowCounts = sets.map(({ numRows }) => numRows);
  const keys = config.data.split.stratify && sets[0]?.targets;
  const splits = splitRows(assignCounts(files, rowCounts), { ...config, ...config.data, keys });
  const feature = fitFeature(sets, { ...request, splits });
  const { samples, targets: table } = tablesOf(sets, config.data, positions);
  const targetNames = targetColumns(config.data);
  const cells = {
    train: cellsOf(splits.train, positions),
    validation: cellsOf(splits.validation, positions),
    test: cellsOf(splits.test, positions),
  };
  const fittedTarget = fitTarget(table, { ...request, names: targetNames, splits: cells });
  const target = positions === 1 ? fittedTarget : { ...fittedTarget, positions };
  const layout: RowLayout = {
    numRows: samples.numRows,
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
    ...packTargets(blob, { table, samples, layout, target, splits: cells, request }),
  };
}

/**
 * Positions of a sample that have targets each: 1 unless samples have several values for each name of
 * `data.target`.
 *
 * @throws LockstepError where sets differ, or values are neither named nor those of positions
 */
function positionsOf(sets: readonly ArraySet[], { config, fitted }: ArraysRequest): number {
  const numNames = targetColumns(config.data).length;
  const [first] = sets as [ArraySet];
  const positions = fitted ? (fitted.transforms.target.positions ?? 1) : guessPositions(first, config);
  for (const set of sets) {
    if (set.targetWidth === numNames * positions) continue;
    const found = `${set.name}.targets has ${countOf(set.targetWidth, 'value')} a sample`;
    if (positions > 1) {
      const other = fitted ? 'those of the model have' : `${first.name}.targets has`;
      throw arrayError(`${found}, ${other} ${numNames * positions}`);
    }
    const help = 'name each; or, where they are those of positions, give samples of [positions, features]';
    throw arrayError(`${found}, data.target has ${countOf(numNames, 'name')}`, help);
  }
  return positions;
}

/**
 * Numbers are those of positions if a sample is a sequence of as many. Labels always are, also several
 * characters in an image: their number is checked against the model's outputs.
 */
function guessPositions({ name, shape, targetShape, targetWidth }: ArraySet, config: Config): number {
  const numNames = targetColumns(config.data).length;
  const positions = targetWidth / numNames;
  if (!Number.isInteger(positions) || positions === 1) return 1;
  const isLabels = config.loss.kind === 'crossEntropy';
  if (!isLabels && (shape.length !== 2 || shape[0] !== positions)) return 1;
  const [length = 1, ...rest] = targetShape;
  if (rest.length === 0 || (rest.length === 1 && rest[0] === numNames)) return positions;
  const counts = `${countOf(sizeOf(rest), 'value')} at each of ${countOf(length, 'position')}`;
  const help = isLabels ? 'give class indices, such as numpy.argmax(y, axis=-1)' : undefined;
  throw arrayError(`${name}.targets has ${counts}, data.target has ${countOf(numNames, 'name')}`, help);
}

/** Refuses settings that need one label, or one weight, for a whole sample. */
function refuseAtPositions({ classWeights, data, loss }: Config): void {
  if (data.split.stratify) {
    const message = 'data.split.stratify takes one label a sample, the data has one at each position';
    throw configError('E_CONFIG_SPLIT', message, 'remove it');
  }
  if (loss.kind !== 'binaryCrossEntropy' || classWeights === undefined) return;
  const message = 'classWeights weigh labels at positions with crossEntropy only';
  throw configError('E_CONFIG_CLASS_WEIGHTS', message, 'remove it, or set loss: crossEntropy');
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

/**
 * Tables of sample weights, a row for each sample, and of targets, a row for each position, under the names
 * that the config has for them.
 */
function tablesOf(
  sets: readonly ArraySet[],
  data: DataConfig,
  positions: number,
): { readonly samples: Table; readonly targets: Table } {
  const names = targetColumns(data);
  const weightNames = data.weights === undefined ? [] : [data.weights];
  const weights = weightNames.map((name): NamedValues => [name, weightsOf]);
  const targets = names.map((name, at): NamedValues => {
    const width = names.length;
    return [name, ({ targets: values }) => values.filter((_, index) => index % width === at)];
  });
  return { samples: tableOf(sets, 1, weights), targets: tableOf(sets, positions, targets) };
}

/** A column's name, and its values in a set. */
type NamedValues = readonly [name: string, valuesOf: (set: ArraySet) => Float64Array];

/** A table with so many rows for each sample. */
function tableOf(sets: readonly ArraySet[], rowsOfSample: number, columns: readonly NamedValues[]): Table {
  const parts: TablePart[] = [];
  const positions = rowsOfSample === 1 ? undefined : rowsOfSample;
  let firstRow = 0;
  for (const { name, numRows: numSamples } of sets) {
    const numRows = numSamples * rowsOfSample;
    parts.push({ file: name, firstRow, numRows, hasLines: false, positions });
    firstRow += numRows;
  }
  const gather = ([name, valuesOf]: NamedValues): [string, Column] => {
    const values = new Float64Array(firstRow);
    for (const [index, set] of sets.entries()) values.set(valuesOf(set), parts[index]?.firstRow);
    return [name, { name, kind: 'number', categories: [], ...inMemory(values) }];
  };
  return { parts, numRows: firstRow, columns: new Map(columns.map(gather)), places: numberRows(parts) };
}

function weightsOf({ name, sampleWeights }: ArraySet): Float64Array {
  if (sampleWeights) return sampleWeights;
  const message = `${name}.weights: missing; data.weights asks for them`;
  throw arrayError(message, 'give each sample a weight, such as 1');
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
