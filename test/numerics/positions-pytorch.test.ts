// Models that predict at each position of a sequence, on arrays as users give them: 20 steps of Adam against
// PyTorch 1.13.1 (scripts/golden/positions.py wrote the values).
import { expect, it } from 'vitest';
import type { LayerInput } from '../../src/layers/registry.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import { Golden, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import { loadSamples, NO_SPLIT } from '../unit/src/data/fixtures.ts';

interface Recorded {
  readonly batchSize: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
}

const golden = new Golden('positions');
const { batchSize, losses } = readRecorded<Recorded>('positions');

it.each<{ name: string; loss: 'crossEntropy' | 'mse'; layers: LayerInput[]; data: object; shards: number }>([
  {
    name: 'classes',
    loss: 'crossEntropy',
    layers: [
      { kind: 'lstm', units: 8, returnSequences: true },
      { kind: 'dense', units: 4 },
    ],
    data: { ignoreIndex: -100 },
    shards: 3,
  },
  {
    name: 'values',
    loss: 'mse',
    layers: [
      { kind: 'gru', units: 7, returnSequences: true },
      { kind: 'dense', units: 2 },
    ],
    data: { target: ['sum', 'product'] },
    shards: 4,
  },
])('20 steps on $name at positions agree with PyTorch', async ({ name, loss, layers, data, shards }) => {
  const { values: features, shape } = golden.tensor(`${name}.features`);
  const train = { features, shape, targets: golden.values(`${name}.targets`) };
  const { dataset } = await loadSamples({ train, ...NO_SPLIT, ...data }, { loss, model: { layers } });
  const trained = await trainGolden({
    model: resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, [9, 3]),
    loss,
    dataset,
    initial: golden.file(`${name}.initial.`),
    batchSize,
    shards,
    learningRate: 1e-2,
    numSteps: 20,
  });
  expect(dataset.layout.targetWidth).toBe(name === 'classes' ? 9 : 18);
  expectLosses(trained, losses[name], 1e-6);
  expectWeights(trained, golden.under(`${name}.final.`), 1e-6);
});
