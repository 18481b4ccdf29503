// Small models of every activation and loss, and the gradients of one engine on a batch of each.
import { resolveLoss } from '../../src/losses/registry.ts';
import type { LossInput } from '../../src/losses/registry.ts';
import type { Model } from '../../src/model/model.ts';
import { shardBounds } from '../../src/model/shards.ts';
import { createEngine, modelOf, randomWeights, sumsOfTask } from '../helpers/twins/engines.ts';
import type { EngineRoom, LayerWords, NodeSum } from '../helpers/twins/engines.ts';
import type { TwinBatch } from '../helpers/twins/network.ts';
import { packSamples, randomSamples } from '../helpers/twins/samples.ts';

/** A model and a batch for it. */
export interface GradientCase {
  readonly name: string;
  readonly loss: LossInput;
  /** Whether rows have weights, some of them 0. */
  readonly hasSampleWeights?: boolean;
  readonly inputWidth: number;
  readonly layers: readonly LayerWords[];
  readonly rows: number;
  readonly shards: number;
}

/**
 * Every activation as the last and as an inner layer, both losses, with and without bias, one and more
 * shards.
 */
export const CASES: readonly GradientCase[] = [
  {
    name: 'linear regression',
    loss: 'mse',
    inputWidth: 3,
    layers: [[1, 'linear', true]],
    rows: 5,
    shards: 1,
  },
  {
    name: 'no bias anywhere',
    loss: 'mse',
    inputWidth: 4,
    layers: [
      [6, 'relu', false],
      [2, 'linear', false],
    ],
    rows: 6,
    shards: 2,
  },
  {
    name: 'relu',
    loss: 'mse',
    inputWidth: 5,
    layers: [
      [9, 'relu', true],
      [4, 'relu', true],
    ],
    rows: 7,
    shards: 3,
  },
  {
    name: 'leakyRelu',
    loss: 'mse',
    inputWidth: 5,
    layers: [
      [9, 'leakyRelu', true],
      [4, 'leakyRelu', false],
    ],
    rows: 7,
    shards: 4,
  },
  {
    name: 'tanh',
    loss: 'mse',
    inputWidth: 5,
    layers: [
      [9, 'tanh', true],
      [3, 'tanh', true],
    ],
    rows: 7,
    shards: 3,
  },
  {
    name: 'sigmoid',
    loss: 'mse',
    inputWidth: 5,
    layers: [
      [9, 'sigmoid', false],
      [3, 'sigmoid', true],
    ],
    rows: 7,
    shards: 7,
  },
  {
    name: 'elu, gelu in both forms, silu',
    loss: 'mse',
    inputWidth: 5,
    layers: [
      [9, 'elu', true],
      [8, 'gelu', true],
      [7, 'geluTanh', false],
      [6, 'silu', true],
      [3, 'gelu', true],
    ],
    rows: 11,
    shards: 3,
  },
  {
    name: 'all activations, mse',
    loss: 'mse',
    inputWidth: 8,
    layers: [
      [12, 'relu', true],
      [10, 'tanh', false],
      [9, 'sigmoid', true],
      [7, 'leakyRelu', true],
      [3, 'linear', true],
    ],
    rows: 17,
    shards: 5,
  },
  {
    name: 'all activations, cross-entropy',
    loss: 'crossEntropy',
    inputWidth: 8,
    layers: [
      [12, 'leakyRelu', true],
      [10, 'sigmoid', true],
      [9, 'tanh', false],
      [7, 'relu', true],
      [5, 'linear', true],
    ],
    rows: 17,
    shards: 8,
  },
  {
    name: 'softmax regression',
    loss: 'crossEntropy',
    inputWidth: 6,
    layers: [[4, 'linear', false]],
    rows: 9,
    shards: 3,
  },
  {
    name: 'classes after tanh',
    loss: 'crossEntropy',
    inputWidth: 6,
    layers: [
      [8, 'relu', true],
      [3, 'tanh', true],
    ],
    rows: 4,
    shards: 8,
  },
  {
    name: 'absolute errors of weighted rows',
    loss: 'mae',
    hasSampleWeights: true,
    inputWidth: 5,
    layers: [
      [7, 'relu', true],
      [2, 'linear', true],
    ],
    rows: 9,
    shards: 4,
  },
  {
    name: 'huber, with weighted rows',
    loss: { kind: 'huber', delta: 0.4 },
    hasSampleWeights: true,
    inputWidth: 5,
    layers: [
      [7, 'leakyRelu', true],
      [3, 'linear', true],
    ],
    rows: 9,
    shards: 3,
  },
  {
    name: 'binary cross-entropy, with weighted rows',
    loss: 'binaryCrossEntropy',
    hasSampleWeights: true,
    inputWidth: 5,
    layers: [
      [7, 'relu', true],
      [6, 'linear', true],
    ],
    rows: 9,
    shards: 3,
  },
  {
    name: 'smoothed labels of weighted rows',
    loss: { kind: 'crossEntropy', labelSmoothing: 0.2 },
    hasSampleWeights: true,
    inputWidth: 5,
    layers: [
      [7, 'relu', true],
      [6, 'linear', true],
    ],
    rows: 9,
    shards: 3,
  },
];

/** A case with its weights and samples drawn. */
export interface PreparedCase {
  readonly model: Model;
  readonly loss: LossInput;
  readonly weights: Float32Array;
  readonly batch: TwinBatch;
  /** Gradient and loss of the whole batch, by one engine. */
  readonly engineSum: NodeSum;
}

/** Draws weights and samples, and has an engine in `room` sum up the gradients. */
export function prepareCase(room: EngineRoom, testCase: Omit<GradientCase, 'name'>, seed = 1): PreparedCase {
  const { loss, hasSampleWeights = false, inputWidth, layers, rows, shards } = testCase;
  const model = modelOf(inputWidth, layers);
  const { outputWidth } = model;
  const isClassification = resolveLoss(loss).kind === 'crossEntropy';
  const samples = randomSamples(seed, {
    numRows: rows,
    featureWidth: inputWidth,
    outputWidth,
    isClassification,
    hasSampleWeights,
  });
  const weights = randomWeights(seed, model);
  const bounds = shardBounds(rows, shards);
  const dataset = packSamples(samples);
  const engine = createEngine(room, { model, loss, dataset, weights, batchSize: rows, shards });
  const task = {
    numShards: bounds.length - 1,
    firstShard: 0,
    bounds,
    indices: Uint32Array.from({ length: rows }, (_, i) => i),
  };
  const [engineSum] = sumsOfTask(room, model, engine, task);
  return { model, loss, weights, batch: { ...samples, bounds }, engineSum: engineSum as NodeSum };
}
