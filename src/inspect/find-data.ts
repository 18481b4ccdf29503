// What the path that a user names holds: a table, pictures, arrays or a text, in a file or a folder. Files
// that belong together, as labels do to images, are found by their names.
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { DataSource, ImageSource, NpySource, TableSource } from '../config/data-sources.ts';
import type { ArraySet } from '../data/array/arrays.ts';
import { listArrays, readNpySamples } from '../data/array/npy-file.ts';
import { SPACES } from '../data/table/csv-file.ts';
import { displayPath, magicOf, readBytes } from '../data/dataset/source-file.ts';
import { indexNames } from '../data/dataset/class-labels.ts';
import { openIdxImages } from '../data/image/idx-images.ts';
import { openImageFolder } from '../data/image/image-folder.ts';
import type { ImageSet } from '../data/image/image-set.ts';
import { ColumnBuilder } from '../data/table/column.ts';
import { CellReader } from '../data/table/format.ts';
import { dataError, listNames, LockstepError } from '../errors.ts';
import { countOf } from '../printable.ts';
import type { Shape } from '../shape.ts';
import { describeColumn } from './column-facts.ts';
import type { ColumnFacts, ValueCount } from './column-facts.ts';
import { scanTable } from './scan-table.ts';
import type { ScannedTable } from './scan-table.ts';

/** The samples of a config by split; those without a source are taken from train. */
export interface FoundSplits<Source extends DataSource = DataSource> {
  readonly train: Source;
  readonly validation?: Source | undefined;
  readonly test?: Source | undefined;
}

/** Labelled pictures, or images in IDX files. */
export interface FoundImages {
  readonly kind: 'images';
  readonly splits: FoundSplits<ImageSource>;
  readonly numSamples: number;
  /** [channels, height, width] of a sample. */
  readonly shape: Shape;
  /** Height and width to bring pictures to, where they have several sizes or large ones. */
  readonly imageSize: readonly [number, number] | undefined;
  /** Images of each class in the training set, in the order of the classes. */
  readonly classes: readonly ValueCount[];
}

/** Samples in files of NumPy. */
export interface FoundArrays {
  readonly kind: 'arrays';
  readonly splits: FoundSplits<NpySource>;
  readonly numSamples: number;
  readonly shape: Shape;
  /** True for bytes, which are scaled. */
  readonly areBytes: boolean;
  /** The targets: a column for each value of a sample, or of one of its positions. */
  readonly targets: readonly ColumnFacts[];
  /** Positions of a sample that have targets each. */
  readonly positions?: number | undefined;
  /** The label of positions that do not count. */
  readonly ignoreIndex?: number | undefined;
  /** One more than the highest of the features, if those of positions are token ids. */
  readonly vocabulary?: number | undefined;
}

/** A text. */
export interface FoundText {
  readonly kind: 'text';
  readonly splits: FoundSplits<{ readonly text: string }>;
  readonly numBytes: number;
}

/** A table, in one file or several. */
export interface FoundTable {
  readonly kind: 'table';
  readonly source: TableSource;
  readonly scanned: ScannedTable;
}

export type FoundData = FoundTable | FoundImages | FoundArrays | FoundText;

const NPY_NAME = /\.npy$/i;
const NPZ_NAME = /\.npz$/i;
const TEXT_NAME = /\.(txt|text|md|log)(\.gz)?$/i;
const TABLE_NAME = /\.(csv|tsv|tab|json|jsonl|ndjson|parquet|arrow|feather)(\.gz)?$/i;
const IDX_NAME = /idx[13]|ubyte/i;
/** First bytes of files, in hexadecimal digits. */
const IDX_START = '000008';
const GZIP_START = '1f8b';

/** The knowledge of data that a user has. */
export interface KnownData {
  /** The file of labels, where they are in one of their own. */
  readonly labels?: string | undefined;
  /** The delimiter of a table. */
  readonly delimiter?: string | undefined;
}

/**
 * Finds out what `data` holds.
 *
 * @throws LockstepError if it is nothing that can be trained on, or not what is known of it
 */
export async function findData(data: string, known: KnownData = {}): Promise<FoundData> {
  const found = await find(data, known);
  if (known.delimiter === undefined || found.kind === 'table') return found;
  throw new LockstepError({
    category: 'usage',
    code: 'E_INIT_DELIMITER',
    message: `--delimiter is for tables; ${displayPath(path.resolve(data))} holds ${found.kind === 'text' ? 'a text' : found.kind}`,
    help: 'leave it out',
  });
}

