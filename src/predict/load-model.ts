// Reads a trained model from its files, and loads it.
import fs from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { checkOptions, functionOption, pathArgument } from '../config/options.ts';
import { loadKernelModule } from '../kernels/load-kernels.ts';
import { readRegularFile } from '../regular-file.ts';
import { MAX_SAFETENSORS_BYTES } from '../safetensors.ts';
import { sha256Of } from '../sha256.ts';
import {
  decodeModel,
  DESCRIPTION_FILE,
  MAX_DESCRIPTION_BYTES,
  modelError,
  parseDescription,
  WEIGHTS_FILE,
  type ModelDescription,
  type SavedModel,
} from './model-files.ts';
import { TrainedModel } from './trained-model.ts';

/** Options of loading a model. */
export interface LoadModelOptions {
  /** Called with warnings about texts that training never saw; default: a warning of the process. */
  readonly warn?: ((message: string) => void) | undefined;
}

const optionsSchema = z.strictObject({
  warn: functionOption,
} satisfies Record<keyof LoadModelOptions, z.ZodType>);

const argumentsSchema = z.strictObject({ directory: pathArgument });

/** The model's directory in that of a run. */
const MODEL_DIRECTORY = 'model';

/**
 * Loads the model in the directory of a run, in its `model` directory, or in a file that `lockstep
 * export --format safetensors` has written.
 * @throws LockstepError (category `checkpoint`) if it is missing, damaged or not from Lockstep.
 */
export async function loadModel(directory: string, options: LoadModelOptions = {}): Promise<TrainedModel> {
  checkOptions(argumentsSchema, { directory }, 'arguments of loadModel');
  checkOptions(optionsSchema, options, 'options of loadModel');
  const saved = await readModel(directory);
  const { warn = (message) => process.emitWarning(message) } = options;
  return TrainedModel.create(saved, await loadKernelModule(saved.description.numerics), warn);
}

/**
 * Reads the model in the directory of a run, in the `model` directory itself, or in one file that
 * `lockstep export --format safetensors` has written.
 *
 * @throws LockstepError (exit 4) where it is missing, damaged, or no model of ours.
 */
export async function readModel(place: string): Promise<SavedModel> {
  const absolute = path.resolve(place);
  const isFile = (await fs.stat(absolute).catch(() => undefined))?.isFile() ?? false;
  const directory = isFile ? path.dirname(absolute) : await findModel(absolute);
  const file = isFile ? absolute : path.join(directory, WEIGHTS_FILE);
  // First of all: it is small, and tells whether the directory is one of ours.
  const described = isFile ? undefined : await readDescription(path.join(directory, DESCRIPTION_FILE));
  const bytes = await readFile(file, MAX_SAFETENSORS_BYTES);
  return decodeModel({ directory, file, bytes, described, sha256: sha256Of });
}

async function findModel(directory: string): Promise<string> {
  const candidates = [path.join(directory, MODEL_DIRECTORY), directory];
  for (const candidate of candidates) {
    if (await exists(path.join(candidate, DESCRIPTION_FILE))) return candidate;
  }
  const found = (await exists(directory))
    ? `no ${MODEL_DIRECTORY}/${DESCRIPTION_FILE} in it`
    : 'no such directory';
  throw modelError(
    'E_MODEL_NOT_FOUND',
    `no trained model at ${directory}: ${found}`,
    `name the directory of a run that has finished an epoch${exampleBeside(directory)}`,
  );
}

/** An example of a run's directory for a help text, other than the one just tried. */
export function exampleBeside(directory: string): string {
  return path.basename(directory) === 'latest' ? '' : ', such as runs/latest';
}

function exists(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}

async function readFile(file: string, maxBytes: number): Promise<Uint8Array> {
  try {
    return await readRegularFile(file, maxBytes);
  } catch (error) {
    throw modelError('E_MODEL_NOT_FOUND', `cannot read ${file}: ${(error as Error).message}`);
  }
}

async function readDescription(file: string): Promise<{ file: string; description: ModelDescription }> {
  return { file, description: parseDescription(await readFile(file, MAX_DESCRIPTION_BYTES), file) };
}
