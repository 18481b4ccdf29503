// Labelled images in folders: the folder of an image is its class. Pictures are decoded by sharp, brought
// to one size, and kept decoded in a cache, since that takes far longer than reading them.
import fs from 'node:fs/promises';
import path from 'node:path';
import type sharp from 'sharp';
import { dataError, listNames, LockstepError } from '../../errors.ts';
import { countOf } from '../../printable.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import { displayPath } from '../dataset/source-file.ts';
import type { ImageSet } from './image-set.ts';
import { PixelCache } from './pixel-cache.ts';

/** The form that all images of a run are brought to. */
export interface ImageForm {
  /** Height and width; undefined where all images have one size. */
  readonly size: readonly [number, number] | undefined;
  /** 1 for grey, 3 for red, green and blue; undefined where the images decide. */
  readonly channels: 1 | 3 | undefined;
}

/** Endings of the files that are read. */
const IMAGE_NAME = /\.(jpe?g|png|webp|gif|tiff?|avif|svg)$/i;
const MAX_IMAGES = 10_000_000;
/** Images whose headers are read, or which are decoded, at a time. */
const BATCH = 64;

/** A file with an image, and the index of its class. */
interface LabelledFile {
  readonly file: string;
  readonly label: number;
}

type Decoder = typeof sharp;

/**
 * Opens a folder with a folder for each class; the images of a class may lie deeper. `classNames` are
 * those of the training set, by which the labels of other sets count.
 *
 * @throws LockstepError if there are no such folders, no images in them, classes that training lacks, or
 * images of several sizes and no size to bring them to
 */
export async function openImageFolder(
  folder: string,
  form: ImageForm,
  {
    classNames,
    warn,
  }: { readonly classNames: readonly string[] | undefined; readonly warn: (message: string) => void },
): Promise<ImageSet> {
  const name = displayPath(folder);
  const found = await listClasses(folder);
  const names = classNames ?? found.map((entry) => entry.className);
  const files = found.flatMap(({ className, images }): LabelledFile[] => {
    const label = names.indexOf(className);
    if (label < 0) throw unknownClass(path.join(folder, className), names);
    return images.map((file) => ({ file, label }));
  });
  const ignored = found.reduce((sum, { numOthers }) => sum + numOthers, 0);
  if (ignored > 0) warn(`${name}: ${countOf(ignored, 'file')} left out, whose names are not those of images`);
  if (files.length > MAX_IMAGES)
    throw dataError('E_DATA_TOO_LARGE', `${name} has ${countOf(files.length, 'image')}`);
  const decode = await loadDecoder();
  const shape = await shapeOf(files, form, decode);
  return {
    name,
    numImages: files.length,
    shape,
    classNames: names,
    locateLabel: (index) => displayPath((files[index] as LabelledFile).file),
    readLabels: () => Promise.resolve(files.map(({ label }) => label)),
    readPixels: (out) =>
      readPixels(
        files.map(({ file }) => file),
        shape,
        { out, decode },
      ),
    streamPixels: async (scratch) => {
      for (let from = 0; from < files.length; from += BATCH) {
        const some = files.slice(from, from + BATCH).map(({ file }) => file);
        scratch.append(await readImageFiles(some, shape));
      }
    },
  };
}

/** Decodes images of files, to `shape`, into u8 [files, ...shape]. */
export async function readImageFiles(files: readonly string[], shape: Shape): Promise<Uint8Array> {
  const out = new Uint8Array(files.length * sizeOf(shape));
  await decodeAll(files, shape, { out, decode: await loadDecoder() });
  return out;
}

/** The images in a folder and below, in the order of their paths, and the number of other files. */
export async function listImages(folder: string): Promise<{ images: string[]; numOthers: number }> {
  const files = await listFiles(folder, new Set());
  const images = files.filter((file) => IMAGE_NAME.test(file)).sort();
  return { images, numOthers: files.length - images.length };
}

/** The files in a folder and below; links are followed, but to no folder twice. */
async function listFiles(folder: string, seen: Set<string>): Promise<string[]> {
  const place = await fs.realpath(folder);
  if (seen.has(place)) return [];
  seen.add(place);
  const files: string[] = [];
  for (const { isFolder, file } of await listEntries(folder)) {
    if (isFolder) files.push(...(await listFiles(file, seen)));
    else files.push(file);
  }
  return files;
}

/** The entries of a folder, without hidden ones. */
async function listEntries(folder: string): Promise<{ file: string; isFolder: boolean }[]> {
  const names = (await fs.readdir(folder)).filter((name) => !name.startsWith('.'));
  return Promise.all(
    names.map(async (name) => {
      const file = path.join(folder, name);
      const stats = await fs.stat(file).catch(() => undefined);
      return { file, isFolder: stats?.isDirectory() ?? false };
    }),
  );
}

interface ClassFolder {
  readonly className: string;
  readonly images: readonly string[];
  readonly numOthers: number;
}

