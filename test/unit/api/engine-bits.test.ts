// A loop of a program's own against `train`: the same batches give the same weights, by their hash, and the
// same metrics, for everything that a step depends on.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createEngine, epochOrder, type CustomLoss, type EngineOptions } from '../../../api/engine.ts';
import {
  attention,
  augment,
  batchNorm,
  conv2d,
  dense,
  dropout,
  embedding,
  flatten,
  lstm,
  sequential,
} from '../../../api/layers.ts';
import { train, type TrainConfig, type TrainOptions } from '../../../api/train.ts';
import type { LossInput } from '../../../src/losses/registry.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';
import { randomValues, randomWords } from '../../helpers/twins/samples.ts';

const ROWS = 150;
const EPOCHS = 3;
/** The last batch of an epoch is short. */
const BATCH_SIZE = 32;

interface Data {
  /** Shape of a sample. */
  readonly shape: readonly number[];
  readonly features: Float32Array | Uint8Array;
  /** [ROWS, targets of a sample] */
  readonly targets: ArrayLike<number>;
  readonly weights?: Float32Array;
}

/** What an engine and a training have in common. */
type Parts = Omit<EngineOptions<LossInput>, 'inputShape' | 'name'>;

interface Case {
  readonly data: Data;
  readonly parts: Parts;
  readonly schedule?: TrainConfig['schedule'];
}

const values = randomValues(1, 4 * ROWS);
const VALUES: Data = { shape: [4], features: values, targets: randomValues(2, 2 * ROWS) };
const CLASSES: Data = { ...VALUES, targets: randomWords(3, ROWS).map((word) => word % 3) };
const IMAGES: Data = {
  shape: [1, 6, 6],
  features: Uint8Array.from(randomWords(4, 36 * ROWS), (word) => word % 256),
  targets: CLASSES.targets,
};

const toValues = sequential([dense({ units: 8, activation: 'tanh' }), dense({ units: 2 })]);
const toClasses = sequential([dense({ units: 8, activation: 'gelu' }), dense({ units: 3 })]);

/** Parts of every case, unless it has its own. */
const COMMON = { seed: 5, batchSize: BATCH_SIZE, shards: 4, optimizer: { learningRate: 0.01 } } as const;

const CASES: Readonly<Record<string, Case>> = {
  'Adam with all its defaults': { data: VALUES, parts: { model: toValues, loss: 'mse' } },
  'AdamW, clipping and a cosine after a warm-up': {
    data: CLASSES,
    parts: {
      model: toClasses,
      loss: { kind: 'crossEntropy', labelSmoothing: 0.1 },
      optimizer: { kind: 'adamW', learningRate: 0.02 },
      clip: { norm: 0.5, value: 0.1 },
    },
    schedule: { kind: 'cosine', warmup: { steps: 3 } },
  },
  'momentum and batch norm': {
    data: CLASSES,
    parts: {
      model: sequential([dense({ units: 8 }), batchNorm(), dense({ units: 3 })]),
      loss: 'crossEntropy',
      optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.01 },
      shards: 2,
    },
    schedule: { kind: 'oneCycle' },
  },
  'RMSprop and dropout': {
    data: VALUES,
    parts: {
      model: sequential([dense({ units: 8 }), dropout({ rate: 0.3 }), dense({ units: 2 })]),
      loss: { kind: 'huber', delta: 0.5 },
      optimizer: { kind: 'rmsprop', centered: true, momentum: 0.5 },
    },
    schedule: { kind: 'step', every: 1, gamma: 0.5 },
  },
  'Lion and weights of samples': {
    data: { ...VALUES, weights: randomValues(6, ROWS).map(Math.abs) },
    parts: { model: toValues, loss: 'mae', optimizer: { kind: 'lion' } },
    schedule: { kind: 'polynomial', power: 1.5 },
  },
  'averaged weights and a plateau': {
    data: { ...VALUES, targets: randomWords(7, 2 * ROWS).map((word) => word % 2) },
    parts: { model: toValues, loss: 'binaryCrossEntropy', ema: { decay: 0.9 } },
    schedule: { kind: 'plateau', patience: 0, threshold: 0.5 },
  },
  'images in bytes, augmentation and convolution': {
    data: IMAGES,
    parts: {
      model: sequential([
        augment({ shift: 1, flip: 'horizontal' }),
        conv2d({ filters: 3, kernelSize: 3, activation: 'relu' }),
        flatten(),
        dense({ units: 3 }),
      ]),
      loss: 'crossEntropy',
    },
  },
  'sums in bfloat16': {
    data: VALUES,
    parts: { model: toValues, loss: 'mse', wire: { gradients: 'bf16', groups: 2 } },
  },
};

/** A training on all rows, which also are its validation, and what it has measured at last. */
async function trainOn({ data, parts, schedule }: Case, options: TrainOptions = {}) {
  const { shape, features, targets, weights } = data;
  const samples = { features, shape: [ROWS, ...shape], targets, ...(weights && { weights }) };
  const { loss, ...rest } = { ...COMMON, ...parts };
  const { summary } = await train(
    {
      ...rest,
      loss,
      name: 'bits',
      data: { train: samples, validation: samples, standardize: false, split: { test: 0 } },
      schedule,
      earlyStopping: { restoreBest: false, patience: 100 },
      epochs: EPOCHS,
      plots: false,
      checkpoint: false,
    },
    { runDirectory: path.join(temporaryDirectory(), 'run'), threads: 1, logLevel: 'error', ...options },
  );
  return summary;
}

