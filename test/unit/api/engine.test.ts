// The engine of a program's own loop, call by call: what it reads and changes, and what it refuses.
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest';
import {
  createEngine,
  epochOrder,
  LockstepError,
  type Batch,
  type EngineOptions,
  type TrainingEngine,
} from '../../../api/engine.ts';
import { batchNorm, dense, dropout, embedding, sequential } from '../../../api/layers.ts';
import { loadModel } from '../../../src/predict/load-model.ts';
import { decodeSafetensors } from '../../../src/safetensors.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';
import { randomValues } from '../../helpers/twins/samples.ts';

const ROWS = 6;
const BATCH: Batch = { features: randomValues(1, 3 * ROWS), targets: randomValues(2, 2 * ROWS) };
const OPTIONS = {
  model: sequential([dense({ units: 4, activation: 'tanh' }), dense({ units: 2 })]),
  inputShape: [3],
  loss: 'mse',
  batchSize: ROWS,
  seed: 1,
} as const;

const engines: { dispose(): void }[] = [];
afterEach(() => {
  for (const engine of engines.splice(0)) engine.dispose();
});

async function engineOf(options: Partial<EngineOptions> = {}): Promise<TrainingEngine> {
  const engine = await createEngine({ ...OPTIONS, ...options });
  engines.push(engine);
  return engine;
}

function take(engine: TrainingEngine, numSteps: number): TrainingEngine {
  for (let step = 0; step < numSteps; step++) {
    engine.backward(BATCH);
    engine.step();
  }
  return engine;
}

/** The code and the words of the refusal of a call. */
async function refusal(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    if (error instanceof LockstepError) return `${error.code}: ${error.message} (${error.help ?? ''})`;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the parameters of an engine', () => {
  it('an engine lists its parameters by name, shape and role', async () => {
    const model = sequential([dense({ units: 4 }), batchNorm(), dense({ units: 2, bias: false })]);
    const { parameters, numParameters, outputShape } = await engineOf({ model });
    expect(parameters).toEqual([
      { name: '0.weight', shape: [4, 3], role: 'weight' },
      { name: '0.bias', shape: [4], role: 'bias' },
      { name: '1.weight', shape: [4], role: 'norm' },
      { name: '1.bias', shape: [4], role: 'bias' },
      { name: '1.running_mean', shape: [4], role: 'statistic' },
      { name: '1.running_var', shape: [4], role: 'statistic' },
      { name: '2.weight', shape: [2, 4], role: 'weight' },
    ]);
    expect([numParameters, outputShape]).toEqual([40, [2]]);
  });

  it('parameters that are set are those that forward computes with', async () => {
    const engine = await engineOf({ model: sequential([dense({ units: 2 })]) });
    engine.setParameter('0.weight', [
      [1, 2, 3],
      [0, 0, -1],
    ]);
    engine.setParameter('0.bias', Float32Array.of(10, 20));
    expect([...engine.parameter('0.weight')]).toEqual([1, 2, 3, 0, 0, -1]);
    expect([
      ...engine.forward([
        [1, 1, 1],
        [0, 0, 2],
      ]),
    ]).toEqual([16, 19, 16, 18]);
  });

  it('weights that are saved and loaded have the same hash, by whichever numbers of modules', async () => {
    const engine = take(await engineOf(), 2);
    const file = engine.saveWeights();
    expect([...decodeSafetensors(file, 'file').tensors.keys()]).toEqual(
      engine.parameters.map(({ name }) => name),
    );
    const other = await engineOf({ seed: 2, ema: {} });
    expect(other.weightsSha256).not.toBe(engine.weightsSha256);
    other.loadWeights(file);
    expect(other.weightsSha256).toBe(engine.weightsSha256);
    other.use('average');
    expect(other.weightsSha256).toBe(engine.weightsSha256);
    expect([...other.forward(BATCH.features)]).toEqual([...engine.forward(BATCH.features)]);
  });

  it('an engine starts from the weights of model.init', async () => {
    const engine = await engineOf({ seed: 8 });
    const init = path.join(temporaryDirectory(), 'weights.safetensors');
    fs.writeFileSync(init, engine.saveWeights());
    const { weightsSha256 } = await engineOf({ seed: 9, model: { ...OPTIONS.model, init } });
    expect(weightsSha256).toBe(engine.weightsSha256);
  });

  it('a saved state continues to the same bits, with the optimizer, the average and the best weights', async () => {
    const options = { optimizer: { kind: 'rmsprop', momentum: 0.9 }, ema: {} } as const;
    const engine = take(await engineOf(options), 2);
    engine.keepBest();
    take(engine, 1);
    const other = await engineOf({ ...options, seed: 2 });
    other.loadState(engine.saveState());
    expect(other.stepsDone).toBe(3);
    take(engine, 2);
    take(other, 2);
    for (const weights of ['live', 'average', 'best'] as const) {
      engine.use(weights);
      other.use(weights);
      expect(other.weightsSha256, weights).toBe(engine.weightsSha256);
    }
  });

  it('a saved model predicts what forward computes', async () => {
    const engine = take(await engineOf(), 3);
    const directory = path.join(temporaryDirectory(), 'models', 'mine');
    await engine.saveModel(directory);
    const model = await loadModel(directory);
    expect([model.name, model.targetNames]).toEqual(['engine', ['target1', 'target2']]);
    expect([...model.outputs(BATCH.features as Float32Array)]).toEqual([...engine.forward(BATCH.features)]);
  });

  it('a model that was trained on bytes predicts bytes', async () => {
    const engine = await engineOf({ loss: 'crossEntropy', name: 'bytes' });
    const features = Uint8Array.from({ length: 3 * ROWS }, (_, i) => 10 * i);
    engine.backward({ features, targets: [0, 1, 1, 0, 1, 0] });
    engine.step();
    const directory = temporaryDirectory();
    await engine.saveModel(directory);
    const model = await loadModel(directory);
    expect([...model.outputs(features)]).toEqual([...engine.forward(features)]);
    expect(
      model.predict(features).map((prediction) => prediction.kind === 'class' && prediction.class),
    ).toEqual(Array.from({ length: ROWS }, () => expect.stringMatching(/^[01]$/) as string));
  });
});