async function find(data: string, { labels, delimiter }: KnownData): Promise<FoundData> {
  const place = path.resolve(data);
  const stats = await stat(place).catch(() => undefined);
  if (stats?.isDirectory()) return findInFolder(place, { labels, delimiter });
  if (stats === undefined) return findTable(place, delimiter);
  if (NPZ_NAME.test(place) || NPY_NAME.test(place)) return findArrays(place, labels);
  if (await isIdx(place)) return findIdx(place, labels);
  if (labels !== undefined) throw noUseForLabels(data);
  const isText = TEXT_NAME.test(place) && delimiter === undefined;
  return isText ? findTextOrTable(place) : findTable(place, delimiter);
}

function noUseForLabels(data: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_INIT_LABELS',
    message: `--labels is for images and arrays; ${displayPath(path.resolve(data))} is a table or a text`,
    help: 'name the column to predict with --target',
  });
}

async function findTable(source: TableSource, delimiter?: string): Promise<FoundTable> {
  return { kind: 'table', source, scanned: await scanTable(source, delimiter) };
}

/** A text that is divided into columns is a table; words are no columns, but numbers are. */
async function findTextOrTable(file: string): Promise<FoundData> {
  const table = await findTable(file).catch(() => undefined);
  const { columns = [], settings } = table?.scanned ?? {};
  const areWords = settings?.delimiter === ' ' || settings?.delimiter === SPACES;
  const isTable = columns.length > 1 && (!areWords || columns.every(({ kind }) => kind === 'number'));
  if (table && isTable) return table;
  let numBytes = 0;
  for await (const chunk of readBytes(file)) numBytes += chunk.length;
  return { kind: 'text', splits: { train: { text: file } }, numBytes };
}

async function isIdx(file: string): Promise<boolean> {
  const magic = await magicOf(file);
  return magic.startsWith(IDX_START) || (magic.startsWith(GZIP_START) && IDX_NAME.test(path.basename(file)));
}

/** Names of the splits of a folder. */
const SPLIT_NAMES = {
  train: ['train', 'training'],
  validation: ['val', 'valid', 'validation', 'dev'],
  test: ['test', 'testing'],
} as const;

async function findInFolder(folder: string, { labels, delimiter }: KnownData): Promise<FoundData> {
  const entries = (await readdir(folder, { withFileTypes: true })).filter(
    ({ name }) => !name.startsWith('.'),
  );
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  const images =
    files.find((name) => /train.*images?/i.test(name)) ?? files.find((name) => /images?[-.]idx3/i.test(name));
  if (images !== undefined) return findIdx(path.join(folder, images), labels);
  if (folders.length > 0) return findPictures(folder, folders);
  const kinds = new Set(
    files.filter((name) => TABLE_NAME.test(name)).map((name) => TABLE_NAME.exec(name)?.[0]),
  );
  const [ending] = kinds;
  if (kinds.size === 1 && ending !== undefined) return findTable(path.join(folder, `*${ending}`), delimiter);
  const message = `${displayPath(folder)} holds neither folders of pictures nor tables of one kind: ${files.length === 0 ? 'it is empty' : listNames(files, 5)}`;
  throw dataError('E_DATA_FORMAT', message, {
    help: 'name a file in it, or put the pictures of each class into a folder of its own',
  });
}

async function findPictures(folder: string, folders: readonly string[]): Promise<FoundImages> {
  const named = (names: readonly string[]): { readonly folder: string } | undefined => {
    const found = folders.find((name) => names.includes(name.toLowerCase()));
    return found === undefined ? undefined : { folder: path.join(folder, found) };
  };
  const train = named(SPLIT_NAMES.train);
  const splits = train
    ? { train, validation: named(SPLIT_NAMES.validation), test: named(SPLIT_NAMES.test) }
    : { train: { folder } };
  const { set, imageSize } = await openPictures(splits.train.folder);
  return describeImages(set, splits, imageSize);
}

/** Longer sides are brought to this: training takes four times as long for pictures twice as wide. */
const MAX_SIDE = 64;

async function openPictures(
  folder: string,
): Promise<{ set: ImageSet; imageSize: readonly [number, number] | undefined }> {
  const open = (size: readonly [number, number] | undefined): Promise<ImageSet> =>
    openImageFolder(folder, { size, channels: undefined }, { classNames: undefined, warn: () => undefined });
  const square = [MAX_SIDE, MAX_SIDE] as const;
  const set = await open(undefined).catch((error: unknown) => {
    if (error instanceof LockstepError && error.code === 'E_DATA_SHAPE') return undefined;
    throw error;
  });
  if (!set) return { set: await open(square), imageSize: square };
  const [, height = 1, width = 1] = set.shape;
  const longest = Math.max(height, width);
  if (longest <= MAX_SIDE) return { set, imageSize: undefined };
  const size = [height, width].map((side) => Math.max(1, Math.round((side * MAX_SIDE) / longest)));
  const imageSize = size as unknown as readonly [number, number];
  return { set: { ...set, shape: [set.shape[0] as number, ...imageSize] }, imageSize };
}

