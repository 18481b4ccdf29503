// Checks of a model against its data, once both are there: shards that are large enough for layers
// that take mean and variance of a shard (one value has no variance, and that of a few values is
// rough), and a row of the embedding for each token id.
import { featureBlocks } from '../../src/data/dataset/packed-dataset.ts';
import type { PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import { configError } from '../../src/errors.ts';
import type { LockstepError } from '../../src/errors.ts';
import { EmbeddingLayer, wrongToken } from '../../src/layers/embedding.ts';
import type { Model } from '../../src/model/model.ts';
import { cutBatch, defaultShards, SOUND_ROWS } from '../../src/model/shards.ts';
import type { Sharding } from '../../src/model/shards.ts';
import { sizeOf } from '../../src/shape.ts';
import { countOf, formatCount } from '../../src/printable.ts';

/** Samples to train on, and the model that takes statistics of them. */
interface Trained {
  readonly model: Model;
  readonly numSamples: number;
}

/**
 * Looks at the shards of every batch, and warns where they are small because `shards` is large.
 * @throws LockstepError (exit 2) where a layer would have to take a variance of one value,
 * which PyTorch refuses too.
 */
export function requireStatistics(config: Sharding, trained: Trained, warn: (message: string) => void): void {
  const numTaken = trained.model.tensors.flatMap(({ valuesPerSample = [] }) => valuesPerSample);
  if (numTaken.length === 0) return;
  if (!hasVariances(config, trained.numSamples, Math.min(...numTaken))) {
    throw withoutVariance(config, trained.numSamples);
  }
  if (config.shards > 1 && smallestShard(config.batchSize, config) < SOUND_ROWS) {
    warn(smallShards(config, trained.numSamples));
  }
}

/** True where every shard of every batch has more than one value, where a sample has `valuesPerSample`. */
function hasVariances(config: Sharding, numSamples: number, valuesPerSample: number): boolean {
  const { batchSize } = config;
  const lengths = [batchSize, numSamples % batchSize].filter((length) => length > 0);
  return lengths.every((length) => smallestShard(length, config) * valuesPerSample > 1);
}

/** Samples of the last one: none has fewer. */
function smallestShard(batchLength: number, config: Sharding): number {
  const bounds = cutBatch(batchLength, config);
  return batchLength - (bounds.at(-2) ?? 0);
}

/** A single value comes of a single sample: the only one of a batch, or that which a shard is left with. */
function withoutVariance(config: Sharding, numSamples: number): LockstepError {
  const { batchSize, shards } = config;
  const rule =
    'batchNorm takes a variance, for which a shard needs more than 1 value of each feature or channel';
  const refuse = (what: string, help: string): LockstepError =>
    configError('E_CONFIG_BATCH_NORM', `${rule}: ${what}`, help);
  if (batchSize === 1) {
    const size = Math.min(SOUND_ROWS, numSamples);
    const more = size > 1 ? `set batchSize to ${size === SOUND_ROWS ? `${size} or more` : size}, or ` : '';
    return refuse('batchSize is 1', `${more}use layerNorm, which normalizes each sample by itself`);
  }
  if (smallestShard(batchSize, config) === 1) {
    const what = `shards ${shards} cuts a batch of ${formatCount(batchSize)} into shards of 1 sample`;
    return refuse(what, `leave shards out (${defaultShards(config)} here)`);
  }
  const batches = `${countOf(numSamples, 'training sample')} in batches of ${formatCount(batchSize)}`;
  const help = `set batchSize to ${batchSizeWithVariances(config, numSamples)}`;
  return refuse(`${batches} leave 1 for the last batch of an epoch`, help);
}

/** The nearest; one batch of all samples would do. */
function batchSizeWithVariances(config: Sharding, numSamples: number): number {
  const isEnough = (batchSize: number): boolean =>
    batchSize > 1 && batchSize <= numSamples && hasVariances({ ...config, batchSize }, numSamples, 1);
  for (let distance = 1; ; distance++) {
    const found = [config.batchSize + distance, config.batchSize - distance].find(isEnough);
    if (found !== undefined) return found;
  }
}

function smallShards(config: Sharding, numSamples: number): string {
  const { batchSize, shards } = config;
  const rows = countOf(smallestShard(batchSize, config), 'sample');
  const needed = shards * SOUND_ROWS;
  return (
    `shards ${shards} cuts a batch of ${formatCount(batchSize)} into shards of ${rows}, and batchNorm normalizes a shard ` +
    `by its own mean and variance, which are rough with fewer than ${SOUND_ROWS}: accuracy suffers; ` +
    `leave shards out (${defaultShards(config)} here)` +
    (needed <= numSamples ? `, or set batchSize to ${formatCount(needed)} or more` : '')
  );
}

/**
 * @throws LockstepError (exit 3) where the model begins with an embedding and a feature is
 * no id of its vocabulary.
 */
export function requireTokens(dataset: PackedDataset, model: Model): void {
  const [first] = model.stack.layers;
  if (!(first instanceof EmbeddingLayer)) return;
  const { vocabulary } = first.spec;
  const { featureShape, featureType, featureScale } = dataset.layout;
  const scale = featureType === 'u8' ? featureScale : 1;
  const width = sizeOf(featureShape);
  for (const { firstRow, features } of featureBlocks(dataset)) {
    const bad = features.findIndex((value) => !isToken(value * scale, vocabulary));
    if (bad === -1) continue;
    const place = `sample ${firstRow + Math.floor(bad / width)}, position ${bad % width}`;
    throw wrongToken((features[bad] as number) * scale, vocabulary, place);
  }
}

function isToken(value: number, vocabulary: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < vocabulary;
}
