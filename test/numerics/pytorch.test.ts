// Against PyTorch 1.13.1: kernels forward and backward, and 50 steps of two models from PyTorch's own
// initial weights. scripts/make-golden.py wrote the values.
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PackedDataset } from '../../src/data/dataset.ts';
import { loadWeights } from '../../src/engine/initialize.ts';
import { packedLeftLength } from '../../src/kernels/tile.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/kernels.ts';
import type { Model } from '../../src/model/model.ts';
import { ACTIVATIONS } from '../../src/layers/activation.ts';
import type { LossKind } from '../../src/losses/registry.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import type { NamedTensor, SafetensorsFile } from '../../src/safetensors.ts';
import { createEngine, createEngineRoom, modelOf, sumsOfRange } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';
import { Arena } from './arena.ts';

const GOLDEN = path.resolve(import.meta.dirname, '../golden');

function readGolden(name: string): SafetensorsFile {
  return decodeSafetensors(fs.readFileSync(path.join(GOLDEN, `${name}.safetensors`)), name);
}

interface Recorded {
  readonly batchSize: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
}

const recorded = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'pytorch.json'), 'utf8')) as Recorded;
const kernelValues = readGolden('kernels');

function golden(name: string): NamedTensor {
  const tensor = kernelValues.tensors.get(name);
  if (!tensor) throw new Error(`kernels.safetensors has no ${name}`);
  return tensor;
}

/** The largest difference, relative to the largest golden value. */
function expectNear(actual: ArrayLike<number>, expected: NamedTensor, tolerance: number): void {
  const largest = Math.max(...expected.values.map(Math.abs));
  const worst = Math.max(...expected.values.map((value, i) => Math.abs(value - (actual[i] as number))));
  expect(actual.length).toBe(expected.values.length);
  expect(worst / largest).toBeLessThan(tolerance);
}

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

