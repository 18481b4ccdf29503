// Whole models with norms, attention and residual blocks: 20 steps of Adam against PyTorch 1.13.1
// (scripts/golden/attention.py and normalization.py wrote the values), and the same bits however the shards
// of a batch are divided.
import { beforeAll, describe, expect, it } from 'vitest';
import type { PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import type { TaskRows } from '../../src/engine/engine.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { shardBounds } from '../../src/model/shards.ts';
import { Golden, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import type { TrainedModel } from '../helpers/golden-training.ts';
import { single } from '../helpers/twins/arithmetic.ts';
import { createEngine, createEngineRoom, sumsOfTask } from '../helpers/twins/engines.ts';
import type { EngineOptions, EngineRoom, NodeSum } from '../helpers/twins/engines.ts';
import { packSamples, randomValues } from '../helpers/twins/samples.ts';
import { addValues, combineAlongTree } from '../helpers/twins/tree.ts';
import { expectSameBits } from './arena.ts';

const TRANSFORMER: LayerInput[] = [
  { kind: 'embedding', vocabulary: 11, units: 8 },
  { kind: 'positionalEmbedding' },
  { kind: 'residual', layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 2, causal: true }] },
  {
    kind: 'residual',
    layers: [
      { kind: 'layerNorm' },
      { kind: 'dense', units: 16, activation: 'geluTanh' },
      { kind: 'dense', units: 8 },
    ],
  },
  { kind: 'layerNorm' },
  { kind: 'dense', units: 11 },
];

const NORM_MLP: LayerInput[] = [
  { kind: 'dense', units: 16, bias: false },
  { kind: 'batchNorm' },
  { kind: 'activation', function: 'relu' },
  { kind: 'dense', units: 3 },
];

/** Every kind of layer for sequences. */
const EVERYTHING: LayerInput[] = [
  ...TRANSFORMER.slice(0, 3),
  { kind: 'dropout', rate: 0.25 },
  {
    kind: 'residual',
    layers: [
      { kind: 'dense', units: 6, activation: 'gelu' },
      { kind: 'dropout', rate: 0.1 },
    ],
    shortcut: [{ kind: 'dense', units: 6, activation: 'silu', bias: false }],
  },
  { kind: 'activation', function: 'softmax' },
  { kind: 'layerNorm' },
  { kind: 'dense', units: 3, activation: 'elu' },
];

function modelOf(layers: readonly LayerInput[], positions: number): Model {
  return resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, [positions]);
}

interface Recorded {
  readonly batchSize: number;
  readonly losses: readonly number[];
}

describe('20 steps of Adam', () => {
  it.each([
    { name: 'transformer', json: 'attention', layers: TRANSFORMER, positions: 6, shards: 4 },
    { name: 'norm-mlp', json: 'normalization', layers: NORM_MLP, positions: 6, shards: 1 },
  ])(
    '20 steps of Adam on $name agree with PyTorch, and so does the model at evaluation',
    async ({ name, json, layers, positions, shards }) => {
      const golden = new Golden(name);
      const model = modelOf(layers, positions);
      const { batchSize, losses } = readRecorded<Recorded>(json);
      const { values: features, shape } = golden.tensor('features');
      const [numRows = 0, featureWidth = 0] = shape;
      const trained = await trainGolden({
        model,
        loss: 'mse',
        dataset: packSamples({ featureWidth, features, targets: golden.values('targets'), numClasses: 0 }),
        initial: golden.file('initial.'),
        batchSize,
        shards,
        learningRate: 1e-3,
        numSteps: losses.length,
      });
      expectLosses(trained, losses, 1e-5);
      const final = golden.under('final.');
      expect(model.tensors.map((tensor) => tensor.name)).toEqual([...final.keys()]);
      ignoreKeyBiases(trained, final);
      expectWeights(trained, final, 2e-5);
      const rows = Uint32Array.from({ length: numRows }, (_, i) => i);
      const { outputs } = trained.engine.evaluateRows(rows, numRows);
      const evaluated = golden.values('evaluated');
      const worst = Math.max(...evaluated.map((value, i) => Math.abs(value - (outputs[i] as number))));
      expect(worst).toBeLessThan(2e-5);
    },
  );
});

/**
 * The bias of keys shifts all scores of a row alike: its gradient is pure rounding, which Adam turns into
 * steps.
 */
function ignoreKeyBiases({ model, weights }: TrainedModel, final: ReadonlyMap<string, Float32Array>): void {
  for (const { name, offset, length } of model.tensors) {
    if (!name.endsWith('in_proj_bias')) continue;
    weights.set(final.get(name)?.subarray(length / 3, (2 * length) / 3) ?? [], offset + length / 3);
  }
}

describe('a model of many layers', () => {
  const model = modelOf(EVERYTHING, 6);
  const [rows, shards] = [19, 7];
  const bounds = shardBounds(rows, shards);
  const indices = Uint32Array.from({ length: rows }, (_, i) => (i * 8 + 3) % rows);
  const dataset: PackedDataset = packSamples({
    featureWidth: 6,
    features: randomValues(1, rows * 6).map((value) => Math.floor((value + 1) * 5.5)),
    targets: randomValues(2, rows * 18),
    numClasses: 0,
  });
  const weights = randomValues(3, model.numParameters);
  let room: EngineRoom;
  beforeAll(async () => {
    room = await createEngineRoom();
  });

  const taskOf = (from: number, to: number): TaskRows => ({
    numShards: shards,
    firstShard: from,
    bounds: bounds.subarray(from, to + 1).map((bound) => bound - (bounds[from] as number)),
    indices: indices.subarray(bounds[from], bounds[to]),
  });

  const sumsOf = (options: Partial<EngineOptions>, from = 0, to = shards): NodeSum[] => {
    const all = { model, loss: 'mse' as const, dataset, weights, batchSize: rows, shards, ...options };
    return sumsOfTask(room, model, createEngine(room, all), taskOf(from, to));
  };

  it('a model of many layers has the same bits for any number of shards in a microbatch and of packing threads', () => {
    const [expected] = sumsOf({});
    for (const options of [
      { shardsPerMicrobatch: 1 },
      { shardsPerMicrobatch: 2 },
      { shardsPerMicrobatch: 4, numParts: 3 },
    ]) {
      const [actual] = sumsOf(options);
      expect(actual?.lossSum).toBe(expected?.lossSum);
      expectSameBits(actual?.gradient as Float32Array, expected?.gradient ?? [], JSON.stringify(options));
    }
  });

  it('a model of many layers has the same bits shard by shard, added along the tree', () => {
    const [expected] = sumsOf({});
    const sums = Array.from({ length: shards }, (_, shard) => sumsOf({}, shard, shard + 1)[0]?.gradient);
    const sum = combineAlongTree(sums as Float32Array[], (a, b) => addValues(single, a, b) as Float32Array);
    expectSameBits(sum, expected?.gradient ?? [], 'gradient');
  });
});
