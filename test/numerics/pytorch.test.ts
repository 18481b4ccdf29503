// Against PyTorch 1.13.1: kernels forward and backward, and 50 steps of two models from PyTorch's own
// initial weights. scripts/make-golden.py wrote the values.
import { afterEach, beforeAll, describe, it } from 'vitest';
import type { PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import { TILE_LENGTH, packedLeftLength } from '../../src/kernels/kernels.ts';
import type { Model } from '../../src/model/model.ts';
import { ACTIVATIONS } from '../../src/layers/activation.ts';
import type { LossKind } from '../../src/losses/registry.ts';
import { expectNear, Golden, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import { createEngine, createEngineRoom, modelOf, sumsOfTask } from '../helpers/twins/engines.ts';
import { packSamples } from '../helpers/twins/samples.ts';
import { Arena } from './arena.ts';

interface Recorded {
  readonly batchSize: number;
  readonly losses: Readonly<Record<string, readonly number[]>>;
}

const recorded = readRecorded<Recorded>('pytorch');
const golden = new Golden('kernels');

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

describe('the kernels', () => {
  it.each(['relu', 'leakyRelu', 'tanh', 'sigmoid'] as const)(
    'the kernels of %s agree with PyTorch forward and backward',
    (kind) => {
      const x = golden.values(`${kind}.x`);
      const number = ACTIVATIONS.indexOf(kind);
      const y = arena.put(x);
      arena.kernels.biasActivationForward(number, y, arena.put(new Float32Array(x.length)), 1, x.length);
      // A few ulp on each side; the gradient adds two products of them.
      expectNear(arena.f32(y, x.length), golden.values(`${kind}.y`), 4 * 2 ** -24, 'y');
      const dY = arena.put(golden.values(`${kind}.dY`));
      arena.kernels.activationBackward(number, dY, y, x.length);
      expectNear(arena.f32(dY, x.length), golden.values(`${kind}.dX`), 8 * 2 ** -24, 'dX');
    },
  );

  it('the kernels agree with PyTorch in the mean squared error', () => {
    const { values: y, shape } = golden.tensor('mse.y');
    const [rows, columns] = shape as [number, number];
    const [dY, losses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    arena.kernels.mseForwardBackward(
      arena.put(y),
      arena.put(golden.values('mse.target')),
      0,
      rows,
      columns,
      dY,
      losses,
    );
    checkMeanLoss('mse', rows, losses, dY);
  });

  it('the kernels agree with PyTorch in cross-entropy over logits', () => {
    const { values: y, shape } = golden.tensor('crossEntropy.y');
    const [rows, classes] = shape as [number, number];
    const labels = arena.put(Uint32Array.from(golden.values('crossEntropy.label')));
    const [dY, losses] = [arena.room(4 * y.length), arena.room(8 * rows)];
    const yPtr = arena.put(y);
    arena.kernels.softmaxCrossEntropyForwardBackward(yPtr, labels, 0, rows, 1, classes, 0, dY, losses);
    checkMeanLoss('crossEntropy', rows, losses, dY);
  });

  /** PyTorch averages over rows, the kernels give each row's own loss and gradient. */
  function checkMeanLoss(name: string, rows: number, losses: number, dY: number): void {
    const mean = arena.f64(losses, rows).reduce((sum, loss) => sum + loss, 0) / rows;
    expectNear([mean], golden.values(`${name}.loss`), 1e-6, 'loss');
    const expected = golden.values(`${name}.dY`);
    const gradient = arena.f32(dY, expected.length).map((value) => value / rows);
    expectNear(gradient, expected, 1e-6, 'dY');
  }
});

describe('a dense layer', () => {
  // Other tests cover y and dX; here the engine computes dW and db from a given dY: with mse
  // and targets y - dY O / 2, the loss has just that gradient.
  it.each(['linear', 'deepLinear'])(
    'a dense layer agrees with PyTorch in the gradients of its weights: %s',
    async (name) => {
      const room = await createEngineRoom();
      const { values: features, shape } = golden.tensor(`${name}.x`);
      const [rows, inputs] = shape as [number, number];
      const { values: y, shape: outputShape } = golden.tensor(`${name}.y`);
      const outputs = outputShape[1] as number;
      const dY = golden.values(`${name}.dY`);
      const targets = y.map((value, i) => value - ((dY[i] as number) * outputs) / 2);
      const model = modelOf(inputs, [[outputs, 'linear', true]]);
      const weights = Float32Array.of(...golden.values(`${name}.weight`), ...golden.values(`${name}.bias`));
      const dataset = packSamples({ featureWidth: inputs, features, targets, numClasses: 0 });
      const engine = createEngine(room, { model, loss: 'mse', dataset, weights, batchSize: rows, shards: 4 });
      const indices = Uint32Array.from({ length: rows }, (_, i) => i);
      const bounds = Uint32Array.of(0, 1, 2, 3, rows);
      const task = { numShards: 4, firstShard: 0, bounds, indices };
      // Up to 700 products summed in another order, a walk of 2^-24 sqrt(700) = 1.6e-6; dY moreover went
      // through targets and back, at outputs / 2 its size.
      expectNear(engine.evaluate(task).outputs, golden.values(`${name}.y`), 4e-6, 'y');
      const [sum] = sumsOfTask(room, model, engine, task);
      const gradient = sum?.gradient as Float32Array;
      expectNear(gradient.subarray(0, inputs * outputs), golden.values(`${name}.dWeight`), 4e-6, 'dWeight');
      expectNear(gradient.subarray(inputs * outputs), golden.values(`${name}.dBias`), 4e-6, 'dBias');
    },
  );

  it.each(['linear', 'deepLinear'])(
    'a dense layer agrees with PyTorch in the gradient of its input: %s',
    (name) => {
      const { shape, values: dY } = golden.tensor(`${name}.dY`);
      const [rows, outputs] = shape as [number, number];
      const inputs = golden.tensor(`${name}.x`).shape[1] as number;
      const packedA = arena.room(4 * packedLeftLength(rows, outputs));
      const packedB = arena.room(4 * Math.ceil(inputs / 8) * 8 * outputs);
      arena.kernels.packLeftRows(arena.put(dY), rows, outputs, outputs, packedA);
      const weight = arena.put(golden.values(`${name}.weight`));
      arena.kernels.packRightColumns(weight, inputs, outputs, inputs, packedB, 0, Math.ceil(inputs / 8));
      const dX = arena.room(4 * rows * inputs);
      arena.kernels.gemmPacked(
        rows,
        inputs,
        outputs,
        packedA,
        packedB,
        dX,
        inputs,
        arena.room(4 * TILE_LENGTH),
      );
      expectNear(arena.f32(dX, rows * inputs), golden.values(`${name}.dX`), 1e-6, 'dX');
    },
  );
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
  const data = new Golden(`${name}-data`);
  const { values: features, shape } = data.tensor('features');
  const targets = data.values('targets');
  const isLabels = loss === 'crossEntropy';
  return packSamples({
    featureWidth: shape[1] as number,
    features,
    targets: isLabels ? Uint32Array.from(targets) : targets,
    numClasses: isLabels ? 5 : 0,
  });
}

describe('50 steps of Adam', () => {
  it.each(TRAININGS)('50 steps of Adam agree with PyTorch for $name', async (training) => {
    const { name, loss, model } = training;
    const trained = await trainGolden({
      model,
      loss,
      dataset: readDataset(training),
      initial: new Golden(`${name}-initial`).file(),
      batchSize: recorded.batchSize,
      shards: 8,
      learningRate: 1e-3,
      numSteps: 50,
    });
    expectLosses(trained, recorded.losses[name], 1e-4);
    expectWeights(trained, new Golden(`${name}-final`).under(), 1e-4);
  });
});
