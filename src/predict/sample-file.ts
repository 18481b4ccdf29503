// Files of new samples for a trained model: tables read as the training table was, or IDX images. They
// need no targets.
import { resolve } from 'node:path';
import { dataError } from '../data/dataset/data-error.ts';
import { readIdxData, readImageHeader } from '../data/image/idx.ts';
import { loadFeatures } from '../data/table/load-table.ts';
import { LockstepError } from '../errors.ts';
import type { ModelDescription } from './model-files.ts';

/**
 * Reads samples as `TrainedModel.outputs` takes them, in the order of the file, none left out.
 *
 * @throws LockstepError where the file is not of the model's kind, lacks a column, or has a cell that training had not.
 */
export async function readSamples(
  { transforms, table }: ModelDescription,
  file: string,
  warn: (message: string) => void,
): Promise<Float32Array | Uint8Array> {
  const path = resolve(file);
  const [first] = transforms.features;
  if (first?.kind === 'pixels') return readImages(path, first.shape);
  if (first?.kind === 'bytes') {
    throw inProgramsOnly('E_PREDICT_TEXT', 'texts', '; lockstep evaluate measures a text');
  }
  if (first?.kind === 'array') throw inProgramsOnly('E_PREDICT_ARRAYS', 'arrays');
  const { rows } = await loadFeatures({ path, transforms, format: table, warn });
  return rows;
}

function inProgramsOnly(code: `E_${string}`, samples: string, more = ''): LockstepError {
  const message = `a model of ${samples} predicts in a program only`;
  return new LockstepError({ category: 'usage', code, message, help: `docs/api.md shows how${more}` });
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
