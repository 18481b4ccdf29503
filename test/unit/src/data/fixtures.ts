// Helpers of the data tests: files in a temporary directory, configs from a few fields, errors as text.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { takeArrays, type TrainConfig, type TrainData } from '../../../../api/train.ts';
import type { Config, ConfigInput } from '../../../../src/config/schema.ts';
import { validateConfig } from '../../../../src/config/validate.ts';
import { loadData, type LoadedData } from '../../../../src/data/load.ts';
import { widthOf, type FittedTransforms } from '../../../../src/data/dataset/transforms.ts';
import type { ModelDescription } from '../../../../src/predict/model-files.ts';
import { readEncodedBlocks } from '../../../../src/predict/table-blocks.ts';
import { sizeOf } from '../../../../src/shape.ts';
import { formatError, LockstepError } from '../../../../src/errors.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

/** A new directory that holds the given files; removed after the test. */
export async function directoryOf(files: Record<string, string | Uint8Array>): Promise<string> {
  const directory = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  return directory;
}

type DataInput = ConfigInput['data'];

/** A valid config over `data`: regression by one linear layer, unless told otherwise. */
export function configOf(data: DataInput, rest: Partial<ConfigInput> = {}): Config {
  const validation = validateConfig({
    name: 'test',
    seed: 7,
    data,
    model: { layers: [{ kind: 'dense', units: 1 }] },
    loss: 'mse',
    batchSize: 1,
    ...rest,
  });
  if ('findings' in validation) throw new Error(JSON.stringify(validation.findings));
  return validation.config;
}

/** A model whose output layer has `units`. */
export function modelOf(units: number): ConfigInput['model'] {
  return { layers: [{ kind: 'dense', units }] };
}

/** A split with every row in training, for tests that are not about the split. */
export const NO_SPLIT = { split: { validation: 0, test: 0 }, shuffle: false } as const;

/** Loads data and collects the warnings. */
export async function load(
  config: Config,
  fitted?: LoadedData,
): Promise<LoadedData & { warnings: string[] }> {
  const warnings: string[] = [];
  const loaded = await loadData({ config, fitted, math: Math, warn: (message) => warnings.push(message) });
  return { ...loaded, warnings };
}

/** Loads one CSV of the given text, its target column `y`, all rows for training. */
export async function loadText(
  text: string | Uint8Array,
  data: Partial<DataInput> = {},
  rest: Partial<ConfigInput> = {},
): Promise<LoadedData & { warnings: string[]; directory: string }> {
  const directory = await directoryOf({ 'a.csv': text });
  try {
    const config = configOf({ file: join(directory, 'a.csv'), target: 'y', ...NO_SPLIT, ...data }, rest);
    return { ...(await load(config)), directory };
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    throw new Error(formatError(error).replaceAll(`${directory}/`, ''), { cause: error });
  }
}

/** The text that a user would see for the error of `action`, without the directory. */
export async function errorOf(action: Promise<unknown>, directory = ''): Promise<string> {
  try {
    await action;
  } catch (error) {
    const text = error instanceof LockstepError ? formatError(error) : (error as Error).message;
    return directory === '' ? text : text.replaceAll(`${directory}/`, '');
  }
  throw new Error('no error was thrown');
}

/** The packed features of row `row`. */
export function featuresOf({ dataset }: LoadedData, row: number): number[] {
  const featureWidth = sizeOf(dataset.layout.featureShape);
  return [...new Float32Array(dataset.blob.buffer, row * featureWidth * 4, featureWidth)];
}

/** Loads samples that a program hands in. */
export async function loadSamples(
  data: TrainData,
  rest: Partial<ConfigInput> = {},
): Promise<LoadedData & { warnings: string[] }> {
  const { config, arrays } = takeArrays({ data, ...rest } as TrainConfig);
  const warnings: string[] = [];
  const request = {
    config: configOf(config.data, rest),
    arrays,
    math: Math,
    warn: (text: string) => warnings.push(text),
  };
  return { ...(await loadData(request)), warnings };
}

/** The loss and the model for samples of three classes. */
export const CLASSES: Partial<ConfigInput> = { loss: 'crossEntropy', model: modelOf(3) };

/** Encoded rows [numRows, featureWidth]. */
export interface EncodedTable {
  readonly rows: number[];
  readonly numRows: number;
  readonly featureWidth: number;
}

/** Encodes a table of new rows as `lockstep predict` does. */
export async function encodeTable({
  path,
  transforms,
  format,
  warn = () => undefined,
}: {
  readonly path: string;
  readonly transforms: Pick<FittedTransforms, 'features'>;
  readonly format: ModelDescription['table'];
  readonly warn?: (message: string) => void;
}): Promise<EncodedTable> {
  const description = {
    transforms: { target: { kind: 'values' as const, columns: [] }, ...transforms },
    table: format,
  };
  const rows: number[] = [];
  for await (const { samples } of readEncodedBlocks({ input: path, description, keep: [], warn })) {
    rows.push(...samples);
  }
  const featureWidth = widthOf(transforms.features);
  return { rows, numRows: rows.length / featureWidth, featureWidth };
}