describe('the gradient of an engine', () => {
  it('the gradient is the mean over the samples, and a step moves against it', async () => {
    const engine = await engineOf({
      model: sequential([dense({ units: 1, bias: false })]),
      optimizer: { kind: 'sgd', learningRate: 0.5 },
    });
    engine.setParameter('0.weight', [0, 0, 0]);
    const features = [
      [1, 0, 0],
      [0, 1, 0],
    ];
    // d/dw (w x - 4)^2 = 2 (w x - 4) x, and the mean over two samples of which one weighs three times as much.
    const { loss, lossSum, weight } = engine.backward({ features, targets: [4, 4], weights: [3, 1] });
    expect({ loss, lossSum, weight }).toEqual({ loss: 16, lossSum: 64, weight: 4 });
    expect([...engine.gradient('0.weight')]).toEqual([-6, -2, 0]);
    expect(engine.step()).toMatchObject({ step: 1, gradNorm: Math.sqrt(40) });
    expect([...engine.parameter('0.weight')]).toEqual([3, 1, 0]);
    engine.backward({ features, targets: [4, 4] });
    engine.step({ learningRate: 0 });
    expect([...engine.parameter('0.weight')]).toEqual([3, 1, 0]);
  });

  it('a gradient that is set is the one that the step takes', async () => {
    const options = { optimizer: { kind: 'sgd', learningRate: 1 } } as const;
    const engine = await engineOf(options);
    const before = engine.parameter('0.bias');
    engine.backward(BATCH);
    engine.setGradient('0.bias', [1, 2, 3, 4]);
    expect([...engine.gradient('0.bias')]).toEqual([1, 2, 3, 4]);
    engine.step();
    expect(engine.parameter('0.bias')).toEqual(before.map((value, i) => value - (i + 1)));
    const untouched = take(await engineOf(options), 1);
    expect(engine.parameter('2.weight')).toEqual(untouched.parameter('2.weight'));
  });

  it('gradients that are set to what they are change no bit', async () => {
    const model = sequential([dense({ units: 4 }), batchNorm(), dense({ units: 2 })]);
    const options = { model, shards: 1, batchSize: 5 };
    const weights = [0.3, 1, 1, 2, 0.7];
    const batch = { features: randomValues(1, 15), targets: randomValues(2, 10), weights };
    const engine = await engineOf(options);
    engine.backward(batch);
    for (const { name } of engine.parameters) engine.setGradient(name, engine.gradient(name));
    engine.step();
    const other = await engineOf(options);
    other.backward(batch);
    other.step();
    expect(engine.weightsSha256).toBe(other.weightsSha256);
  });

  it('a gradient that is not finite is not applied', async () => {
    const engine = take(await engineOf(), 1);
    const before = engine.weightsSha256;
    engine.backward({ ...BATCH, targets: new Float32Array(2 * ROWS).fill(3e38) });
    expect(await refusal(() => engine.step())).toBe(
      'E_DIVERGED: diverged at step 2: the gradient of 0.weight is not finite (lower optimizer.learningRate (now 0.001))',
    );
    expect(engine.weightsSha256).toBe(before);
    expect(take(engine, 1).stepsDone).toBe(2);
  });
});

