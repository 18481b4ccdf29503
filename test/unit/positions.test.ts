// Models that predict at each position of a sequence, from measuring to the last form in which predictions
// leave: the same numbers everywhere.
import fs from 'node:fs';
import { parse } from 'npyjs';
import * as ort from 'onnxruntime-web';
import { unzipSync } from 'fflate';
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../api/model.ts';
import type { TrainConfig, TrainData } from '../../api/train.ts';
import { parseConfigText } from '../../src/config/config-text.ts';
import { validateConfig } from '../../src/config/validate.ts';
import type { Samples } from '../../src/data/array/arrays.ts';
import { encodePredictions } from '../../src/predict/arrays.ts';
import {
  formatPredictions,
  type ClassPrediction,
  type Prediction,
  type ValuesPrediction,
} from '../../src/predict/predictions.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import { errorText, saveRun, type SavedRun } from '../helpers/saved-run.ts';
import { checkOnnx, loadPair, pythonHas, relativeError } from '../helpers/onnx-run.ts';
import { moveWeights } from '../helpers/saved-weights.ts';
import { seededRandom } from '../helpers/seeded-random.ts';

const [SAMPLES, POSITIONS, WIDTH, CLASSES] = [30, 5, 2, 4];
const IGNORED = -100;
const random = seededRandom(11);
const FEATURES = Float32Array.from({ length: SAMPLES * POSITIONS * WIDTH }, () => 4 * random() - 2);
const LABELS = Array.from({ length: SAMPLES * POSITIONS }, () =>
  random() < 0.2 ? IGNORED : Math.floor(random() * CLASSES),
);
const SET = { features: FEATURES, shape: [SAMPLES, POSITIONS, WIDTH] };

const ALL = { split: { validation: 0, test: 0.5 }, shuffle: false };
const RECURRENT = { kind: 'lstm', units: 6, returnSequences: true } as const;

/** A run with weights unlike those that are drawn. */
async function runOf(
  data: TrainData,
  units: number,
  rest: Pick<TrainConfig, 'loss'> & Partial<TrainConfig>,
): Promise<SavedRun> {
  const run = await saveRun(
    {},
    {
      data: { ...ALL, ...data },
      model: { layers: [RECURRENT, { kind: 'dense', units }] },
      batchSize: 4,
      epochs: 1,
      ...rest,
    },
  );
  await moveWeights(run.directory);
  return run;
}

const runOfClasses = (rest: Partial<TrainConfig> = {}): Promise<SavedRun> =>
  runOf({ train: { ...SET, targets: LABELS }, ignoreIndex: IGNORED, classes: CLASSES }, CLASSES, {
    loss: 'crossEntropy',
    ...rest,
  });

function positionsOf(prediction: Prediction | undefined): readonly (ClassPrediction | ValuesPrediction)[] {
  if (prediction?.kind !== 'positions') throw new Error('expected a prediction at each position');
  return prediction.positions;
}

function classesAt(predictions: readonly Prediction[]): ClassPrediction[] {
  return predictions.flatMap(positionsOf).map((prediction) => {
    if (prediction.kind !== 'class') throw new Error('expected classes');
    return prediction;
  });
}