describe('kernels agree with PyTorch', () => {
  it.each(['relu', 'leakyRelu', 'tanh', 'sigmoid'] as const)('in %s, forward and backward', (kind) => {
    const x = golden(`${kind}.x`).values;
    const number = ACTIVATIONS.indexOf(kind);
    const y = arena.put(x);
    arena.kernels.biasActivationForward(number, y, arena.put(new Float32Array(x.length)), 1, x.length);
    // A few ulp on each side; the gradient adds two products of them.
    expectNear(arena.f32(y, x.length), golden(`${kind}.y`), 4 * 2 ** -24);
    const dY = arena.put(golden(`${kind}.dY`).values);
    arena.kernels.activationBackward(number, dY, y, x.length);
    expectNear(arena.f32(dY, x.length), golden(`${kind}.dX`), 8 * 2 ** -24);
  });

  it('in the mean squared error', () => {
    const { values: y, shape } = golden('mse.y');
    const [rows, columns] = shape as [number, number];
    const [dY, losses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    arena.kernels.mseForwardBackward(
      arena.put(y),
      arena.put(golden('mse.target').values),
      0,
      rows,
      columns,
      dY,
      losses,
    );
    checkMeanLoss('mse', rows, losses, dY);
  });

  it('in cross-entropy over logits', () => {
    const { values: y, shape } = golden('crossEntropy.y');
    const [rows, classes] = shape as [number, number];
    const labels = arena.put(Uint32Array.from(golden('crossEntropy.label').values));
    const [dY, losses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    const yPtr = arena.put(y);
    arena.kernels.softmaxCrossEntropyForwardBackward(yPtr, labels, 0, rows, 1, classes, 0, dY, losses);
    checkMeanLoss('crossEntropy', rows, losses, dY);
  });

  /** PyTorch averages over rows, the kernels give each row's own loss and gradient. */
  function checkMeanLoss(name: string, rows: number, losses: number, dY: number): void {
    const mean = arena.f64(losses, rows).reduce((sum, loss) => sum + loss, 0) / rows;
    expectNear([mean], golden(`${name}.loss`), 1e-6);
    const gradient = golden(`${name}.dY`);
    expectNear(
      arena.f32(dY, gradient.values.length).map((value) => value / rows),
      gradient,
      1e-6,
    );
  }
});

describe('a dense layer agrees with PyTorch', () => {
  // y and dX come from other kernels' tests; here the engine makes dW and db from a given dY: with mse
  // and targets y - dY O / 2, the loss has just that gradient.
  it.each(['linear', 'deepLinear'])('in the gradients of %s', async (name) => {
    const room = await createEngineRoom();
    const { values: features, shape } = golden(`${name}.x`);
    const [rows, inputs] = shape as [number, number];
    const { values: y, shape: outputShape } = golden(`${name}.y`);
    const outputs = outputShape[1] as number;
    const dY = golden(`${name}.dY`).values;
    const targets = y.map((value, i) => value - ((dY[i] as number) * outputs) / 2);
    const model = modelOf(inputs, [[outputs, 'linear', true]]);
    const weights = Float32Array.of(...golden(`${name}.weight`).values, ...golden(`${name}.bias`).values);
    const dataset = packSamples({ featureWidth: inputs, features, targets, numClasses: 0 });
    const engine = createEngine(room, { model, loss: 'mse', dataset, weights, batchSize: rows, shards: 4 });
    const indices = Uint32Array.from({ length: rows }, (_, i) => i);
    const bounds = Uint32Array.of(0, 1, 2, 3, rows);
    const range = { numLeaves: 4, firstLeaf: 0, bounds, indices };
    // Up to 700 products summed in another order, a walk of 2^-24 sqrt(700) = 1.6e-6; dY besides went
    // through targets and back, at outputs / 2 its size.
    expectNear(engine.evaluate(range).outputs, golden(`${name}.y`), 4e-6);
    const [sum] = sumsOfRange(room, model, engine, range);
    const gradient = sum?.gradient as Float32Array;
    expectNear(gradient.subarray(0, inputs * outputs), golden(`${name}.dWeight`), 4e-6);
    expectNear(gradient.subarray(inputs * outputs), golden(`${name}.dBias`), 4e-6);
  });

  it.each(['linear', 'deepLinear'])('in the gradient of its input, of %s', (name) => {
    const { shape, values: dY } = golden(`${name}.dY`);
    const [rows, outputs] = shape as [number, number];
    const inputs = golden(`${name}.x`).shape[1] as number;
    const packedA = arena.room(4 * packedLeftLength(rows, outputs));
    const packedB = arena.room(4 * Math.ceil(inputs / 8) * 8 * outputs);
    arena.kernels.packLeftRows(arena.put(dY), rows, outputs, outputs, packedA);
    const weight = arena.put(golden(`${name}.weight`).values);
    arena.kernels.packRightColumns(weight, inputs, outputs, inputs, packedB, 0, Math.ceil(inputs / 8));
    const dX = arena.room(4 * rows * inputs);
    arena.kernels.gemmPacked(rows, inputs, outputs, packedA, packedB, dX, inputs, arena.room(160));
    expectNear(arena.f32(dX, rows * inputs), golden(`${name}.dX`), 1e-6);
  });
});

interface Training {
  readonly name: string;
  readonly loss: LossKind;
  readonly model: Model;
}

const TRAININGS: Training[] = [
  {
    name: 'regression',
    loss: 'mse',
    model: modelOf(8, [
      [64, 'relu', true],
      [64, 'relu', true],
      [1, 'linear', true],
    ]),
  },
  {
    name: 'classification',
    loss: 'crossEntropy',
    model: modelOf(20, [
      [32, 'tanh', true],
      [16, 'relu', true],
      [5, 'linear', true],
    ]),
  },
];

function readDataset({ name, loss }: Training): PackedDataset {
  const { tensors } = readGolden(`${name}-data`);
  const features = tensors.get('features') as NamedTensor;
  const { values } = tensors.get('targets') as NamedTensor;
  const targets = loss === 'crossEntropy' ? Uint32Array.from(values) : values;
  const numClasses = loss === 'crossEntropy' ? 5 : 0;
  return packSamples({
    featureWidth: features.shape[1] as number,
    features: features.values,
    targets,
    numClasses,
  });
}

/** Trains as make-golden.py does: batches in file order, over and over. */
async function train(
  training: Training,
  shards: number,
): Promise<{ losses: number[]; weights: Float32Array }> {
  const { name, loss, model } = training;
  const { batchSize } = recorded;
  const dataset = readDataset(training);
  const engine = await LocalEngine.create({
    kernelModule: await loadKernelModule(),
    model,
    loss,
    seed: 0,
    dataset,
    batchSize,
    shards,
  });
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 1e-3 });
  const adam = new Optimizer({ kernels, memory, model, config });
  loadWeights(kernels, memory, model, readGolden(`${name}-initial`), name, adam.parameters);
  const losses: number[] = [];
  for (let step = 0; step < 50; step++) {
    const start = (step * batchSize) % dataset.layout.numRows;
    const indices = Uint32Array.from({ length: batchSize }, (_, i) => start + i);
    engine.setWeights(adam.parameters);
    const lossSum = engine.train(indices, step, ({ piece, address }) => {
      adam.applyPiece(piece, { sum: address, divisor: batchSize });
    });
    adam.commit();
    losses.push(lossSum / batchSize);
  }
  return { losses, weights: memory.f32(adam.parameters, model.numParameters).slice() };
}

describe('50 steps of Adam agree with PyTorch', () => {
  it.each(TRAININGS)('in $name', async (training) => {
    const { losses, weights } = await train(training, 8);
    const expected = recorded.losses[training.name] as readonly number[];
    expect(losses.length).toBe(expected.length);
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / (expected[step] as number) - 1), `step ${step}`).toBeLessThan(1e-4);
    });
    const final = readGolden(`${training.name}-final`);
    for (const { name, offset, length } of training.model.tensors) {
      const tensor = final.tensors.get(name) as NamedTensor;
      const worst = Math.max(
        ...tensor.values.map((value, i) => Math.abs(value - (weights[offset + i] as number))),
      );
      expect(tensor.values.length).toBe(length);
      expect(worst, name).toBeLessThan(1e-4);
    }
  });
});