async function describeImages(
  set: ImageSet,
  splits: FoundSplits<ImageSource>,
  imageSize: FoundImages['imageSize'],
): Promise<FoundImages> {
  const labels = await set.readLabels();
  const counts = new Map<number, number>();
  for (const label of Array.from(labels)) counts.set(label, (counts.get(label) ?? 0) + 1);
  const names = set.classNames ?? indexNames(Math.max(...counts.keys()) + 1);
  return {
    kind: 'images',
    splits,
    numSamples: set.numImages,
    shape: set.shape.length === 2 ? [1, ...set.shape] : set.shape,
    imageSize,
    classes: names.map((value, label) => ({ value, count: counts.get(label) ?? 0 })),
  };
}

async function findIdx(images: string, labels: string | undefined): Promise<FoundImages> {
  const folder = path.dirname(images);
  const siblings = await readdir(folder);
  const sibling = (name: string): string | undefined =>
    siblings.includes(name) ? path.join(folder, name) : undefined;
  const labelsOf = (file: string): string | undefined => {
    const name = path.basename(file);
    const guesses = [name.replace('images-idx3', 'labels-idx1'), name.replace('images', 'labels')];
    return guesses
      .filter((guess) => guess !== name)
      .map(sibling)
      .find(Boolean);
  };
  const found = labels === undefined ? labelsOf(images) : path.resolve(labels);
  if (found === undefined) throw noLabels(images, 'images of an IDX file', 'labels-idx1-ubyte');
  const train = { images, labels: found };
  const test = ['t10k', 'test']
    .map((name) => sibling(path.basename(images).replace('train', name)))
    .find((file) => file !== undefined && file !== images);
  const testLabels = test === undefined || !/train/.test(path.basename(images)) ? undefined : labelsOf(test);
  const splits =
    test !== undefined && testLabels !== undefined
      ? { train, test: { images: test, labels: testLabels } }
      : { train };
  return describeImages(await openIdxImages(train), splits, undefined);
}

function noLabels(file: string, what: string, example: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_INIT_LABELS',
    message: `${displayPath(file)} holds ${what}, and no file beside it has their labels`,
    help: `name it: --labels ${example}`,
  });
}

/** Names under which features and targets are often stored together. */
const ARRAY_PAIRS = [
  ['x_train', 'y_train', 'x_test', 'y_test'],
  ['X_train', 'y_train', 'X_test', 'y_test'],
  ['train_images', 'train_labels', 'test_images', 'test_labels'],
  ['train_data', 'train_labels', 'test_data', 'test_labels'],
  ['x', 'y'],
  ['X', 'y'],
  ['X', 'Y'],
  ['features', 'targets'],
  ['features', 'labels'],
  ['data', 'target'],
  ['data', 'targets'],
  ['data', 'labels'],
  ['images', 'labels'],
  ['arr_0', 'arr_1'],
] as const;

async function findArrays(file: string, labels: string | undefined): Promise<FoundArrays> {
  const splits = NPZ_NAME.test(file)
    ? await findInArchive(file)
    : {
        train: { features: file, targets: labels === undefined ? await besides(file) : path.resolve(labels) },
      };
  const set = await readNpySamples(splits.train, 'data.train');
  const { features, numRows, shape, targets, targetWidth } = set;
  const positions = findPositions(set);
  const width = targetWidth / (positions ?? 1);
  const ignoreIndex = positions === undefined || width > 1 ? undefined : findPadding(targets);
  const names = width === 1 ? ['target'] : Array.from({ length: width }, (_, at) => `target${at + 1}`);
  const columns = names.map((name, at) => {
    const values = targets.filter((value, cell) => cell % width === at && value !== ignoreIndex);
    return describeNumbersOf(name, values);
  });
  const vocabulary = positions === undefined ? undefined : await findVocabulary(set, splits);
  const areBytes = features instanceof Uint8Array;
  const ofPositions = { positions, ignoreIndex, vocabulary };
  return { kind: 'arrays', splits, numSamples: numRows, shape, areBytes, targets: columns, ...ofPositions };
}

/** Whole numbers of more kinds than this are taken for amounts. */
const MAX_LABELS = 20;

