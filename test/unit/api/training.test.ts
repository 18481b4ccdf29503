// Trainings by a program's call, in this process: their callbacks, and the types of what they give.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { dense, evaluate, sequential, type CustomMetric, type Summary } from '../../../api/index.ts';
import { train, type TrainConfig } from '../../../api/train.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

const points = Array.from({ length: 120 }, (_, i): [number, number] => [
  ((i * 7) % 20) / 10 - 1,
  ((i * 11) % 23) / 11 - 1,
]);

/** A run with 3 steps an epoch, and a constant learning rate. */
const SETTINGS = {
  name: 'points',
  seed: 3,
  shards: 2,
  batchSize: 32,
  epochs: 4,
  plots: false,
};

const CLASSES = {
  ...SETTINGS,
  data: {
    train: { features: points, targets: points.map(([x, y]) => (x * x + y * y < 0.5 ? 1 : 0)) },
    split: { validation: 0.1, test: 0.1 },
  },
  model: sequential([dense({ units: 8, activation: 'relu' }), dense({ units: 2 })]),
};

const VALUES = {
  ...SETTINGS,
  data: {
    train: { features: points, targets: points.map(([x, y]) => x + 2 * y) },
    split: { validation: 0.1, test: 0.1 },
  },
  model: sequential([dense({ units: 8, activation: 'relu' }), dense({ units: 1 })]),
};

const inTemporary = () => ({ runDirectory: path.join(temporaryDirectory(), 'run'), threads: 1 });

describe('metrics that a program reads', () => {
  it('metrics of a classification have an accuracy, typed as a number', async () => {
    const seen: number[] = [];
    const { summary } = await train(
      { ...CLASSES, loss: 'crossEntropy' },
      {
        ...inTemporary(),
        onEpoch: ({ validation }) => {
          if (validation) seen.push(validation.accuracy);
          expectTypeOf(validation?.rmse).toEqualTypeOf<undefined>();
        },
      },
    );
    expect(seen).toHaveLength(4);
    expect(seen.every((accuracy) => accuracy >= 0 && accuracy <= 1)).toBe(true);
    expectTypeOf(summary.test?.accuracy).toEqualTypeOf<number | undefined>();
    expect(summary.test?.accuracy).toBeTypeOf('number');
  });

  it('metrics of a regression have errors, typed as numbers', async () => {
    const seen: number[] = [];
    const { summary } = await train(
      { ...VALUES, loss: { kind: 'huber', delta: 2 } },
      {
        ...inTemporary(),
        onEpoch: ({ validation }) => {
          if (validation) seen.push(validation.rmse);
        },
      },
    );
    expect(seen).toHaveLength(4);
    expect(summary.test?.r2).toBeTypeOf('number');
    expectTypeOf(summary.test?.accuracy).toEqualTypeOf<undefined>();
  });

  it('a config whose loss is not known gives metrics of any task, to be tried', async () => {
    const config: TrainConfig = { ...VALUES, loss: 'mse' };
    const { summary } = await train(config, inTemporary());
    expectTypeOf(summary.test?.accuracy).toEqualTypeOf<number | undefined>();
    expectTypeOf(summary.test?.rmse).toEqualTypeOf<number | undefined>();
    expect([summary.test?.accuracy, summary.test?.rmse]).toEqual([undefined, expect.any(Number)]);
  });
});

