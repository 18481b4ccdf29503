// Trainings by a program's call, in this process: their callbacks, and the types of what they give.
import path from 'node:path';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { dense, sequential } from '../../../api/index.ts';
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
          // @ts-expect-error: a classification measures no error of numbers
          const error: number = validation?.rmse ?? 0;
          expect(error).toBe(0);
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