describe('classes at positions', () => {
  it.each([undefined, 0.1])(
    'classes at positions are measured by what the model predicts where labels count (smoothing %s)',
    async (labelSmoothing) => {
      const run = await runOfClasses(
        labelSmoothing === undefined ? {} : { loss: { kind: 'crossEntropy', labelSmoothing } },
      );
      const samples: Samples = { ...SET, targets: LABELS };
      const metrics = await evaluate(run.directory, { data: samples });
      const model = await loadModel(run.directory);
      const found = classesAt(model.predict(FEATURES));
      const counted = LABELS.flatMap((label, at) => (label === IGNORED ? [] : [{ label, at }]));
      const confusion = Array.from({ length: CLASSES }, () => new Array<number>(CLASSES).fill(0));
      let logLoss = 0;
      for (const { label, at } of counted) {
        const { index, probabilities } = found[at] as ClassPrediction;
        (confusion[label] as number[])[index] = (confusion[label]?.[index] ?? 0) + 1;
        logLoss -= Math.log(probabilities[label] as number) / counted.length;
      }
      expect(metrics.confusion).toEqual(confusion);
      const correct = confusion.map((row, label) => row[label] as number);
      expect(metrics.accuracy).toBe(correct.reduce((sum, count) => sum + count) / counted.length);
      expect(metrics.perClass?.map(({ support }) => support)).toEqual(
        confusion.map((row) => row.reduce((sum, count) => sum + count)),
      );
      expect(metrics.perClass?.map(({ recall }) => recall)).toEqual(
        confusion.map((row, label) => (correct[label] as number) / row.reduce((sum, count) => sum + count)),
      );
      expect(metrics.logLoss ?? metrics.loss).toBeCloseTo(logLoss, 5);
      expect(metrics.perplexity).toBeCloseTo(Math.exp(logLoss), 5);
      expect(metrics.logLoss === undefined).toBe(labelSmoothing === undefined);
    },
  );

  it('classes at positions are evaluated on a split of the run as the run measured them', async () => {
    const samples = { ...SET, targets: LABELS };
    const run = await saveRun(
      {},
      {
        data: { ...ALL, train: samples, ignoreIndex: IGNORED },
        model: { layers: [RECURRENT, { kind: 'dense', units: CLASSES }] },
        loss: 'crossEntropy',
        batchSize: 4,
      },
    );
    expect(await evaluate(run.directory, { arrays: [samples] })).toEqual(await run.measure('test'));
  });

  it('predictions at positions have a line each in CSV, and are lists in JSON Lines and in arrays', async () => {
    const { directory } = await runOfClasses();
    const model = await loadModel(directory);
    const predictions = model.predict(FEATURES.subarray(0, 2 * POSITIONS * WIDTH));
    const found = classesAt(predictions);
    const print = (format: 'csv' | 'jsonl'): string =>
      [...formatPredictions(predictions, model.description, { format })].join('');
    const lines = found.map((prediction, at) =>
      [Math.floor(at / POSITIONS), at % POSITIONS, prediction.class, ...prediction.probabilities].join(),
    );
    const header = 'row,position,class,probability_0,probability_1,probability_2,probability_3';
    expect(print('csv')).toBe(`${[header, ...lines].join('\n')}\n`);
    const objects = found.map(({ class: name, probabilities }) => ({
      class: name,
      probabilities: Object.fromEntries(probabilities.entries()),
    }));
    expect(
      print('jsonl')
        .trimEnd()
        .split('\n')
        .map((line): unknown => JSON.parse(line)),
    ).toEqual([{ positions: objects.slice(0, POSITIONS) }, { positions: objects.slice(POSITIONS) }]);
    const arrays = Object.entries(unzipSync(encodePredictions(predictions, model.description.transforms)));
    expect(arrays.map(([name, bytes]) => [name, parse(bytes.slice().buffer)])).toMatchObject([
      [
        'class.npy',
        { shape: [2, POSITIONS], dtype: 'i4', data: Int32Array.from(found, ({ index }) => index) },
      ],
      [
        'probabilities.npy',
        {
          shape: [2, POSITIONS, CLASSES],
          dtype: 'f8',
          data: Float64Array.from(found.flatMap(({ probabilities }) => [...probabilities])),
        },
      ],
      ['classes.npy', { shape: [CLASSES], data: ['0', '1', '2', '3'] }],
    ]);
  });

  it('the config of positions in docs/config.md is valid', () => {
    const page = fs.readFileSync('docs/config.md', 'utf8');
    const [, text] = /### Targets at positions[^]*?```yaml\n([^]*?)```/.exec(page) as unknown as [
      string,
      string,
    ];
    const { value } = parseConfigText(`name: tags\n${text}epochs: 1\nbatchSize: 4\n`, 'docs/config.md');
    expect(validateConfig(value)).not.toHaveProperty('findings');
  });

  it('new samples with another number of positions are refused', async () => {
    const { directory, cwd } = await runOfClasses();
    const others: Samples = { ...SET, targets: LABELS.slice(0, 2 * SAMPLES) };
    expect(await errorText(cwd, () => evaluate(directory, { data: others }))).toBe(
      'error[E_DATA_ARRAYS]: data.targets has 2 values a sample, those of the model have 5',
    );
  });

  it('a model that does not give classes at each position is refused with the shape that it should give', async () => {
    const layers: TrainConfig['model']['layers'] = [
      { kind: 'lstm', units: 6 },
      { kind: 'dense', units: CLASSES },
    ];
    const text = await errorText('', () => runOfClasses({ model: { layers } }));
    expect(text).toContain('the last layer gives 4 outputs, the data has 4 classes at each of 5 positions\n');
    expect(text).toMatch(/help: let the last layer give 5x4$/);
  });
});