/** The lines of `events.jsonl` that tell of a training that was stopped. */
function stops(directory: string): unknown[] {
  return fs
    .readFileSync(path.join(directory, 'events.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ type }) => type === 'trainingStopped')
    .map(({ time: _time, type: _type, ...fields }) => fields);
}

describe('a training that its program stops', () => {
  const config = { ...VALUES, loss: 'mse' } as const;

  it('a training that onEpoch stops has the bits of one with that many epochs', async () => {
    const { summary, directory } = await train(config, {
      ...inTemporary(),
      onEpoch: ({ epoch }, { stop }) => epoch === 2 && stop(),
    });
    const short = await train({ ...config, epochs: 2 }, inTemporary());
    expect(summary).toMatchObject({ epochs: 2, steps: 6, samplesSeen: 192, stoppedEarly: 2 });
    expect(summary.weightsSha256).toBe(short.summary.weightsSha256);
    expect(summary.test).toEqual(short.summary.test);
    expect(stops(directory)).toEqual([{ step: 6, epoch: 2, by: 'onEpoch' }]);
    expect(stops(short.directory)).toEqual([]);
  });

  it('a training that onStep stops within an epoch measures that epoch, and can resume as if it had not', async () => {
    const reported: number[] = [];
    const options = inTemporary();
    const { summary, directory } = await train(config, {
      ...options,
      onStep: ({ step }, { stop }) => step === 4 && stop(),
      onEpoch: ({ step }) => reported.push(step),
    });
    expect(reported).toEqual([3, 4]);
    expect(summary).toMatchObject({ epochs: 2, steps: 4, samplesSeen: 128, stoppedEarly: 2 });
    expect(summary.test?.rmse).toBeTypeOf('number');
    expect(stops(directory)).toEqual([{ step: 4, epoch: 2, by: 'onStep' }]);
    const started: number[] = [];
    const resumed = await train(config, {
      ...options,
      resume: 'last',
      onStart: ({ stepsDone }) => started.push(stepsDone),
      onEpoch: ({ step }) => reported.push(step),
    });
    const whole = await train(config, inTemporary());
    expect(started).toEqual([4]);
    expect(reported).toEqual([3, 4, 6, 9, 12]);
    expect(resumed.summary.stoppedEarly).toBeUndefined();
    expect(resumed.summary.weightsSha256).toBe(whole.summary.weightsSha256);
    expect(resumed.summary.test).toEqual(whole.summary.test);
  });

  it('onStart hears of the run before its first step, which is the only one where it stops the run', async () => {
    const options = inTemporary();
    const heard: unknown[] = [];
    const { summary, directory } = await train(config, {
      ...options,
      onStart: async ({ stop, ...run }) => {
        await Promise.resolve();
        heard.push(run);
        stop();
      },
      onStep: ({ step }) => heard.push(step),
    });
    const run = { seed: 3, epochs: 4, stepsPerEpoch: 3, stepsDone: 0, numParameters: 33 };
    expect(heard).toEqual([{ directory: options.runDirectory, ...run }, 1]);
    expect(summary).toMatchObject({ epochs: 1, steps: 1, stoppedEarly: 1 });
    expect(stops(directory)).toEqual([{ step: 1, epoch: 1, by: 'onStart' }]);
  });

  it('a stop from outside the callbacks is named after the program, and one at the end is none', async () => {
    const { directory } = await train(config, {
      ...inTemporary(),
      onStart: ({ stop }) => void setImmediate(stop),
    });
    expect(stops(directory)).toEqual([expect.objectContaining({ by: 'program' })]);
    const whole = await train(config, {
      ...inTemporary(),
      onEpoch: ({ epoch }, { stop }) => epoch === 4 && stop(),
    });
    expect([whole.summary.stoppedEarly, stops(whole.directory)]).toEqual([undefined, []]);
  });
});

describe("metrics of a program's own", () => {
  /** The share of rows whose larger output is the right class, as the standard metric has it. */
  const hits: CustomMetric = (outputs, targets, { numRows, outputWidth }) => {
    let sum = 0;
    for (let row = 0; row < numRows; row++) {
      const [first = 0, second = 0] = outputs.subarray(row * outputWidth);
      sum += Number((second > first ? 1 : 0) === targets[row]);
    }
    // What it does with its arguments is its own business.
    outputs.fill(NaN);
    targets.fill(0);
    return sum / numRows;
  };

  it('metrics of their own are measured on outputs and targets, and are in every record', async () => {
    const seen: (number | undefined)[] = [];
    const config = {
      ...CLASSES,
      loss: 'crossEntropy',
      earlyStopping: { monitor: 'custom/hits', mode: 'max', patience: 9 },
    } as const;
    const { summary, directory } = await train(config, {
      ...inTemporary(),
      metrics: { hits, other: () => 0.5 },
      onEpoch: ({ validation }) => {
        expect(validation?.custom?.['hits']).toBe(validation?.accuracy);
        seen.push(validation?.custom?.['hits']);
      },
    });
    expect(summary.test?.custom).toEqual({ hits: summary.test?.accuracy, other: 0.5 });
    const records = fs.readFileSync(path.join(directory, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
    const logged = records.map((line) => (JSON.parse(line) as Record<string, number>)['val/custom/hits']);
    expect(logged.filter((value) => value !== undefined)).toEqual(seen);
    const written = JSON.parse(fs.readFileSync(path.join(directory, 'summary.json'), 'utf8')) as Summary;
    expect(written.test).toEqual(summary.test);
    expect(summary.best.epoch).toBe(1 + seen.indexOf(Math.max(...seen.map(Number))));
    const options = { metrics: { hits }, arrays: [config.data.train] };
    expect((await evaluate(directory, options)).custom).toEqual({ hits: summary.test?.accuracy });
  });

  it('a metric gets the target columns of numbers in their own unit, and changes no bit of the weights', async () => {
    const data = { ...VALUES.data, targetTransform: ['standardize' as const] };
    const config = { ...VALUES, data, loss: 'mse' } as const;
    const largest: CustomMetric = (_outputs, _targets, { columns: [column] }) =>
      Math.max(...(column?.actual ?? []));
    const { summary } = await train(config, { ...inTemporary(), metrics: { largest } });
    const plain = await train(config, inTemporary());
    expect(points.map(([x, y]) => x + 2 * y)).toContain(summary.test?.custom?.['largest']);
    expect(summary.weightsSha256).toBe(plain.summary.weightsSha256);
    expect(plain.summary.test?.custom).toBeUndefined();
  });

  it.each<[CustomMetric, string]>([
    [
      () => {
        throw new TypeError('x is not a thing');
      },
      'metric "mine" failed: x is not a thing',
    ],
    [
      (() => Promise.resolve(1)) as unknown as CustomMetric,
      'metric "mine" must return a number, and returned a promise',
    ],
    [
      (() => undefined) as unknown as CustomMetric,
      'metric "mine" must return a number, and returned undefined',
    ],
  ])('a metric that fails is named before the training begins: %o', async (mine, message) => {
    const onStart = (): never => {
      throw new Error('it began');
    };
    const run = train({ ...VALUES, loss: 'mse' }, { ...inTemporary(), onStart, metrics: { mine } });
    await expect(run).rejects.toMatchObject({ code: 'E_METRIC', category: 'usage', message });
  });

  it('a metric that is not finite is recorded as it is', async () => {
    const { summary, directory } = await train(
      { ...VALUES, loss: 'mse' },
      { ...inTemporary(), logLevel: 'silent', metrics: { mine: () => NaN } },
    );
    expect(summary.test?.custom).toEqual({ mine: NaN });
    expect(fs.readFileSync(path.join(directory, 'summary.json'), 'utf8')).toContain('"mine": "NaN"');
  });

  it('early stopping that watches a metric without a direction is refused, and so is one that is not there', async () => {
    const config = { ...VALUES, loss: 'mse', earlyStopping: { monitor: 'custom/mine' } } as const;
    await expect(train(config, { ...inTemporary(), metrics: { mine: () => 1 } })).rejects.toMatchObject({
      code: 'E_MONITOR',
      message: 'earlyStopping.mode: missing; "custom/mine" is a metric of the program\'s own',
    });
    await expect(train(config, inTemporary())).rejects.toMatchObject({
      code: 'E_MONITOR',
      message: 'earlyStopping.monitor: validation measures no "custom/mine"',
    });
  });
});
