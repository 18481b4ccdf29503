// `lockstep evaluate`: measures a finished run again, with its saved weights, on one of
// its splits or on new samples. Nothing is fitted, so the figures for a split are those
// of the run, bit for bit.
import fs from 'node:fs/promises';
import path from 'node:path';
import { dataKind, kindOf, type DataSource } from '../../src/config/data-sources.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import type { ArraySets } from '../../src/data/array/arrays.ts';
import type { SplitIndices } from '../../src/data/dataset/packed-dataset.ts';
import { evaluationWidth } from '../../src/engine/samples.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { LockstepError, dataError } from '../../src/errors.ts';
import { formatShape } from '../../src/shape.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { readModel } from '../../src/predict/load-model.ts';
import type { SavedModel } from '../../src/predict/model-files.ts';
import { evaluationShardRows } from '../training/compute.ts';
import type { CustomMetrics } from '../training/custom-metrics.ts';
import { measureSplit } from '../training/measure.ts';
import { prepareRun, type PreparedRun } from '../training/prepare.ts';

/** The samples to measure on. */
export interface EvaluateOptions {
  /** A split of the run's own data; default `test`. */
  readonly split?: keyof SplitIndices | undefined;
  /**
   * New labelled samples of the same kind, all of which are measured: absolute paths; that
   * of a text may stand alone.
   */
  readonly data?: DataSource | undefined;
  /** Samples that the run's config or `data` name by their hashes. */
  readonly arrays?: ArraySets | undefined;
  /** Metrics that a program has brought along. */
  readonly customMetrics?: CustomMetrics | undefined;
  readonly warn: (message: string) => void;
}

const CONFIG_FILE = 'config.yaml';
const KIND_WORDS = { table: 'tables', images: 'images', text: 'texts', arrays: 'arrays' } as const;

const SAME_KIND = 'give data of the same kind';
const HELP_BY_KIND = {
  table: SAME_KIND,
  images: 'images come with a file of labels, or in folders of classes',
  text: SAME_KIND,
  arrays: 'give --data and --labels, two .npy files, or hand arrays in from a program',
} as const;

/**
 * Measures the model of the run in `directory`, which may be given by its `model` directory too.
 *
 * @throws LockstepError for a run without a model, for a split without samples, and for data that do not fit.
 */
export async function evaluateRun(directory: string, options: EvaluateOptions): Promise<SplitMetrics> {
  const saved = await readModel(directory);
  const { transforms, classWeights } = saved.description;
  const runConfig = await readRunConfig(saved);
  const config = options.data === undefined ? runConfig : withNewData(runConfig, options.data, options.split);
  const prepared = await prepareRun(config, options.warn, {
    fitted: { transforms, classWeights },
    arrays: options.arrays,
    customMetrics: options.customMetrics,
  });
  requireSameShape(saved, prepared);
  const engine = await createEngine(saved, prepared, runConfig);
  const width = evaluationWidth(prepared.model, prepared.data.dataset.layout, runConfig.loss);
  const shardRows = evaluationShardRows(width);
  const compute = { evaluate: async (indices: Uint32Array) => engine.evaluateRows(indices, shardRows) };
  // New samples are all in the first split: there is nothing to keep from them.
  const split = options.data === undefined ? (options.split ?? 'test') : 'train';
  const measured = await measureSplit(split, { ...prepared, compute });
  if (measured) return measured.metrics;
  throw dataError('E_DATA_SPLIT', `the ${split} split of the run is empty`);
}

/** The run's config, with the model as it was saved. */
async function readRunConfig({ directory, description }: SavedModel): Promise<Config> {
  const file = path.join(path.dirname(directory), CONFIG_FILE);
  await requireConfig(file);
  const { config } = await loadConfig({ path: file, env: {} });
  const { loss, numerics } = description;
  // That of columns is put there anew.
  const layers = description.layers.filter((layer) => layer.kind !== 'columnEmbeddings');
  return { ...config, model: { layers }, loss, numerics };
}

/** A config for which the new samples are all of the data. */
function withNewData(config: Config, data: DataSource, split: EvaluateOptions['split']): Config {
  if (split !== undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_EVALUATE_SPLIT',
      message: 'new data have no splits: all of their samples are measured',
      help: 'leave the split out',
    });
  }
  const needed = dataKind(config.data);
  const source = sourceOfKind(config.data, data);
  if (kindOf(source) !== needed) {
    const message = `the run was trained on ${KIND_WORDS[needed]}, the new data are ${KIND_WORDS[kindOf(source)]}`;
    throw dataError('E_DATA_FORMAT', message, { help: HELP_BY_KIND[needed] });
  }
  return { ...config, batchSize: 1, shards: 1, data: onlySource(config.data, source) };
}

/** New data as the training set of the run is named: a path alone, or two, may mean any kind. */
function sourceOfKind(own: Config['data'], data: DataSource): DataSource {
  const { train } = own;
  if (typeof train !== 'object') return data;
  if (typeof data === 'string' && 'text' in train) return { text: data };
  if (typeof data === 'string' && 'folder' in train) return { folder: data };
  if (typeof data === 'object' && 'images' in data && dataKind(own) === 'arrays')
    return { features: data.images, targets: data.labels };
  return data;
}

function onlySource(data: Config['data'], source: DataSource): Config['data'] {
  const { file: _file, train: _train, validation: _validation, test: _test, stride: _stride, ...rest } = data;
  const split = { validation: 0, test: 0 };
  return { ...rest, train: source, split, shuffle: false };
}

async function requireConfig(file: string): Promise<void> {
  try {
    await fs.access(file);
  } catch (error) {
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_MODEL_NOT_FOUND',
      message: `cannot read ${file}, which says what the run measured`,
      help: 'name the directory of a run; a model directory alone is enough to predict, not to evaluate',
      cause: error,
    });
  }
}

function requireSameShape({ description }: SavedModel, { data }: PreparedRun): void {
  const [shape, needed] = [data.dataset.layout.featureShape, description.inputShape].map(formatShape);
  if (shape === needed) return;
  throw dataError('E_DATA_SHAPE', `the samples are ${String(shape)}, the model takes ${String(needed)}`);
}

/**
 * Makes an engine with microbatches of the run's size; how many rows go through at once
 * does not change the bits.
 */
async function createEngine(
  { weights }: SavedModel,
  prepared: PreparedRun,
  { loss, seed, batchSize, shards }: Config,
): Promise<LocalEngine> {
  const { dataset } = prepared.data;
  const engine = await LocalEngine.create({ ...prepared, loss, seed, batchSize, shards, dataset });
  const flat = prepared.memory.allocate(weights.byteLength, 'weights');
  prepared.memory.f32(flat, weights.length).set(weights);
  engine.setWeights(flat);
  return engine;
}
