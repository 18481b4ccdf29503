// LSTM and GRU against PyTorch 1.13.1: outputs, all gradients, and 20 steps of Adam on a small model of each
// from PyTorch's own initial weights. scripts/golden/recurrent.py wrote the values.
import { describe, expect, it } from 'vitest';
import { sizeOf } from '../../src/shape.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import { Golden, expectNear, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import type { TrainedModel } from '../helpers/golden-training.ts';
import { runLayer } from '../helpers/layer-run.ts';
import { createEngineRoom } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';

const KINDS = ['lstm', 'gru'] as const;
type Kind = (typeof KINDS)[number];

interface Recorded {
  readonly batchSize: number;
  readonly cases: Readonly<
    Record<string, { positions: number; inputs: number; units: number; returnSequences: boolean }>
  >;
  readonly losses: Readonly<Record<Kind, readonly number[]>>;
}

const recorded = readRecorded<Recorded>('recurrent');
const golden = new Golden('recurrent');

describe.each(KINDS)('%s', (kind) => {
  it.each(Object.entries(recorded.cases))(
    `a layer of ${kind} agrees with PyTorch forward and in all gradients: %s`,
    async (name, sizes) => {
      const { positions, inputs, units, returnSequences } = sizes;
      const prefix = `${kind}.${name}`;
      const { y, dX, gradients } = runLayer(await createEngineRoom(), {
        layer: { kind, units, returnSequences },
        inputShape: [positions, inputs],
        x: golden.values(`${prefix}.x`),
        dY: golden.values(`${prefix}.dY`),
        weights: golden.under(`${prefix}.`),
      });
      // Gates err by up to 2.5 ulp of 2^-24, and contract their inputs; measured 1.7e-7, and 5.4e-7 for
      // gradients.
      expectNear(y, golden.values(`${prefix}.y`), 5e-7, 'y');
      expectNear(dX, golden.values(`${prefix}.dX`), 1.5e-6, 'dX');
      const expected = golden.under(`${prefix}.d.`);
      expect([...gradients.keys()]).toEqual([...expected.keys()]);
      for (const [tensor, gradient] of gradients) {
        expectNear(gradient, expected.get(tensor) as Float32Array, 1.5e-6, tensor);
      }
    },
  );

  it(`a model with ${kind} agrees with PyTorch over 20 steps of Adam`, async () => {
    const trained = await train(kind);
    expectLosses(trained, recorded.losses[kind], 1e-6);
    // Measured 1.8e-7; a wrong formula shows at the size of a step, 1e-2.
    expectWeights(trained, golden.under(`${kind}.train.final.`), 1e-6);
  });
});

/** The model of scripts/golden/recurrent.py. */
async function train(kind: Kind): Promise<TrainedModel> {
  const layers: LayerInput[] = [
    { kind, units: 10, returnSequences: true },
    { kind, units: 7 },
    { kind: 'dense', units: 2 },
  ];
  const { values: features, shape } = golden.tensor(`${kind}.train.features`);
  const inputShape = shape.slice(1);
  return trainGolden({
    model: resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, inputShape),
    loss: 'mse',
    dataset: packSamples({
      featureWidth: sizeOf(inputShape),
      features,
      targets: golden.values(`${kind}.train.targets`),
      numClasses: 0,
    }),
    initial: golden.file(`${kind}.train.initial.`),
    batchSize: recorded.batchSize,
    shards: 5,
    learningRate: 1e-2,
    numSteps: recorded.losses[kind].length,
  });
}