/** The same by hand. */
async function loopOn({ data, parts, schedule: config }: Case, loss: LossInput | CustomLoss = parts.loss) {
  const { shape, features, targets, weights } = data;
  const options = { ...COMMON, ...parts, loss, inputShape: shape };
  using engine = await createEngine<LossInput | CustomLoss>(options);
  const stepsPerEpoch = Math.ceil(ROWS / BATCH_SIZE);
  const schedule = engine.schedule(config ?? {}, { stepsPerEpoch, epochs: EPOCHS });
  const pick = (all: ArrayLike<number>, rows: Uint32Array): number[] => {
    const width = all.length / ROWS;
    const flat = Array.from(all);
    return [...rows].flatMap((row) => flat.slice(row * width, (row + 1) * width));
  };
  const fingerprints: string[] = [];
  const all = { features, targets, ...(weights && { weights }) };
  let measured: unknown;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const order = epochOrder(ROWS, { seed: COMMON.seed, epoch });
    for (let start = 0; start < ROWS; start += BATCH_SIZE) {
      const indices = order.subarray(start, start + BATCH_SIZE);
      const picked = pick(features, indices);
      engine.backward({
        features: features instanceof Uint8Array ? Uint8Array.from(picked) : picked,
        targets: pick(targets, indices),
        ...(weights && { weights: pick(weights, indices) }),
        indices,
      });
      fingerprints.push(engine.step({ learningRate: schedule.at(engine.stepsDone) }).fingerprint);
    }
    engine.use('average');
    const metrics = await engine.evaluate(all);
    schedule.afterEpoch((metrics as { loss: number }).loss);
    measured = metrics;
  }
  return { weightsSha256: engine.weightsSha256, fingerprints, measured };
}

describe('a training loop by hand', () => {
  it.each(Object.keys(CASES))('a loop by hand has the bits and metrics of train: %s', async (name) => {
    const testCase = CASES[name] as Case;
    const fingerprints: string[] = [];
    const summary = await trainOn(testCase, { onStep: ({ fingerprint }) => fingerprints.push(fingerprint) });
    const loop = await loopOn(testCase);
    expect(loop.fingerprints).toEqual(fingerprints);
    expect(loop.fingerprints).toHaveLength(15);
    expect(loop.weightsSha256).toBe(summary.weightsSha256);
    expect(loop.measured).toEqual(summary.validation);
  });

  it('a loop by hand over the windows of a text has the bits and metrics of train', async () => {
    const [context, numWindows] = [8, 40];
    const text = Uint8Array.from(randomWords(9, context * numWindows + 1), (word) => 97 + (word % 5));
    const file = path.join(temporaryDirectory(), 'text');
    fs.writeFileSync(file, text);
    const parts = {
      seed: 2,
      batchSize: 8,
      shards: 3,
      model: sequential([
        embedding({ vocabulary: 256, units: 8 }),
        attention({ heads: 2, causal: true }),
        lstm({ units: 8, returnSequences: true }),
        dense({ units: 256 }),
      ]),
      loss: 'crossEntropy',
    } as const;
    const { summary } = await train(
      {
        ...parts,
        name: 'text',
        data: { train: { text: file }, validation: { text: file }, context, split: { test: 0 } },
        earlyStopping: { restoreBest: false },
        epochs: 2,
        plots: false,
        checkpoint: false,
      },
      { runDirectory: path.join(temporaryDirectory(), 'run'), threads: 1, logLevel: 'error' },
    );
    using engine = await createEngine({ ...parts, inputShape: [context] });
    const windowsOf = (rows: Uint32Array, shift: number): number[] =>
      [...rows].flatMap((row) => [...text.subarray(row * context + shift, (row + 1) * context + shift)]);
    const batchOf = (indices: Uint32Array) => ({
      features: windowsOf(indices, 0),
      targets: windowsOf(indices, 1),
      indices,
    });
    for (let epoch = 0; epoch < 2; epoch++) {
      const order = epochOrder(numWindows, { seed: parts.seed, epoch });
      for (let start = 0; start < numWindows; start += parts.batchSize) {
        engine.backward(batchOf(order.subarray(start, start + parts.batchSize)));
        engine.step();
      }
    }
    expect(engine.weightsSha256).toBe(summary.weightsSha256);
    expect(await engine.evaluate(batchOf(Uint32Array.from({ length: numWindows }, (_, row) => row)))).toEqual(
      summary.validation,
    );
  });
});

describe('a loss of your own', () => {
  /** The mean squared error as the kernel computes it. */
  const ownMse: CustomLoss = {
    like: 'mse',
    compute(outputs, targets, { numRows, outputWidth }) {
      const scale = Math.fround(2 / outputWidth);
      const differences = outputs.map((output, i) => output - (targets[i] as number));
      const losses = Float64Array.from({ length: numRows }, (_, row) => {
        const own = differences.subarray(row * outputWidth, (row + 1) * outputWidth);
        return own.reduce((sum, difference) => sum + difference * difference, 0) / outputWidth;
      });
      return { losses, gradient: differences.map((difference) => difference * scale) };
    },
  };

  it.each(['Adam with all its defaults', 'sums in bfloat16', 'Lion and weights of samples'])(
    'a loss of your own that computes what a kernel does has its bits and metrics: %s',
    async (name) => {
      const testCase = CASES[name] as Case;
      const builtIn = { ...testCase, parts: { ...testCase.parts, loss: 'mse' } } as const;
      expect(await loopOn(builtIn, ownMse)).toEqual(await loopOn(builtIn));
    },
  );
});