/**
 * Positions of a sample that have targets each: those of a sequence. A list of numbers is taken for one
 * only if the targets are classes.
 */
function findPositions({ shape, targetShape, targets }: ArraySet): number | undefined {
  const [positions = 1, ...rest] = targetShape;
  if (positions === 1 || shape.length > 2 || shape[0] !== positions || rest.length > 1) return undefined;
  if (shape.length === 2) return positions;
  const kinds = new Set(targets);
  return kinds.size <= MAX_LABELS && targets.every(Number.isInteger) ? positions : undefined;
}

/** The one negative number among whole ones from 0, which stands for padding. */
function findPadding(targets: Float64Array): number | undefined {
  if (!targets.every(Number.isInteger)) return undefined;
  const negatives = new Set(targets.filter((value) => value < 0));
  return negatives.size === 1 ? [...negatives][0] : undefined;
}

/** Larger whole numbers are amounts. */
const MAX_VOCABULARY = 100_000;

async function findVocabulary(
  train: ArraySet,
  { validation, test }: FoundSplits<NpySource>,
): Promise<number | undefined> {
  const sets = [train];
  for (const source of [validation, test]) if (source) sets.push(await readNpySamples(source, 'data'));
  let highest = 0;
  for (const { features, shape } of sets) {
    if (shape.length > 1 || features instanceof Uint8Array) return undefined;
    for (const value of features) {
      if (!Number.isInteger(value) || value < 0) return undefined;
      highest = Math.max(highest, value);
    }
  }
  return highest < MAX_VOCABULARY ? highest + 1 : undefined;
}

async function findInArchive(npz: string): Promise<FoundSplits<NpySource>> {
  const names = await listArrays(npz);
  const found = ARRAY_PAIRS.find(
    ([features, targets]) => names.includes(features) && names.includes(targets),
  );
  if (!found) {
    const message = `${displayPath(npz)} has no two arrays whose names say which are features and targets: it has ${listNames(names)}`;
    throw dataError('E_DATA_ARRAYS', message, { help: 'save them as features and targets' });
  }
  const [features, targets, testFeatures, testTargets] = found;
  const hasTest = testFeatures !== undefined && names.includes(testFeatures) && names.includes(testTargets);
  return {
    train: { npz, features, targets },
    ...(hasTest && { test: { npz, features: testFeatures, targets: testTargets } }),
  };
}

/** The file of targets beside one of features. */
async function besides(file: string): Promise<string> {
  const siblings = await readdir(path.dirname(file));
  const name = path.basename(file);
  const guesses = [
    name.replace(/x/, 'y').replace(/X/, 'y'),
    name.replace(/features|data|images/i, 'targets'),
    name.replace(/features|data|images/i, 'labels'),
  ];
  const found = guesses.find((guess) => guess !== name && siblings.includes(guess));
  if (found !== undefined) return path.join(path.dirname(file), found);
  throw noLabels(file, 'an array', 'y.npy');
}

function describeNumbersOf(name: string, values: Float64Array): ColumnFacts {
  const plan = { name, isFeature: false, kind: 'number', maxCategories: 0, missing: 'error' } as const;
  const builder = new ColumnBuilder(plan, new CellReader({ decimal: '.', thousands: undefined }));
  for (const [row, value] of values.entries()) builder.add(value, 0, row);
  return describeColumn(builder);
}

/** The data in a line: `iris.csv: 150 rows, 5 columns`. */
export function summarizeData(found: FoundData): string {
  switch (found.kind) {
    case 'table': {
      const { columns, files, numRows } = found.scanned;
      const [first = ''] = files;
      const name =
        files.length === 1
          ? displayPath(first)
          : `${countOf(files.length, 'file')} such as ${displayPath(first)}`;
      return `${name}: ${countOf(numRows, 'row')}, ${countOf(columns.length, 'column')}`;
    }
    case 'images': {
      const { train } = found.splits;
      const name = displayPath('folder' in train ? train.folder : train.images);
      return `${name}: ${countOf(found.numSamples, 'image')} of ${found.shape.join('x')}, ${found.classes.length} classes`;
    }
    case 'arrays': {
      const { numSamples, positions, shape, splits } = found;
      const { train } = splits;
      const where = positions === undefined ? '' : `, targets at each of ${countOf(positions, 'position')}`;
      return `${displayPath(train.npz ?? train.features)}: ${countOf(numSamples, 'sample')} of ${shape.join('x')}${where}`;
    }
    case 'text':
      return `${displayPath(found.splits.train.text)}: a text of ${countOf(found.numBytes, 'byte')}`;
  }
}
