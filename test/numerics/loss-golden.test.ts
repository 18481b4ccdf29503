// Every loss against PyTorch 1.13.1: values, gradients, and 20 steps of Adam on whole models with weights of samples
// and classes, ignored labels and label smoothing. scripts/golden/losses.py wrote the values.
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { totalWeight } from '../../src/data/dataset.ts';
import type { PackedDataset } from '../../src/data/dataset.ts';
import { loadWeights } from '../../src/engine/initialize.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/kernels.ts';
import { createLoss } from '../../src/losses/registry.ts';
import type { LossInput } from '../../src/losses/registry.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import type { NamedTensor } from '../../src/safetensors.ts';
import { modelOf } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';
import { Arena } from './arena.ts';

const GOLDEN = path.resolve(import.meta.dirname, '../golden');
const { tensors } = decodeSafetensors(fs.readFileSync(path.join(GOLDEN, 'losses.safetensors')), 'losses');
const recorded = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'losses.json'), 'utf8')) as {
  readonly batchSize: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
};

function golden(name: string): NamedTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`losses.safetensors has no ${name}`);
  return tensor;
}

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

const SMOOTHED = { kind: 'crossEntropy', labelSmoothing: 0.15 } as const;
const HUBER = { kind: 'huber', delta: 0.625 } as const;

/** Each with the name of its golden values. */
const LOSSES: readonly (readonly [name: string, loss: LossInput])[] = [
  ['mse', 'mse'],
  ['mse.weighted', 'mse'],
  ['mae', 'mae'],
  ['mae.weighted', 'mae'],
  ['huber', HUBER],
  ['huber.weighted', HUBER],
  ['binaryCrossEntropy', 'binaryCrossEntropy'],
  ['binaryCrossEntropy.weighted', 'binaryCrossEntropy'],
  ['crossEntropy', 'crossEntropy'],
  ['crossEntropy.smoothed', SMOOTHED],
  ['crossEntropy.weighted', 'crossEntropy'],
  ['sequence', 'crossEntropy'],
  ['sequence.smoothed', SMOOTHED],
  ['sequence.weighted', 'crossEntropy'],
];

describe('losses agree with PyTorch', () => {
  it.each(LOSSES)('in %s', (name, loss) => {
    const { values: y, shape } = golden(`${name}.y`);
    const [rows, ...outputShape] = shape as [number, ...number[]];
    const { values: target } = golden(`${name}.target`);
    const weights = tensors.get(`${name}.weights`)?.values;
    const isLabels = name.startsWith('crossEntropy') || name.startsWith('sequence');
    const [dY, rowLosses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    createLoss(loss).run(arena.kernels, {
      outputs: arena.put(y),
      targets: arena.put(isLabels ? Uint32Array.from(target) : target),
      weights: weights ? arena.put(weights) : 0,
      rows,
      shape: outputShape,
      dY,
      rowLosses,
    });
    const total = weights ? weights.reduce((sum, weight) => sum + weight, 0) : rows;
    const lossSum = arena.f64(rowLosses, rows).reduce((sum, loss) => sum + loss, 0);
    const expectedLoss = golden(`${name}.loss`).values[0] as number;
    // float32 exponentials and sums, here and there.
    expect(Math.abs(lossSum / total / expectedLoss - 1)).toBeLessThan(1e-6);
    const { values: expected } = golden(`${name}.dY`);
    const largest = Math.max(...expected.map(Math.abs));
    const gradient = arena.f32(dY, y.length).map((value) => value / total);
    const worst = Math.max(...expected.map((value, i) => Math.abs(value - (gradient[i] as number))));
    expect(worst / largest).toBeLessThan(1e-6);
  });
});

interface Training {
  readonly name: string;
  readonly loss: LossInput;
  readonly numClasses: number;
}

const TRAININGS: readonly Training[] = [
  { name: 'train.mae', loss: 'mae', numClasses: 0 },
  { name: 'train.huber', loss: { kind: 'huber', delta: 0.5 }, numClasses: 0 },
  { name: 'train.binary', loss: 'binaryCrossEntropy', numClasses: 0 },
  { name: 'train.smoothed', loss: { kind: 'crossEntropy', labelSmoothing: 0.1 }, numClasses: 4 },
  { name: 'train.classes', loss: 'crossEntropy', numClasses: 4 },
];

function datasetOf({ name, numClasses }: Training): PackedDataset {
  const { values: features, shape } = golden(`${name}.features`);
  const { values: targets } = golden(`${name}.targets`);
  return packSamples({
    featureWidth: shape[1] as number,
    features,
    targets: numClasses > 0 ? Uint32Array.from(targets) : targets,
    numClasses,
    weights: tensors.get(`${name}.weights`)?.values,
  });
}

/** Batches in file order, over and over, as losses.py does. */
async function train(
  training: Training,
  shards: number,
): Promise<{ losses: number[]; weights: Float32Array }> {
  const { name, loss, numClasses } = training;
  const { batchSize } = recorded;
  const dataset = datasetOf(training);
  const model = modelOf(6, [
    [9, 'tanh', true],
    [numClasses || 2, 'linear', true],
  ]);
  const kernelModule = await loadKernelModule();
  const engine = await LocalEngine.create({ kernelModule, model, loss, seed: 0, dataset, batchSize, shards });
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 1e-2 });
  const adam = new Optimizer({ kernels, memory, model, config });
  const initial = new Map(
    model.tensors.map((tensor) => [tensor.name, golden(`${name}.${tensor.name}.initial`)]),
  );
  loadWeights(kernels, memory, model, { tensors: initial, metadata: {} }, name, adam.parameters);
  const losses: number[] = [];
  for (let step = 0; step < 20; step++) {
    const start = (step * batchSize) % dataset.layout.numRows;
    const indices = Uint32Array.from({ length: batchSize }, (_, i) => start + i);
    const weight = totalWeight(dataset, indices);
    engine.setWeights(adam.parameters);
    const lossSum = engine.train(indices, step, ({ piece, address }) => {
      adam.applyPiece(piece, { sum: address, divisor: weight });
    });
    adam.commit();
    losses.push(lossSum / weight);
  }
  return { losses, weights: memory.f32(adam.parameters, model.numParameters).slice() };
}

describe('20 steps of Adam agree with PyTorch', () => {
  it.each(TRAININGS)('in $name', async (training) => {
    const { losses, weights } = await train(training, 4);
    const expected = recorded.losses[training.name] as readonly number[];
    expect(losses.length).toBe(expected.length);
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / (expected[step] as number) - 1), `step ${step}`).toBeLessThan(1e-5);
    });
    const model = modelOf(6, [
      [9, 'tanh', true],
      [training.numClasses || 2, 'linear', true],
    ]);
    for (const { name, offset, length } of model.tensors) {
      const { values } = golden(`${training.name}.${name}.final`);
      const worst = Math.max(...values.map((value, i) => Math.abs(value - (weights[offset + i] as number))));
      expect(values.length).toBe(length);
      expect(worst, name).toBeLessThan(1e-5);
    }
  });
});
