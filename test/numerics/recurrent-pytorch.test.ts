// LSTM and GRU against PyTorch 1.13.1: outputs, all gradients, and 20 steps of Adam on a small model of each from PyTorch's
// own initial weights. scripts/golden/recurrent.py wrote the values.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadWeights } from '../../src/engine/initialize.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/kernels.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import type { NamedTensor, SafetensorsFile } from '../../src/safetensors.ts';
import { createLoneLayer, runLayer } from '../helpers/layer-run.ts';
import { createEngineRoom } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';

const FILE = path.resolve(import.meta.dirname, '../golden/recurrent.safetensors');
const KINDS = ['lstm', 'gru'] as const;
type Kind = (typeof KINDS)[number];

interface Recorded {
  readonly batchSize: number;
  readonly cases: Readonly<
    Record<string, { positions: number; inputs: number; units: number; returnSequences: boolean }>
  >;
  readonly losses: Readonly<Record<Kind, readonly number[]>>;
}

const recorded = JSON.parse(fs.readFileSync(FILE.replace('.safetensors', '.json'), 'utf8')) as Recorded;
const file = decodeSafetensors(fs.readFileSync(FILE), FILE);

function golden(name: string): NamedTensor {
  const tensor = file.tensors.get(name);
  if (!tensor) throw new Error(`${FILE} has no ${name}`);
  return tensor;
}

/** The largest difference, relative to the largest golden value. */
function relativeError(actual: ArrayLike<number>, { values }: NamedTensor): number {
  expect(actual.length).toBe(values.length);
  // All zeros must be met exactly: the gradient of the recurrent weight where there is one position.
  const largest = Math.max(Number.MIN_VALUE, ...values.map(Math.abs));
  return Math.max(...values.map((value, i) => Math.abs(value - (actual[i] as number)))) / largest;
}

describe.each(KINDS)('%s agrees with PyTorch', (kind) => {
  it.each(Object.entries(recorded.cases))('forward and in all gradients: %s', async (name, sizes) => {
    const { positions, inputs, units, returnSequences } = sizes;
    const lone = createLoneLayer({ kind, units, returnSequences }, [positions, inputs]);
    const prefix = `${kind}.${name}`;
    const weights = new Float32Array(lone.numParameters);
    for (const tensor of lone.layer.tensors)
      weights.set(golden(`${prefix}.${tensor.name}`).values, tensor.offset);
    const [x, dY] = [golden(`${prefix}.x`), golden(`${prefix}.dY`)];
    const bounds = Uint32Array.of(0, x.shape[0] as number);
    const { y, gradient, dX } = runLayer(await createEngineRoom(), lone, {
      weights,
      x: x.values,
      dY: dY.values,
      bounds,
    });
    // Gates err by up to 2.5 ulp of 2^-24, and contract what they are given; measured 1.7e-7, and 5.4e-7 of gradients.
    expect(relativeError(y, golden(`${prefix}.y`))).toBeLessThan(5e-7);
    expect(relativeError(dX as Float32Array, golden(`${prefix}.dX`))).toBeLessThan(1.5e-6);
    for (const { name: own, offset, length } of lone.layer.tensors) {
      const part = gradient.subarray(offset, offset + length);
      expect(relativeError(part, golden(`${prefix}.d.${own}`)), own).toBeLessThan(1.5e-6);
    }
  });

  it('over 20 steps of Adam', async () => {
    const { losses, weights } = await train(kind);
    const expected = recorded.losses[kind];
    expect(losses).toHaveLength(expected.length);
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / (expected[step] as number) - 1), `step ${step}`).toBeLessThan(1e-6);
    });
    for (const [name, values] of weights) {
      const final = golden(`${kind}.train.final.${name}`);
      const worst = Math.max(...final.values.map((value, i) => Math.abs(value - (values[i] as number))));
      // Measured 1.8e-7; a wrong formula shows at the size of a step, 1e-2.
      expect(worst, name).toBeLessThan(1e-6);
    }
  });
});

function initialWeights(kind: Kind): SafetensorsFile {
  const prefix = `${kind}.train.initial.`;
  const own = [...file.tensors].filter(([name]) => name.startsWith(prefix));
  return { ...file, tensors: new Map(own.map(([name, tensor]) => [name.slice(prefix.length), tensor])) };
}

/** Trains as the script does: batches in file order, over and over. */
async function train(kind: Kind): Promise<{ losses: number[]; weights: Map<string, Float32Array> }> {
  const layers: LayerInput[] = [
    { kind, units: 10, returnSequences: true },
    { kind, units: 7 },
    { kind: 'dense', units: 2 },
  ];
  const [features, targets] = [golden(`${kind}.train.features`), golden(`${kind}.train.targets`)];
  const [numRows = 0, positions = 0, inputs = 0] = features.shape;
  const model = resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, [
    positions,
    inputs,
  ]);
  const { batchSize } = recorded;
  const engine = await LocalEngine.create({
    kernelModule: await loadKernelModule(),
    model,
    loss: 'mse',
    seed: 0,
    dataset: packSamples({
      featureWidth: positions * inputs,
      features: features.values,
      targets: targets.values,
      numClasses: 0,
    }),
    batchSize,
    shards: 5,
  });
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 1e-2 });
  const adam = new Optimizer({ kernels, memory, model, config });
  loadWeights(kernels, memory, model, initialWeights(kind), FILE, adam.parameters);
  const losses: number[] = [];
  for (let step = 0; step < recorded.losses[kind].length; step++) {
    const start = (step * batchSize) % numRows;
    const indices = Uint32Array.from({ length: batchSize }, (_, i) => start + i);
    engine.setWeights(adam.parameters);
    const lossSum = engine.train(indices, step, ({ piece, address }) => {
      adam.applyPiece(piece, { sum: address, divisor: batchSize });
    });
    adam.commit();
    losses.push(lossSum / batchSize);
  }
  const flat = memory.f32(adam.parameters, model.numParameters).slice();
  const weights = model.tensors.map(
    ({ name, offset, length }) => [name, flat.subarray(offset, offset + length)] as const,
  );
  return { losses, weights: new Map(weights) };
}