describe('what an engine measures', () => {
  it('metrics are typed by the loss, and metrics of your own stand beside them', async () => {
    const engine = await createEngine({ ...OPTIONS, loss: 'crossEntropy' });
    engines.push(engine);
    const batch = { features: BATCH.features, targets: [0, 1, 0, 1, 1, 0] };
    const metrics = await engine.evaluate(batch, { metrics: { rows: (_, targets) => targets.length } });
    expectTypeOf(metrics.accuracy).toEqualTypeOf<number>();
    expectTypeOf(metrics.rmse).toEqualTypeOf<undefined>();
    expect(metrics.custom).toEqual({ rows: ROWS });
    const like = await createEngine({
      ...OPTIONS,
      loss: {
        like: 'crossEntropy',
        compute: (outputs, targets, { numRows }) => {
          expectTypeOf(targets).toEqualTypeOf<Uint32Array>();
          return { losses: new Float64Array(numRows).fill(2), gradient: outputs };
        },
      },
    });
    engines.push(like);
    const own = await like.evaluate(batch);
    expectTypeOf(own.accuracy).toEqualTypeOf<number>();
    expect(own).toEqual({ ...metrics, custom: undefined, loss: 2 });
  });

  it('probabilities are measured as values, and labels of 0 and 1 as labels', async () => {
    const engine = await createEngine({ ...OPTIONS, loss: 'binaryCrossEntropy' });
    engines.push(engine);
    const { features } = BATCH;
    const labels = await engine.evaluate({
      features,
      targets: Float32Array.from({ length: 12 }, (_, i) => i % 2),
    });
    const chances = await engine.evaluate({ features, targets: new Float32Array(12).fill(0.5) });
    expect([labels.accuracy, chances.accuracy]).toEqual([expect.any(Number), undefined]);
    expect([labels.rmse, chances.rmse]).toEqual([undefined, expect.any(Number)]);
  });

  it('measuring and forward change nothing, and nothing is dropped in them', async () => {
    const model = sequential([dense({ units: 4 }), dropout({ rate: 0.5 }), dense({ units: 2 })]);
    const engine = await engineOf({ model });
    const [before, outputs] = [engine.weightsSha256, engine.forward(BATCH.features)];
    engine.backward(BATCH);
    expect(await engine.evaluate(BATCH)).toEqual(await engine.evaluate(BATCH));
    expect(engine.forward(BATCH.features)).toEqual(outputs);
    expect(engine.weightsSha256).toBe(before);
    engine.step();
    expect(engine.weightsSha256).not.toBe(before);
  });

  it('more samples than memory is laid out for are measured in parts', async () => {
    const engine = await engineOf();
    const many = 1000;
    const features = randomValues(3, 3 * many);
    const outputs = engine.forward(features);
    const one = (row: number): number[] => [...engine.forward(features.subarray(3 * row, 3 * row + 3))];
    for (const row of [0, 255, 256, 999])
      expect([...outputs.subarray(2 * row, 2 * row + 2)]).toEqual(one(row));
    const { loss } = (await engine.evaluate({ features, targets: outputs })) as { loss: number };
    expect(loss).toBe(0);
  });

  it('a loss of your own is called for the samples of each shard, in their order', async () => {
    const seen: number[][] = [];
    const engine = await engineOf({
      shards: 4,
      loss: {
        like: 'mse',
        compute(outputs, targets, { numRows, outputWidth }) {
          seen.push([numRows, outputWidth, ...targets]);
          return { losses: new Float64Array(numRows), gradient: outputs };
        },
      },
    });
    engine.backward({ ...BATCH, targets: Array.from({ length: 12 }, (_, i) => i) });
    expect(seen).toEqual([
      [2, 2, 0, 1, 2, 3],
      [2, 2, 4, 5, 6, 7],
      [1, 2, 8, 9],
      [1, 2, 10, 11],
    ]);
  });

  it('the positions of a sequence count as rows of a loss of your own, each with its weight', async () => {
    const seen: unknown[] = [];
    const engine = await engineOf({
      model: sequential([embedding({ vocabulary: 5, units: 4 }), dense({ units: 5 })]),
      loss: {
        like: 'crossEntropy',
        compute(outputs, targets, { numRows, outputWidth }) {
          seen.push([numRows, outputWidth, ...targets]);
          return { losses: targets, gradient: outputs };
        },
      },
    });
    const features = [[0, 1, 2]];
    const batch = { features, targets: [[1, 2, 4]], weights: [[1, 0, 0.5]] };
    expect(engine.backward(batch)).toEqual({ lossSum: 3, weight: 1.5, loss: 2 });
    expect(seen).toEqual([[3, 5, 1, 2, 4]]);
    expect(engine.backward({ ...batch, weights: [2] })).toEqual({ lossSum: 14, weight: 6, loss: 14 / 6 });
    expect(await engine.evaluate({ features, targets: [1, 2, 4] })).toMatchObject({ loss: 7 / 3 });
  });
});

