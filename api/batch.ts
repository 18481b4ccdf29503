// Batches of a program's own loop: their checks, and their rows as the engine takes them.
import { LockstepError, quoteValue } from '../src/errors.ts';
import {
  arrayError,
  flattenNumbers,
  namePlace,
  refuseInfinite,
  type Numbers,
} from '../src/data/array/numbers.ts';
import {
  blobByteLength,
  featureView,
  PIXEL_SCALE,
  refuseTooLarge,
  sampleWeightView,
  sampleWeightWidth,
  targetView,
  totalSampleWeight,
  type PackedBlocks,
  type RowLayout,
} from '../src/data/dataset/packed-dataset.ts';
import { range } from '../src/data/dataset/split.ts';
import type { Config } from '../src/config/schema.ts';
import { nameFeatures, type FittedTarget } from '../src/data/dataset/transforms.ts';
import type { LoadedData } from '../src/data/load.ts';
import type { Model } from '../src/model/model.ts';
import { countOf } from '../src/printable.ts';
import { formatShape, sizeOf } from '../src/shape.ts';
import type { LossKind } from '../src/losses/registry.ts';
import { didYouMean } from '../src/config/suggest.ts';

/** Samples that a step is taken on, or that are measured. They are copied. */
export interface Batch {
  /**
   * The values of the samples, [samples, inputShape]: in one flat array, or a list of samples. Bytes
   * (`Uint8Array`) are scaled to 0..1; all else is rounded to float32. Token ids are numbers, not bytes.
   */
  readonly features: Numbers;
  /**
   * Numbers, as many for each sample as the last layer has outputs, or for `crossEntropy` class indices from
   * 0: one for each sample, or each position where the last layer gives [positions, classes].
   */
  readonly targets: Numbers;
  /**
   * The weight of each sample, at least 0; or of each label of a sequence, [samples, positions]. Default: all
   * count the same.
   */
  readonly weights?: Numbers | undefined;
  /**
   * A number of each sample by which dropout and augmentation draw, from 0 to 2^32 - 1: its row in your data,
   * where the bits are to be those of `train`. Default: its place in the batch.
   */
  readonly indices?: ArrayLike<number> | undefined;
}

/** A batch, checked, as rows of a dataset. */
export interface PackedBatch {
  readonly dataset: PackedBlocks;
  readonly indices: Uint32Array;
  /** The sum of all weights: the divisor of sums. */
  readonly weight: number;
  /** Targets as they were given. */
  readonly targets: Float64Array;
  /** True if `weights` were given. */
  readonly isWeighted: boolean;
  /** True if the features were bytes. */
  readonly areBytes: boolean;
}

/**
 * The layout of no rows, whose targets are those of a loss.
 * @throws LockstepError E_MODEL_SHAPE if the outputs are no classes, and the loss needs them
 */
export function layOutBatches({ inputShape, outputShape, outputWidth }: Model, loss: LossKind): RowLayout {
  const common = {
    numRows: 0,
    featureShape: inputShape,
    featureType: 'f32',
    featureScale: 1,
    hasSampleWeights: true,
  } as const;
  if (loss !== 'crossEntropy')
    return { ...common, targetKind: 'values', targetWidth: outputWidth, numClasses: 0 };
  const [numClasses = 0, positions = 1] = outputShape.toReversed();
  if (outputShape.length <= 2 && numClasses >= 2)
    return { ...common, targetKind: 'labels', targetWidth: positions, numClasses };
  throw new LockstepError({
    category: 'usage',
    code: 'E_MODEL_SHAPE',
    message: `crossEntropy takes outputs [classes] or [positions, classes], at least 2 classes; the last layer gives ${formatShape(outputShape)}`,
    help: 'end with a dense layer that has a unit for each class',
  });
}

/**
 * Checks a batch, and packs it. `isProbability` refuses targets that are not from 0 to 1.
 * @throws LockstepError that names the field and the row (from 0)
 */
