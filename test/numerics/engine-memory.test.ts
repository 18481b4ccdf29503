// The memory of an engine is what its plan says, and steps take no more.
import { beforeAll, describe, expect, it } from 'vitest';
import { planEngine } from '../../src/engine/plan.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import type { Shape } from '../../src/shape.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { createEngine, createEngineRoom } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';
import { packSamples, randomValues } from '../helpers/twins/samples.ts';

const ROWS = 24;
const SHARDS = 4;

const MODELS: readonly (readonly [name: string, shape: Shape, layers: readonly LayerInput[]])[] = [
  [
    'a CNN',
    [2, 14, 14],
    [
      { kind: 'conv2d', filters: 8, kernelSize: 3, padding: 'same', activation: 'gelu' },
      { kind: 'batchNorm' },
      { kind: 'conv2d', filters: 8, kernelSize: 3, groups: 8 },
      { kind: 'maxPool2d', size: 2 },
      {
        kind: 'residual',
        layers: [
          { kind: 'conv2d', filters: 8, kernelSize: 1 },
          { kind: 'dropout', rate: 0.1 },
        ],
      },
      { kind: 'globalAvgPool2d' },
      { kind: 'dense', units: 3 },
    ],
  ],
  [
    'a transformer with an LSTM after it',
    [20],
    [
      { kind: 'embedding', vocabulary: 2, units: 16 },
      { kind: 'positionalEmbedding' },
      { kind: 'residual', layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 4, causal: true }] },
      { kind: 'lstm', units: 10, returnSequences: true },
      { kind: 'gru', units: 10 },
      { kind: 'dense', units: 3 },
    ],
  ],
];

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

function modelOf(shape: Shape, layers: readonly LayerInput[]): Model {
  return resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, shape);
}

describe('the plan of an engine', () => {
  it.each(MODELS)(
    'the plan of %s is the memory that its engine takes, except for some row numbers, losses and bounds',
    (_, shape, layers) => {
      const model = modelOf(shape, layers);
      const width = shape.reduce((product, size) => product * size, 1);
      const samples = packSamples({
        featureWidth: width,
        // Zeros and ones: token ids as well as pixels.
        features: randomValues(3, ROWS * width).map((value) => (value > 0 ? 1 : 0)),
        targets: randomValues(4, ROWS * 3),
        numClasses: 0,
      });
      const dataset = { ...samples, layout: { ...samples.layout, featureShape: shape } };
      const { bytes } = planEngine(model, { batchSize: ROWS, shards: SHARDS });
      const before = room.memory.usedBytes;
      const engine = createEngine(room, {
        model,
        loss: 'mse',
        dataset,
        weights: randomValues(5, model.numParameters),
        batchSize: ROWS,
        shards: SHARDS,
      });
      const task = {
        numShards: SHARDS,
        firstShard: 0,
        bounds: Uint32Array.from({ length: SHARDS + 1 }, (_bound, shard) => (shard * ROWS) / SHARDS),
        indices: Uint32Array.from({ length: ROWS }, (_index, row) => row),
      };
      engine.train(task, 0, () => undefined);
      const used = room.memory.usedBytes - before;
      // This engine packs from one flat vector, not two.
      const { activations, scratch, gradients, packedWeights } = bytes;
      const planned =
        activations + scratch + gradients + packedWeights + bytes.weights / 2 + dataset.blob.byteLength;
      expect(used).toBeGreaterThanOrEqual(planned);
      expect(used - planned).toBeLessThan(4096);
      engine.train(task, 0, () => undefined);
      engine.evaluate(task);
      expect(room.memory.usedBytes - before).toBe(used);
    },
  );
});
