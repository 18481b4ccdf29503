// Whole models with norms, attention and residual blocks: 20 steps of Adam against PyTorch 1.13.1 (scripts/golden/attention.py
// and normalization.py wrote the values), and the same bits however the leaves of a batch are divided.
import { beforeAll, describe, expect, it } from 'vitest';
import { shardBounds } from '../../src/data/batches.ts';
import type { PackedDataset } from '../../src/data/dataset.ts';
import type { RowRange } from '../../src/engine/engine.ts';
import { loadWeights } from '../../src/engine/initialize.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/kernels.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { Golden, readRecorded } from '../helpers/golden.ts';
import { single } from '../helpers/twins/arithmetic.ts';
import { createEngine, createEngineRoom, sumsOfRange } from '../helpers/twins/engines.ts';
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

/** Trains as scripts/golden/layer_golden.py does: batches in file order, over and over. */
async function train(
  model: Model,
  golden: Golden,
  { batchSize, losses: recorded }: Recorded,
  shards: number,
): Promise<{ losses: number[]; weights: Float32Array; outputs: Float32Array }> {
  const features = golden.tensor('features');
  const [numRows = 0, featureWidth = 0] = features.shape;
  const targets = golden.values('targets');
  const dataset = packSamples({ featureWidth, features: features.values, targets, numClasses: 0 });
  const kernelModule = await loadKernelModule();
  const engine = await LocalEngine.create({
    kernelModule,
    model,
    loss: 'mse',
    seed: 0,
    dataset,
    batchSize,
    shards,
  });
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 1e-3 });
  const optimizer = new Optimizer({ kernels, memory, model, config });
  loadWeights(kernels, memory, model, golden.file('initial.'), 'initial', optimizer.parameters);
  const losses = recorded.map((_, step) => {
    const start = (step * batchSize) % numRows;
    const indices = Uint32Array.from({ length: batchSize }, (__, i) => start + i);
    engine.setWeights(optimizer.parameters);
    const lossSum = engine.train(indices, step, ({ piece, address }) => {
      optimizer.applyPiece(piece, { sum: address, divisor: batchSize });
    });
    optimizer.commit();
    return lossSum / batchSize;
  });
  engine.setWeights(optimizer.parameters);
  const weights = memory.f32(optimizer.parameters, model.numParameters).slice();
  const { outputs } = engine.evaluate(
    Uint32Array.from({ length: numRows }, (_, i) => i),
    numRows,
  );
  return { losses, weights, outputs };
}

describe('20 steps of Adam agree with PyTorch', () => {
  it.each([
    { name: 'transformer', json: 'attention', layers: TRANSFORMER, positions: 6, shards: 4 },
    { name: 'norm-mlp', json: 'normalization', layers: NORM_MLP, positions: 6, shards: 1 },
  ])('in $name, and so does the model at evaluation', async ({ name, json, layers, positions, shards }) => {
    const golden = new Golden(name);
    const model = modelOf(layers, positions);
    const recorded = readRecorded<Recorded>(json);
    const { losses, weights, outputs } = await train(model, golden, recorded, shards);
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / (recorded.losses[step] as number) - 1), `step ${step}`).toBeLessThan(1e-5);
    });
    const final = golden.under('final.');
    expect(model.tensors.map((tensor) => tensor.name)).toEqual([...final.keys()]);
    for (const { name: tensor, offset, length } of model.tensors) {
      const expected = final.get(tensor) as Float32Array;
      const differences = expected.map((value, i) => Math.abs(value - (weights[offset + i] as number)));
      expect(expected.length).toBe(length);
      // The bias of keys shifts all scores of a row alike: its gradient is nothing but rounding, which Adam makes steps of.
      if (tensor.endsWith('in_proj_bias')) differences.fill(0, length / 3, (2 * length) / 3);
      expect(Math.max(...differences), tensor).toBeLessThan(2e-5);
    }
    const evaluated = golden.values('evaluated');
    const worst = Math.max(...evaluated.map((value, i) => Math.abs(value - (outputs[i] as number))));
    expect(worst).toBeLessThan(2e-5);
  });
});

describe('a model of many layers has the same bits', () => {
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

  const rangeOf = (from: number, to: number): RowRange => ({
    numLeaves: shards,
    firstLeaf: from,
    bounds: bounds.subarray(from, to + 1).map((bound) => bound - (bounds[from] as number)),
    indices: indices.subarray(bounds[from], bounds[to]),
  });

  const sumsOf = (options: Partial<EngineOptions>, from = 0, to = shards): NodeSum[] => {
    const all = { model, loss: 'mse' as const, dataset, weights, batchSize: rows, shards, ...options };
    return sumsOfRange(room, model, createEngine(room, all), rangeOf(from, to));
  };

  it('in any number of leaves to a pass, and with any number of threads that pack', () => {
    const [expected] = sumsOf({});
    for (const options of [{ leavesPerPass: 1 }, { leavesPerPass: 2 }, { leavesPerPass: 4, numParts: 3 }]) {
      const [actual] = sumsOf(options);
      expect(actual?.lossSum).toBe(expected?.lossSum);
      expectSameBits(actual?.gradient as Float32Array, expected?.gradient ?? [], JSON.stringify(options));
    }
  });

  it('leaf by leaf, added along the tree', () => {
    const [expected] = sumsOf({});
    const leaves = Array.from({ length: shards }, (_, leaf) => sumsOf({}, leaf, leaf + 1)[0]?.gradient);
    const sum = combineAlongTree(leaves as Float32Array[], (a, b) => addValues(single, a, b) as Float32Array);
    expectSameBits(sum, expected?.gradient ?? [], 'gradient');
  });
});