export function packBatch(batch: Batch, ofLoss: RowLayout, isProbability: boolean): PackedBatch {
  requireFields(batch);
  const { features, numRows } = takeFeatures(batch.features, ofLoss.featureShape);
  const layout = { ...ofLoss, numRows };
  const dataset = packFeatures(features, layout);
  const targets = takeValues(batch.targets, [numRows, layout.targetWidth], 'batch.targets');
  const limits = limitsOf(layout, isProbability);
  if (limits) requireWithin(targets, layout.targetWidth, limits);
  targetView(dataset).set(targets);
  const weights = sampleWeightView(dataset) as Float32Array;
  if (batch.weights === undefined) weights.fill(1);
  else weights.set(takeWeights(batch.weights, layout));
  const indices = batch.indices === undefined ? range(0, numRows) : takeIndices(batch.indices, numRows);
  const weight = totalSampleWeight(dataset, range(0, numRows));
  const isWeighted = batch.weights !== undefined;
  return { dataset, indices, weight, targets, isWeighted, areBytes: features instanceof Uint8Array };
}

/** Checks features, and packs them as rows with targets of 0. */
export function packInputs(inputs: Numbers, ofLoss: RowLayout): PackedBlocks {
  const { features, numRows } = takeFeatures(inputs, ofLoss.featureShape);
  return packFeatures(features, { ...ofLoss, numRows });
}

/** A batch, or its layout alone, as data that were loaded, with names for its targets and classes. */
export function describeBatch(
  {
    dataset,
    targets = new Float64Array(),
    isWeighted = false,
  }: Pick<PackedBatch, 'dataset'> & Partial<PackedBatch>,
  { loss }: Pick<Config, 'loss'>,
  areBytes: boolean,
): LoadedData {
  const { layout, blob } = dataset;
  const { featureShape, numClasses, numRows, targetKind, targetWidth } = layout;
  const byteScale = areBytes ? PIXEL_SCALE : null;
  const features = [{ kind: 'array', shape: featureShape, byteScale, standardized: null }] as const;
  const classNames = Array.from({ length: numClasses }, (_, index) => String(index));
  const isOne = targetKind === 'labels' || targetWidth === 1;
  const names = Array.from({ length: isOne ? 1 : targetWidth }, (_, at) =>
    isOne ? 'target' : `target${at + 1}`,
  );
  const isBinary = loss.kind === 'binaryCrossEntropy' && targets.every((value) => value === 0 || value === 1);
  const target: FittedTarget =
    targetKind === 'labels'
      ? { kind: 'labels', column: 'target', cells: 'index', classNames }
      : {
          kind: 'values',
          columns: names.map((column) => ({ column, steps: [] })),
          ...(isBinary && { isBinary }),
        };
  return {
    dataset: { layout, blob, sha256: '' },
    splits: { train: range(0, 0), validation: range(0, 0), test: range(0, numRows) },
    transforms: { features, target },
    featureNames: nameFeatures(features),
    targetNames: names,
    classNames,
    sampleWeights: isWeighted ? sampleWeightView(dataset) : undefined,
    targetValues: names.map((_, column) =>
      Float64Array.from({ length: numRows }, (__, row) => targets[row * targetWidth + column] as number),
    ),
  };
}

const FIELDS = ['features', 'targets', 'weights', 'indices'] satisfies (keyof Batch)[];

function requireFields(batch: Batch): void {
  if (typeof batch !== 'object' || batch === null)
    throw arrayError(`batch: expected { features, targets }, got ${quoteValue(batch)}`);
  const unknown = Object.keys(batch).find((key) => !FIELDS.some((field) => field === key));
  if (unknown === undefined) return;
  const help = didYouMean(unknown, FIELDS) ?? `valid fields: ${FIELDS.join(', ')}`;
  throw arrayError(`batch: unknown field ${quoteValue(unknown)}`, help);
}

type Values = ReturnType<typeof flattenNumbers>['values'];

