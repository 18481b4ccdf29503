// Sets of IDX images to packed rows: pixels stay bytes; a kernel scales them when it gathers a batch.
import type { ImageFiles } from '../../config/data-sources.ts';
import {
  checkClasses,
  describeBadLabel,
  helpForLabelsFromOne,
  IGNORED_LABEL,
  indexNames,
  isFromOne,
  rangeOf,
  type LabelRange,
} from '../dataset/class-labels.ts';
import { dataError } from '../../errors.ts';
import {
  assignCounts,
  listFiles,
  type FittedData,
  type PackedRows,
  type PackRequest,
  type SplitFiles,
} from '../dataset/load-request.ts';
import {
  blobByteLength,
  PIXEL_SCALE,
  refuseTooLarge,
  targetView,
  type RowLayout,
} from '../dataset/packed-dataset.ts';
import { classWeightsOf, foldSampleWeights, wantsSampleWeights } from '../dataset/sample-weights.ts';
import { displayPath } from '../dataset/source-file.ts';
import { splitRows } from '../dataset/split.ts';
import { nameFeatures, type FittedTransforms } from '../dataset/transforms.ts';
import { readIdxData, readImageHeader, readLabelHeader, type IdxHeader } from './idx.ts';
import { countOf } from '../../printable.ts';

/** The two files of one set, after their headers agreed. */
interface ImageSet {
  readonly images: IdxHeader;
  readonly labels: IdxHeader;
}

/** Reads all sets of images into one block of rows, with their labels after it. */
export async function packImages(files: SplitFiles<ImageFiles>, request: PackRequest): Promise<PackedRows> {
  const { config, fitted, warn } = request;
  const sets = await readHeaders(files);
  const counts = sets.map((set) => set.labels.dataBytes);
  const splits = splitRows(assignCounts(files, counts), { ...config, ...config.data });
  const isBinary = config.loss.kind === 'binaryCrossEntropy';
  const numClasses = isBinary ? 2 : (numSavedClasses(fitted) ?? config.data.classes);
  const { ignoreIndex } = config.data;
  const labels = await readLabels(sets, {
    classes: numClasses,
    ignoreIndex,
    isBinary,
    isSaved: fitted !== undefined,
  });
  const classNames = indexNames(numClasses ?? highest(labels) + 1);
  if (!fitted) checkClasses(labels, classNames, { splits, warn });
  const classWeights = fitted
    ? fitted.classWeights
    : classWeightsOf(config.classWeights, { classNames, labels, splits });
  const shape = (sets[0] as ImageSet).images.dimensions.slice(1);
  const transforms: FittedTransforms = {
    features: [{ kind: 'pixels', shape, scale: PIXEL_SCALE }],
    target: { kind: 'labels', column: 'label', cells: 'index', classNames },
  };
  const featureNames = nameFeatures(transforms.features);
  const layout: RowLayout = {
    numRows: labels.length,
    featureShape: [1, ...shape],
    featureType: 'u8',
    featureScale: PIXEL_SCALE,
    // One output tells two classes apart, so binary labels are values to fit.
    targetKind: isBinary ? 'values' : 'labels',
    targetWidth: 1,
    numClasses: isBinary ? 0 : classNames.length,
    hasSampleWeights: wantsSampleWeights(config),
  };
  refuseTooLarge(layout, 'use fewer images');
  const blob = await readImages(sets, layout);
  const sampleWeights = foldSampleWeights(blob, layout, { labels, classes: classWeights });
  targetView({ layout, blob }).set(labels);
  const targetNames = ['label'];
  return {
    layout,
    blob,
    splits,
    transforms,
    featureNames,
    targetNames,
    classNames,
    classWeights,
    sampleWeights,
    targetValues: [],
  };
}

function numSavedClasses(fitted: FittedData | undefined): number | undefined {
  const target = fitted?.transforms.target;
  return target?.kind === 'labels' ? target.classNames.length : undefined;
}