async function listClasses(folder: string): Promise<ClassFolder[]> {
  const name = displayPath(folder);
  const entries = await listEntries(folder).catch((error: NodeJS.ErrnoException) => {
    const reasons: Record<string, string> = { ENOTDIR: 'it is no folder', ENOENT: 'no such folder' };
    const reason = reasons[error.code ?? ''] ?? error.message;
    throw dataError('E_DATA_UNREADABLE', `cannot read ${name}: ${reason}`);
  });
  const folders = entries.filter(({ isFolder }) => isFolder);
  const help = `put the images of each class into a folder of its own, such as ${path.join(name, 'cat')}`;
  if (folders.length === 0) throw dataError('E_DATA_FORMAT', `${name} has no folders of classes`, { help });
  const classNames = folders.map(({ file }) => path.basename(file)).sort();
  const found = await Promise.all(
    classNames.map(async (className) => ({ className, ...(await listImages(path.join(folder, className))) })),
  );
  const empty = found.find(({ images }) => images.length === 0);
  if (!empty) return found;
  const message = `${path.join(name, empty.className)} has no images (${countOf(empty.numOthers, 'other file')})`;
  throw dataError('E_DATA_EMPTY', message, { help });
}

function unknownClass(folder: string, names: readonly string[]): LockstepError {
  const message = `${displayPath(folder)} is a class that training lacks: it has ${listNames(names)}`;
  return dataError('E_DATA_LABEL', message);
}

/** Loads sharp, which only those who train on pictures need to install. */
async function loadDecoder(): Promise<Decoder> {
  try {
    return (await import('sharp')).default;
  } catch {
    throw new LockstepError({
      category: 'usage',
      code: 'E_IMAGE_DECODER',
      message: 'pictures are decoded by sharp, which is not installed',
      help: 'install it beside lockstep: npm install sharp@0.35.5',
    });
  }
}

/** The shape that all images are brought to. */
async function shapeOf(files: readonly LabelledFile[], form: ImageForm, decode: Decoder): Promise<Shape> {
  const { size, channels } = form;
  if (size && channels) return [channels, ...size];
  const sizes: (readonly [number, number])[] = [];
  let isGrey = true;
  await inBatches(files, async ({ file }, index) => {
    const { autoOrient, space } = await decode(file)
      .metadata()
      .catch((error: unknown) => refuse(file, error));
    isGrey &&= space === 'b-w' || space === 'grey16';
    sizes[index] = [autoOrient.height, autoOrient.width];
  });
  const [first = [1, 1]] = sizes;
  const other = sizes.findIndex(([height, width]) => height !== first[0] || width !== first[1]);
  if (size || other < 0) return [channels ?? (isGrey ? 1 : 3), ...(size ?? first)];
  const [one, another] = [0, other].map((index) => displayPath((files[index] as LabelledFile).file));
  const message = `${another} is ${(sizes[other] ?? []).join('x')}, ${one} is ${first.join('x')}`;
  const help = 'set data.imageSize, such as [64, 64], to which all are brought';
  throw dataError('E_DATA_SHAPE', message, { help });
}

async function readPixels(
  files: readonly string[],
  shape: Shape,
  { out, decode }: { readonly out: Uint8Array; readonly decode: Decoder },
): Promise<void> {
  const cache = await PixelCache.of(files, shape, JSON.stringify(decode.versions));
  if (await cache.read(out)) return;
  await decodeAll(files, shape, { out, decode });
  await cache.write(out);
}

async function decodeAll(
  files: readonly string[],
  shape: Shape,
  { out, decode }: { readonly out: Uint8Array; readonly decode: Decoder },
): Promise<void> {
  const length = sizeOf(shape);
  await inBatches(files, async (file, index) => {
    const pixels = await decodeOne(file, shape, decode);
    out.set(pixels, index * length);
  });
}

/** The pixels of an image, channels first. */
async function decodeOne(file: string, shape: Shape, decode: Decoder): Promise<Uint8Array> {
  const [channels = 1, height = 1, width = 1] = shape;
  const image = decode(file)
    .autoOrient()
    .removeAlpha()
    .resize(width, height, { fit: 'fill' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb');
  const { data, info } = await image
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch((error: unknown) => refuse(file, error));
  if (info.channels === 1 && channels === 1) return data;
  const pixels = new Uint8Array(channels * height * width);
  for (let at = 0; at < height * width; at++) {
    for (let channel = 0; channel < channels; channel++) {
      pixels[channel * height * width + at] = data[
        at * info.channels + Math.min(channel, info.channels - 1)
      ] as number;
    }
  }
  return pixels;
}

function refuse(file: string, error: unknown): never {
  const [reason = ''] = (error as Error).message.split('\n');
  const words = /failOn setting|read error/.test(reason)
    ? 'it is cut short or damaged'
    : reason.replace(`${file}: `, '');
  const message = `${displayPath(file)} cannot be read as an image: ${words}`;
  throw dataError('E_DATA_IMAGE', message, { help: 'replace it, or move it elsewhere' });
}

async function inBatches<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < items.length; from += BATCH) {
    await Promise.all(items.slice(from, from + BATCH).map((item, k) => work(item, from + k)));
  }
}