function takeFeatures(
  features: Numbers,
  shape: RowLayout['featureShape'],
): { features: Values; numRows: number } {
  const name = 'batch.features';
  const { values, shape: rows } = flattenNumbers(features, name);
  const width = sizeOf(shape);
  const numRows = values.length / width;
  const isWhole = values.length > 0 && Number.isInteger(numRows);
  if (!isWhole || (rows !== undefined && rows[0] !== numRows)) {
    const counts = rows ? `${countOf(rows[1], 'value')} a sample` : countOf(values.length, 'value');
    throw arrayError(`${name} has ${counts}; a sample of ${formatShape(shape)} has ${width}`);
  }
  refuseInfinite(values, shape, name);
  return { features: values, numRows };
}

function packFeatures(features: Values, layout: RowLayout): PackedBlocks {
  refuseTooLarge(layout, 'give fewer samples at once');
  const dataset = { layout, blob: new Uint8Array(blobByteLength(layout)) };
  const rows = featureView(dataset);
  if (!(features instanceof Uint8Array)) rows.set(features);
  else for (let at = 0; at < rows.length; at++) rows[at] = (features[at] as number) * PIXEL_SCALE;
  return dataset;
}

/** Numbers of all samples, [numRows, width], finite in float32. */
function takeValues(
  numbers: Numbers,
  [numRows, width]: readonly [number, number],
  name: string,
): Float64Array {
  const { values, shape } = flattenNumbers(numbers, name);
  if (values.length !== numRows * width || (shape !== undefined && shape[0] !== numRows)) {
    const needed = width === 1 ? countOf(numRows, 'sample') : `${countOf(numRows, 'sample')} of ${width}`;
    throw arrayError(`${name} has ${countOf(values.length, 'value')} for ${needed}`);
  }
  refuseInfinite(values, [width], name);
  return Float64Array.from(values);
}

/** Values that targets may have. */
interface Limits {
  readonly most: number;
  readonly areWhole: boolean;
  readonly words: string;
}

function limitsOf({ targetKind, numClasses }: RowLayout, isProbability: boolean): Limits | undefined {
  if (targetKind === 'labels') {
    const words = `a class is a whole number from 0 to ${numClasses - 1}`;
    return { most: numClasses - 1, areWhole: true, words };
  }
  return isProbability ? { most: 1, areWhole: false, words: 'expected 0 to 1' } : undefined;
}

function requireWithin(targets: Float64Array, width: number, { most, areWhole, words }: Limits): void {
  const at = targets.findIndex(
    (value) => value < 0 || value > most || (areWhole && !Number.isInteger(value)),
  );
  if (at === -1) return;
  throw arrayError(`batch.targets, ${namePlace(at, [width])} is ${targets[at]}: ${words}`);
}

function takeWeights(weights: Numbers, layout: RowLayout): Float64Array {
  const { numRows } = layout;
  const width = sampleWeightWidth(layout);
  const name = 'batch.weights';
  const isOfSamples = width > 1 && flattenNumbers(weights, name).values.length === numRows;
  const values = takeValues(weights, [numRows, isOfSamples ? 1 : width], name);
  const at = values.findIndex((value) => value < 0);
  if (at !== -1)
    throw arrayError(
      `${name}, ${namePlace(at, [isOfSamples ? 1 : width])} is ${values[at]}: expected 0 or more`,
    );
  return isOfSamples
    ? Float64Array.from({ length: numRows * width }, (_, i) => values[Math.floor(i / width)]!)
    : values;
}

function takeIndices(indices: ArrayLike<number>, numRows: number): Uint32Array {
  if (indices instanceof Uint32Array && indices.length === numRows) return indices.slice();
  const values = takeValues(indices, [numRows, 1], 'batch.indices');
  const at = values.findIndex((value) => value !== value >>> 0);
  if (at === -1) return Uint32Array.from(values);
  throw arrayError(`batch.indices, row ${at} is ${values[at]}: expected a whole number from 0 to 2^32 - 1`);
}