describe('weights in use', () => {
  it('the best weights stay as they were kept, and backward returns to the live ones', async () => {
    const engine = take(await engineOf(), 1);
    const kept = engine.weightsSha256;
    engine.keepBest();
    const live = take(engine, 1).weightsSha256;
    engine.use('best');
    expect([engine.weightsSha256, live === kept]).toEqual([kept, false]);
    engine.backward(BATCH);
    expect(engine.weightsSha256).toBe(live);
  });

  it('a memory that was given back makes no difference to the next engine', async () => {
    const first = take(await engineOf(), 3);
    const hash = first.weightsSha256;
    first.dispose();
    expect(take(await engineOf(), 3).weightsSha256).toBe(hash);
  });
});

const NOTHING = {} as Batch;

describe('what an engine refuses', () => {
  it.each<[string, object, string]>([
    [
      'an unknown option',
      { batchsize: 3 },
      'E_OPTIONS: unknown option "batchsize" (did you mean "batchSize"?)',
    ],
    ['data', { data: {} }, 'E_OPTIONS: unknown option "data" (valid options: '],
    [
      'a wrong shape',
      { inputShape: [0] },
      'E_OPTIONS: inputShape: expected a list of 1 to 3 sizes of one sample, such as [8] or [3, 32, 32], got a list of 1 ()',
    ],
    [
      'an invalid field of a config',
      { optimizer: { kind: 'adam', learningRate: 0 } },
      'E_CONFIG_INVALID: optimizer.learningRate: expected number > 0, got 0 ()',
    ],
    [
      'fields that do not go together',
      { wire: { groups: 2 } },
      'E_CONFIG_INVALID: wire.groups: only goes with wire.gradients: bf16 (remove it)',
    ],
    [
      'layers that do not fit',
      { inputShape: [2, 2, 2], model: sequential([batchNorm(), embedding({ vocabulary: 3, units: 2 })]) },
      'E_MODEL_SHAPE: model.layers.1: embedding on 2x2x2: embedding takes [positions] of token ids ()',
    ],
    [
      'outputs that are no classes',
      { loss: 'crossEntropy', model: sequential([dense({ units: 1 })]) },
      'E_MODEL_SHAPE: crossEntropy takes outputs [classes] or [positions, classes], at least 2 classes; the last layer gives 1 (end with a dense layer that has a unit for each class)',
    ],
    [
      'a loss of your own without a kind',
      { loss: { compute: () => ({}) } },
      'E_OPTIONS: like: expected "mse", "binaryCrossEntropy" or "crossEntropy", got undefined ()',
    ],
  ])('an engine refuses %s', async (_, options, message) => {
    expect((await refusal(() => createEngine({ ...OPTIONS, ...options }))).slice(0, message.length)).toBe(
      message,
    );
  });

  it.each<[string, object, string]>([
    ['no samples', { features: [] }, 'batch.features has 0 values; a sample of 3 has 3'],
    [
      'samples of another size',
      { features: [[1, 2]] },
      'batch.features has 2 values a sample; a sample of 3 has 3',
    ],
    ['a missing value', { features: [1, NaN, 3] }, 'batch.features, row 0 at [1] is NaN'],
    ['too few targets', { targets: [1] }, 'batch.targets has 1 value for 6 samples of 2'],
    ['negative weights', { weights: [1, 1, -1, 1, 1, 1] }, 'batch.weights, row 2 is -1: expected 0 or more'],
    [
      'indices that are no rows',
      { indices: [0, 1, 2, 3, 4, 0.5] },
      'batch.indices, row 5 is 0.5: expected a whole number from 0 to 2^32 - 1',
    ],
    ['weights of 0', { weights: new Float32Array(ROWS) }, 'all samples of the batch weigh 0'],
    ['an unknown field', { labels: [1] }, 'batch: unknown field "labels"'],
    [
      'more samples than batchSize',
      { features: randomValues(1, 21), targets: randomValues(1, 14) },
      'the batch has 7 samples, batchSize is 6',
    ],
  ])('a batch with %s is refused', async (_, fields, message) => {
    const engine = await engineOf();
    expect(await refusal(() => engine.backward({ ...BATCH, ...fields }))).toContain(`: ${message} (`);
    expect(await refusal(() => engine.step())).toBe(
      'E_ENGINE: there is no gradient (call backward first; step uses its gradient up)',
    );
  });

  it.each<[string, string, object, string]>([
    [
      'a class that there is not',
      'crossEntropy',
      { targets: [0, 1, 2, 0, 1, 1] },
      'batch.targets, row 2 is 2: a class is a whole number from 0 to 1',
    ],
    [
      'half a class',
      'crossEntropy',
      { targets: [0, 1, 0.5, 0, 1, 1] },
      'batch.targets, row 2 is 0.5: a class is a whole number from 0 to 1',
    ],
    [
      'a probability of 2',
      'binaryCrossEntropy',
      { targets: new Float32Array(12).fill(2) },
      'batch.targets, row 0 at [0] is 2: expected 0 to 1',
    ],
  ])('targets with %s are refused', async (_, loss, fields, message) => {
    const engine = await engineOf({ loss: loss as 'crossEntropy' });
    expect(await refusal(() => engine.backward({ ...BATCH, ...fields }))).toContain(`: ${message} (`);
  });

  it.each<[string, unknown, string]>([
    [
      'throws',
      () => {
        throw new Error('no idea');
      },
      'loss.compute failed: no idea',
    ],
    [
      'returns nothing',
      () => undefined,
      'loss.compute: expected losses of 6 for 6 rows of 2 outputs, got undefined',
    ],
    [
      'returns a promise',
      () => Promise.resolve(),
      'loss.compute: expected losses of 6 for 6 rows of 2 outputs, got a Promise',
    ],
    [
      'returns a short gradient',
      () => ({ losses: new Float64Array(6), gradient: [1] }),
      'loss.compute: expected gradient of 12 for 6 rows of 2 outputs, got 1 value',
    ],
  ])('a loss of your own that %s is refused', async (_, compute, message) => {
    const engine = await engineOf({ shards: 1, loss: { like: 'mse', compute } as never });
    expect(await refusal(() => engine.backward(BATCH))).toContain(`E_LOSS: ${message} (`);
  });

  it('a batch is refused whose last shard has too few samples for batch norm', async () => {
    const engine = await engineOf({ model: sequential([batchNorm(), dense({ units: 2 })]), shards: 1 });
    expect(await refusal(() => engine.backward({ features: [1, 2, 3], targets: [1, 2] }))).toBe(
      'E_CONFIG_BATCH_NORM: batchNorm takes a variance, for which a shard needs more than 1 value of each feature or channel: a batch of 1 sample has a shard of 1 (give larger batches, or the engine fewer shards)',
    );
  });

  it('names, values and files that do not fit are refused, and change nothing', async () => {
    const engine = await engineOf();
    const before = engine.weightsSha256;
    const other = await engineOf({ model: sequential([dense({ units: 2 })]) });
    expect(await refusal(() => engine.parameter('0.wieght'))).toBe(
      'E_ENGINE: the model has no parameters "0.wieght" (did you mean "0.weight"?)',
    );
    expect(await refusal(() => engine.setParameter('0.bias', [1]))).toBe(
      'E_ENGINE: 0.bias has 4 values, got 1 (give values of its shape)',
    );
    expect(await refusal(() => engine.setParameter('0.bias', [1, 2, Infinity, 4]))).toContain(
      'E_DATA_OVERFLOW: 0.bias, row 2 is Infinity',
    );
    expect(await refusal(() => engine.loadWeights(other.saveWeights()))).toContain(
      'E_INIT_WEIGHTS: weights: holds 1 modules, the model has 2 layers with weights',
    );
    expect(await refusal(() => engine.loadState(other.saveState()))).toContain(
      'E_CHECKPOINT_MISMATCH: state: ',
    );
    expect(await refusal(() => engine.loadState(engine.saveWeights()))).toBe(
      'E_CHECKPOINT_MISMATCH: state: has no number of steps (give what saveState has returned)',
    );
    expect(await refusal(() => engine.loadState('file' as never))).toBe(
      'E_ENGINE: expected the bytes of a file, got "file" (read it: fs.readFileSync(path))',
    );
    expect(await refusal(() => engine.use('best'))).toBe(
      'E_ENGINE: there are no best weights yet (call keepBest first)',
    );
    expect(engine.weightsSha256).toBe(before);
  });

  it('settings of calls are checked', async () => {
    const engine = await engineOf();
    engine.backward(BATCH);
    expect(await refusal(() => engine.step({ learningRate: -1 }))).toBe(
      'E_OPTIONS: learningRate: expected a number of at least 0, got -1 ()',
    );
    expect(
      await refusal(() => engine.schedule({ kind: 'cosine', min: 9 }, { stepsPerEpoch: 1, epochs: 1 })),
    ).toBe(
      'E_CONFIG_INVALID: schedule.min: 9 is above optimizer.learningRate, 0.001 (it is where the learning rate comes down to)',
    );
    expect(await refusal(() => engine.schedule({}, { stepsPerEpoch: 0, epochs: 1 }))).toBe(
      'E_OPTIONS: stepsPerEpoch: expected a whole number of at least 1, got 0 ()',
    );
    expect(await refusal(() => epochOrder(-1, { seed: 1, epoch: 0 }))).toContain('E_OPTIONS: samples: ');
    expect(await refusal(() => engine.evaluate(NOTHING))).toContain('E_DATA_ARRAYS: batch.features: ');
    const readOnly = path.join(temporaryDirectory(), 'file');
    fs.writeFileSync(readOnly, '');
    expect(await refusal(() => engine.saveModel(path.join(readOnly, 'model')))).toContain(
      `E_OUTPUT: cannot write to ${readOnly}/model: a part of the path is a file`,
    );
  });

  it('an engine that is disposed of can be disposed of again, and nothing else', async () => {
    const engine = await engineOf();
    engine.dispose();
    engine.dispose();
    expect(await refusal(() => engine.forward([1, 2, 3]))).toBe(
      'E_ENGINE: the engine is disposed of (make another one)',
    );
  });
});
