// Sets of labelled images to packed rows: pixels stay bytes; a kernel scales them when it gathers a batch.
import type { ImageSource } from '../../config/data-sources.ts';
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
  targetBytes,
  targetView,
  type RowLayout,
} from '../dataset/packed-dataset.ts';
import { classWeightsOf, foldSampleWeights, wantsSampleWeights } from '../dataset/sample-weights.ts';
import { ScratchFile } from '../dataset/scratch-file.ts';
import { splitRows } from '../dataset/split.ts';
import { nameFeatures, type FittedTransforms } from '../dataset/transforms.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import { openIdxImages } from './idx-images.ts';
import { openImageFolder, type ImageForm } from './image-folder.ts';
import type { ImageSet } from './image-set.ts';

/** Reads all sets of images into one block of rows, with their labels after it. */
export async function packImages(files: SplitFiles<ImageSource>, request: PackRequest): Promise<PackedRows> {
  const { config, fitted, warn } = request;
  const sets = await openSets(files, request);
  const counts = sets.map(({ numImages }) => numImages);
  const isBinary = config.loss.kind === 'binaryCrossEntropy';
  const numClasses = isBinary ? 2 : (numSavedClasses(fitted) ?? config.data.classes);
  const { ignoreIndex } = config.data;
  const labels = await readLabels(sets, {
    classes: numClasses,
    ignoreIndex,
    isBinary,
    isSaved: fitted !== undefined,
  });
  const keys = config.data.split.stratify && labels;
  const splits = splitRows(assignCounts(files, counts), { ...config, ...config.data, keys });
  const [{ shape, classNames: named }] = sets as [ImageSet];
  const classNames = named ?? indexNames(numClasses ?? highest(labels) + 1);
  if (!fitted) checkClasses(labels, classNames, { splits, warn });
  const classWeights = fitted
    ? fitted.classWeights
    : classWeightsOf(config.classWeights, { classNames, labels, splits });
  const transforms: FittedTransforms = {
    features: [{ kind: 'pixels', shape, scale: PIXEL_SCALE }],
    target: { kind: 'labels', column: 'label', cells: named ? 'text' : 'index', classNames },
  };
  const featureNames = nameFeatures(transforms.features);
  const layout: RowLayout = {
    numRows: labels.length,
    featureShape: shape.length === 2 ? [1, ...shape] : shape,
    featureType: 'u8',
    featureScale: PIXEL_SCALE,
    // One output tells two classes apart, so binary labels are values to fit.
    targetKind: isBinary ? 'values' : 'labels',
    targetWidth: 1,
    numClasses: isBinary ? 0 : classNames.length,
    hasSampleWeights: wantsSampleWeights(config),
  };
  const file = config.data.stream ? await ScratchFile.create() : undefined;
  if (!file) refuseTooLarge(layout, 'set data.stream: true, or use fewer images');
  const blob = new Uint8Array(file ? targetBytes(layout) : blobByteLength(layout));
  await (file ? streamImages(sets, layout, file) : readImages(sets, layout, blob));
  const sampleWeights = foldSampleWeights(blob, layout, { labels, classes: classWeights });
  targetView({ layout, blob }).set(labels);
  const targetNames = ['label'];
  return {
    layout,
    blob,
    file,
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

async function openSets(
  files: SplitFiles<ImageSource>,
  { config, fitted, warn }: PackRequest,
): Promise<ImageSet[]> {
  const { channels, imageSize: size } = config.data;
  const [pixels] = fitted?.transforms.features ?? [];
  const saved = pixels?.kind === 'pixels' && pixels.shape.length === 3 ? pixels.shape : undefined;
  // Images for a trained model are brought to the form of those that it has learnt from.
  let form = saved ? formOf(saved) : { channels, size };
  const target = fitted?.transforms.target;
  let classNames = target?.kind === 'labels' ? target.classNames : undefined;
  const sets: ImageSet[] = [];
  for (const source of listFiles(files)) {
    const set =
      'folder' in source
        ? await openImageFolder(source.folder, form, { classNames, warn })
        : await openIdxImages(source);
    requireEqualShapes(sets[0] ?? set, set);
    sets.push(set);
    if (set.classNames)
      [classNames, form] = [set.classNames, { ...form, channels: formOf(set.shape).channels }];
  }
  return sets;
}

function formOf([channels, height, width]: Shape): ImageForm {
  return { channels: channels as 1 | 3, size: [height as number, width as number] };
}

function requireEqualShapes(first: ImageSet, { name, shape }: ImageSet): void {
  const [expected, found] = [first.shape, shape].map((sizes) => sizes.join('x'));
  if (expected === found) return;
  throw dataError('E_DATA_SHAPE', `${name} has images of ${found}, ${first.name} of ${expected}`);
}

async function readLabels(
  sets: readonly ImageSet[],
  { classes, ignoreIndex, ...rules }: LabelRules,
): Promise<Uint32Array> {
  const labels = new Uint32Array(sets.reduce((sum, { numImages }) => sum + numImages, 0));
  let filled = 0;
  for (const set of sets) {
    for (const label of Array.from(await set.readLabels()))
      labels[filled++] = label === ignoreIndex ? IGNORED_LABEL : label;
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
  const set = sets.find(({ numImages }) => at < numImages || ((at -= numImages), false)) as ImageSet;
  const range = rangeOf(labels.filter((label) => label !== IGNORED_LABEL));
  const message = `${set.locateLabel(at)}: ${describeBadLabel(labels[bad] as number, classes, range)}`;
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
async function readImages(sets: readonly ImageSet[], layout: RowLayout, blob: Uint8Array): Promise<void> {
  let filled = 0;
  for (const { numImages, readPixels } of sets) {
    const length = numImages * sizeOf(layout.featureShape);
    await readPixels(blob.subarray(filled, filled + length));
    filled += length;
  }
}

async function streamImages(sets: readonly ImageSet[], layout: RowLayout, file: ScratchFile): Promise<void> {
  for (const { numImages, readPixels, streamPixels } of sets) {
    if (streamPixels) {
      await streamPixels(file);
      continue;
    }
    const pixels = new Uint8Array(numImages * sizeOf(layout.featureShape));
    await readPixels(pixels);
    file.append(pixels);
  }
}
