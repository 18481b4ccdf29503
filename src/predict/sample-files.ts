// The samples of a file, as a model takes them.
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { FittedArray } from '../data/array/numbers.ts';
import { readNpy } from '../data/array/npy-file.ts';
import { displayPath, magicOf } from '../data/dataset/source-file.ts';
import { readIdxData, readImageHeader } from '../data/image/idx.ts';
import { listImages, readImageFiles } from '../data/image/image-folder.ts';
import { LockstepError, dataError } from '../errors.ts';
import { formatShape } from '../shape.ts';
import type { ModelDescription } from './model-files.ts';
import { encodeSamples, type PredictInput } from './samples.ts';

/**
 * Reads images or arrays as `TrainedModel.outputs` takes them, in the order of the file, none left out;
 * tables are read in blocks, see `readEncodedBlocks`.
 *
 * @throws LockstepError where the file is not of the model's kind
 */
export async function readSamples(
  { transforms }: Pick<ModelDescription, 'transforms'>,
  file: string,
): Promise<Float32Array | Uint8Array> {
  const path = resolve(file);
  const [first] = transforms.features;
  if (first?.kind === 'pixels')
    return first.shape.length === 2 ? readImages(path, first.shape) : readPictures(path, first.shape);
  if (first?.kind === 'bytes') {
    const message = 'a model of texts predicts in a program only';
    const help = 'docs/api.md shows how; lockstep evaluate measures a text';
    throw new LockstepError({ category: 'usage', code: 'E_PREDICT_TEXT', message, help });
  }
  return readArrays(path, first as FittedArray);
}

async function readArrays(path: string, fitted: FittedArray): Promise<Float32Array | Uint8Array> {
  const { name, shape, values } = await readNpy(path);
  const sample = shape.length === 1 ? [1] : shape.slice(1);
  if (formatShape(sample) === formatShape(fitted.shape)) return encodeSamples(values as PredictInput, fitted);
  const message = `${name} has samples of ${formatShape(sample)}, the model takes ${formatShape(fitted.shape)}`;
  throw dataError('E_DATA_SHAPE', message);
}

/** Reads a picture, or all of a folder in the order of their paths. */
async function readPictures(path: string, shape: readonly number[]): Promise<Uint8Array> {
  const stats = await stat(path).catch(() => undefined);
  // Says what is wrong with a file that is not there.
  if (!stats) await magicOf(path);
  const images = stats?.isDirectory() ? (await listImages(path)).images : [path];
  if (images.length > 0) return readImageFiles(images, shape);
  throw dataError('E_DATA_EMPTY', `${displayPath(path)} has no images`);
}

async function readImages(path: string, shape: readonly number[]): Promise<Uint8Array> {
  const header = await readImageHeader(path);
  const [found, needed] = [header.dimensions.slice(1), shape].map((sizes) => sizes.join('x'));
  if (found !== needed) {
    throw dataError('E_DATA_SHAPE', `the images are ${String(found)}, the model takes ${String(needed)}`);
  }
  const pixels = new Uint8Array(header.dataBytes);
  await readIdxData(header, pixels);
  return pixels;
}