describe('numbers at positions', () => {
  const targets = Float64Array.from({ length: SAMPLES * POSITIONS * 2 }, () => 3 + random());
  const samples: Samples = { ...SET, targets };
  const runOfValues = (): Promise<SavedRun> =>
    runOf({ train: samples, target: ['east', 'north'], targetTransform: ['log', 'standardize'] }, 2, {
      loss: 'mse',
    });

  it('numbers at positions are measured over all positions in their own units', async () => {
    const { directory } = await runOfValues();
    const metrics = await evaluate(directory, { data: samples });
    const predictions = (await loadModel(directory)).predict(FEATURES).flatMap(positionsOf);
    const errors = ['east', 'north'].map((name, column) => {
      const squares = predictions.map((prediction, at) => {
        if (prediction.kind !== 'values') throw new Error('expected numbers');
        return ((prediction.values[name] as number) - (targets[2 * at + column] as number)) ** 2;
      });
      return Math.sqrt(squares.reduce((sum, square) => sum + square) / squares.length);
    });
    expect(predictions).toHaveLength(SAMPLES * POSITIONS);
    expect(metrics.rmse).toBeCloseTo(((errors[0] as number) + (errors[1] as number)) / 2, 12);
  });

  it('weights of samples count for all their positions', async () => {
    const weights = Array.from({ length: SAMPLES }, (_, row) => Number(row < 3));
    const train = { ...samples, weights };
    const data = { train, target: ['east', 'north'], split: { validation: 0, test: 0 } };
    const run = await runOf(data, 2, { loss: 'mse' });
    const few: Samples = {
      features: FEATURES.subarray(0, 3 * POSITIONS * WIDTH),
      shape: [3, POSITIONS, WIDTH],
      targets: targets.subarray(0, 3 * POSITIONS * 2),
      weights: [1, 1, 1],
    };
    const all = await evaluate(run.directory, { data: train });
    const expected = await evaluate(run.directory, { data: few });
    for (const name of ['loss', 'rmse', 'mae', 'r2', 'mape'] as const)
      expect(all[name], name).toBeCloseTo(expected[name] as number, 10);
  });

  it('yes or no at positions is measured label by label', async () => {
    const answers = Array.from({ length: SAMPLES * POSITIONS }, () => Number(random() < 0.4));
    const train: Samples = { ...SET, targets: answers };
    const run = await runOf({ train, target: 'isOpen' }, 1, { loss: 'binaryCrossEntropy' });
    const metrics = await evaluate(run.directory, { data: train });
    const found = classesAt((await loadModel(run.directory)).predict(FEATURES));
    const numRight = found.filter(({ index }, at) => index === answers[at]).length;
    expect(metrics.accuracy).toBe(numRight / answers.length);
    expect(metrics.perClass).toHaveLength(2);
    expect(metrics.rocAuc).toBeGreaterThan(0);
  });
});

describe('ONNX at positions', () => {
  const values = Float64Array.from({ length: SAMPLES * POSITIONS * 2 }, () => 3 + random());
  it.each<[string, () => Promise<SavedRun>, string]>([
    ['classes', runOfClasses, 'probabilities'],
    [
      'yes or no',
      () => {
        const targets = LABELS.map((label) => label & 1);
        return runOf({ train: { ...SET, targets }, target: 'y' }, 1, { loss: 'binaryCrossEntropy' });
      },
      'probabilities',
    ],
    [
      'numbers',
      () =>
        runOf(
          { train: { ...SET, targets: values }, target: ['a', 'b'], targetTransform: ['log', 'standardize'] },
          2,
          { loss: 'mse' },
        ),
      'predictions',
    ],
  ])('%s at positions are the same in ONNX Runtime', async (_, makeRun, output) => {
    const { directory } = await makeRun();
    const { file, model, session } = await loadPair(directory);
    if (pythonHas('onnx')) checkOnnx([file]);
    const input = new ort.Tensor('float32', FEATURES, [SAMPLES, POSITIONS, WIDTH]);
    const found = (await session.run({ [session.inputNames[0] as string]: input })) as Record<
      string,
      ort.Tensor
    >;
    const expected = model.predict(FEATURES).flatMap(positionsOf);
    const numbers = expected.flatMap((prediction) =>
      prediction.kind === 'class' ? [...prediction.probabilities] : Object.values(prediction.values),
    );
    expect(found[output]?.dims).toEqual([SAMPLES, POSITIONS, numbers.length / (SAMPLES * POSITIONS)]);
    expect(relativeError(found[output]?.data as Float32Array, numbers)).toBeLessThan(1e-5);
    if (output !== 'probabilities') return;
    expect(found['class']?.dims).toEqual([SAMPLES, POSITIONS]);
    expect(found['class']?.data).toEqual(
      expected.map((prediction) => (prediction.kind === 'class' ? prediction.class : '')),
    );
  });
});
