// Every loss against PyTorch 1.13.1: values, gradients, and 20 steps of Adam on whole models with weights of
// samples and classes, ignored labels and label smoothing. scripts/golden/losses.py wrote the values.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import { createLoss } from '../../src/losses/registry.ts';
import type { LossInput } from '../../src/losses/registry.ts';
import type { NamedTensor } from '../../src/safetensors.ts';
import { expectNear, Golden, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import { modelOf } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';
import { Arena } from './arena.ts';

interface Recorded {
  readonly batchSize: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
}

const golden = new Golden('losses');
const recorded = readRecorded<Recorded>('losses');

function weightsOf(name: string): Float32Array | undefined {
  return golden.has(`${name}.weights`) ? golden.values(`${name}.weights`) : undefined;
}

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

const SMOOTHED = { kind: 'crossEntropy', labelSmoothing: 0.15 } as const;
const HUBER = { kind: 'huber', delta: 0.625 } as const;

/** Losses with the names of their golden values. */
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

describe('the losses', () => {
  it.each(LOSSES)('the loss %s agrees with PyTorch', (name, loss) => {
    const { values: y, shape } = golden.tensor(`${name}.y`);
    const [rows, ...outputShape] = shape as [number, ...number[]];
    const target = golden.values(`${name}.target`);
    const sampleWeights = weightsOf(name);
    const isLabels = name.startsWith('crossEntropy') || name.startsWith('sequence');
    const [dY, rowLosses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    createLoss(loss).run(arena.kernels, {
      outputs: arena.put(y),
      targets: arena.put(isLabels ? Uint32Array.from(target) : target),
      sampleWeights: sampleWeights ? arena.put(sampleWeights) : 0,
      rows,
      bounds: Uint32Array.of(0, rows),
      shape: outputShape,
      dY,
      rowLosses,
    });
    const total = sampleWeights ? sampleWeights.reduce((sum, weight) => sum + weight, 0) : rows;
    const lossSum = arena.f64(rowLosses, rows).reduce((sum, loss) => sum + loss, 0);
    const expectedLoss = golden.values(`${name}.loss`)[0] as number;
    // float32 exponentials and sums, here and there.
    expect(Math.abs(lossSum / total / expectedLoss - 1)).toBeLessThan(1e-6);
    const gradient = arena.f32(dY, y.length).map((value) => value / total);
    expectNear(gradient, golden.values(`${name}.dY`), 1e-6, 'dY');
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
  const { values: features, shape } = golden.tensor(`${name}.features`);
  const targets = golden.values(`${name}.targets`);
  return packSamples({
    featureWidth: shape[1] as number,
    features,
    targets: numClasses > 0 ? Uint32Array.from(targets) : targets,
    numClasses,
    sampleWeights: weightsOf(name),
  });
}

describe('20 steps of Adam', () => {
  it.each(TRAININGS)('20 steps of Adam agree with PyTorch for $name', async (training) => {
    const { name, loss, numClasses } = training;
    const model = modelOf(6, [
      [9, 'tanh', true],
      [numClasses || 2, 'linear', true],
    ]);
    const tensors = (when: string): (readonly [string, NamedTensor])[] =>
      model.tensors.map((tensor) => [tensor.name, golden.tensor(`${name}.${tensor.name}.${when}`)]);
    const trained = await trainGolden({
      model,
      loss,
      dataset: datasetOf(training),
      initial: { tensors: new Map(tensors('initial')), metadata: {} },
      batchSize: recorded.batchSize,
      shards: 4,
      learningRate: 1e-2,
      numSteps: 20,
    });
    expectLosses(trained, recorded.losses[name], 1e-5);
    expectWeights(trained, new Map(tensors('final').map(([key, { values }]) => [key, values])), 1e-5);
  });
});