async function readHeaders(files: SplitFiles<ImageFiles>): Promise<ImageSet[]> {
  const sets: ImageSet[] = [];
  for (const set of listFiles(files)) {
    const images = await readImageHeader(set.images);
    const labels = await readLabelHeader(set.labels);
    requireEqualCounts(images, labels);
    requireEqualShapes(sets[0]?.images ?? images, images);
    sets.push({ images, labels });
  }
  return sets;
}

function requireEqualCounts(images: IdxHeader, labels: IdxHeader): void {
  const [numImages, numLabels] = [images.dimensions[0] as number, labels.dimensions[0] as number];
  if (numImages === numLabels) return;
  const counts = `${countOf(numImages, 'image')} but ${displayPath(labels.path)} has ${countOf(numLabels, 'label')}`;
  throw dataError('E_DATA_IDX', `${displayPath(images.path)} has ${counts}`);
}

function requireEqualShapes(first: IdxHeader, images: IdxHeader): void {
  const [expected, shape] = [first, images].map(({ dimensions }) => dimensions.slice(1).join('x'));
  if (expected === shape) return;
  const message = `${displayPath(images.path)} has images of ${shape}, ${displayPath(first.path)} of ${expected}`;
  throw dataError('E_DATA_IDX', message);
}

async function readLabels(
  sets: readonly ImageSet[],
  { classes, ignoreIndex, ...rules }: LabelRules,
): Promise<Uint32Array> {
  const labels = new Uint32Array(sets.reduce((sum, set) => sum + set.labels.dataBytes, 0));
  let filled = 0;
  for (const { labels: header } of sets) {
    const bytes = new Uint8Array(header.dataBytes);
    await readIdxData(header, bytes);
    for (const label of bytes) labels[filled++] = label === ignoreIndex ? IGNORED_LABEL : label;
  }
  if (classes !== undefined) refuseOutside(labels, classes, { sets, ...rules });
  return labels;
}

interface LabelRules {
  readonly classes: number | undefined;
  readonly ignoreIndex: number | undefined;
  readonly isBinary: boolean;
  /** True if the classes are those of a trained model. */
  readonly isSaved: boolean;
}

function refuseOutside(
  labels: Uint32Array,
  classes: number,
  { sets, ...rules }: Pick<LabelRules, 'isBinary' | 'isSaved'> & { readonly sets: readonly ImageSet[] },
): void {
  const bad = labels.findIndex((label) => label >= classes && label !== IGNORED_LABEL);
  if (bad === -1) return;
  let at = bad;
  const set = sets.find(
    ({ labels: { dataBytes } }) => at < dataBytes || ((at -= dataBytes), false),
  ) as ImageSet;
  const range = rangeOf(labels.filter((label) => label !== IGNORED_LABEL));
  const message = `${displayPath(set.labels.path)} [${at}]: ${describeBadLabel(labels[bad] as number, classes, range)}`;
  throw dataError('E_DATA_LABEL', message, { help: helpForLabels(classes, range, rules) });
}

function helpForLabels(
  classes: number,
  range: LabelRange,
  { isBinary, isSaved }: Pick<LabelRules, 'isBinary' | 'isSaved'>,
): string {
  if (isSaved) return `number the classes as in training, from 0 to ${classes - 1}`;
  if (isBinary) return 'number the classes 0 and 1, or set loss: crossEntropy';
  if (isFromOne(classes, range)) return helpForLabelsFromOne(classes + 1);
  const needed = range.highest + 1;
  return `correct the label, or set data.classes: ${needed}, and let the last layer give ${needed}`;
}

function highest(labels: Uint32Array): number {
  return rangeOf(labels.filter((label) => label !== IGNORED_LABEL)).highest;
}

/** Reads the pixels into a blob that has room for everything else. */
async function readImages(sets: readonly ImageSet[], layout: RowLayout): Promise<Uint8Array> {
  const blob = new Uint8Array(blobByteLength(layout));
  let filled = 0;
  for (const { images } of sets) {
    await readIdxData(images, blob.subarray(filled, filled + images.dataBytes));
    filled += images.dataBytes;
  }
  return blob;
}
