// Samples in memory that do not fit: a clear error for each.
import { describe, expect, it } from 'vitest';
import { takeArrays, type TrainData } from '../../../../../api/train.ts';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { CLASSES, configOf, errorOf, load, loadSamples } from '../fixtures.ts';

const FOUR = {
  features: [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 9],
  ],
  targets: [1, 2, 3, 5],
};

describe('samples in memory that are refused', () => {
  it.each<[string, TrainData | object, string, Partial<ConfigInput>?]>([
    [
      'with a NaN among the features',
      {
        train: {
          ...FOUR,
          features: [
            [1, 2],
            [3, NaN],
            [5, 6],
            [7, 9],
          ],
        },
      },
      'error[E_DATA_NOT_A_NUMBER]: data.train.features, row 1 at [1] is NaN\n' +
        '  help: fill it in, or leave the sample out',
    ],
    [
      'with an infinite target',
      { train: FOUR, test: { ...FOUR, targets: [1, 2, 1e39, 4] } },
      'error[E_DATA_OVERFLOW]: data.test.targets, row 2 is 1e+39, which does not fit float32 (max 3.4e38)',
    ],
    [
      'with text for a number',
      {
        train: {
          ...FOUR,
          features: [
            [1, 2],
            [3, '4'],
          ],
        },
      },
      'error[E_DATA_NOT_A_NUMBER]: data.train.features, row 1, value 1 is not a number: "4" (string)',
    ],
    [
      'with null for a number',
      { train: { ...FOUR, targets: [null, 1, 2, 3] } },
      'error[E_DATA_NOT_A_NUMBER]: data.train.targets, value 0 is not a number: null (null)',
    ],
    [
      'with rows of unequal length',
      { train: { ...FOUR, features: [[1, 2], [3], [5, 6]] } },
      'error[E_DATA_ARRAYS]: data.train.features, row 1 has 1 value, row 0 has 2',
    ],
    [
      'with a misspelt field',
      { train: { ...FOUR, weight: [1, 2, 3, 4] } },
      'error[E_DATA_ARRAYS]: data.train: unknown field "weight"\n  help: did you mean "weights"?',
    ],
    [
      'without a shape',
      { train: { ...FOUR, features: Float32Array.of(1, 2) } },
      'error[E_DATA_ARRAYS]: data.train.shape: missing, expected [samples, sizes of a sample]\n' +
        '  help: such as shape: [1000, 8] for 1,000 samples of 8 values',
    ],
    [
      'with a shape that says nothing of a sample',
      { train: { ...FOUR, shape: [8] } },
      'error[E_DATA_ARRAYS]: data.train.shape: expected [samples, sizes of a sample], each at least 1, got [8]',
    ],
    [
      'with samples of more dimensions than an image',
      { train: { ...FOUR, shape: [4, 1, 2, 1, 1] } },
      'error[E_DATA_ARRAYS]: data.train.shape: a sample has at most 3 dimensions, got [1, 2, 1, 1]\n' +
        '  help: an image is [channels, height, width], a sequence [positions, features]',
    ],
    [
      'with a shape of another size',
      { train: { ...FOUR, shape: [4, 3] } },
      'error[E_DATA_ARRAYS]: data.train.features has 8 values, shape [4, 3] takes 12',
    ],
    [
      'with no samples',
      { train: { features: [], targets: [] } },
      'error[E_DATA_ARRAYS]: data.train.shape: missing',
    ],
    [
      'without targets',
      { train: { features: FOUR.features } },
      'error[E_DATA_ARRAYS]: data.train.targets: expected numbers or rows of numbers, got undefined',
    ],
    [
      'with too few targets',
      { train: { ...FOUR, targets: [1, 2, 3] } },
      'error[E_DATA_ARRAYS]: data.train.targets has 3 values for 4 samples',
    ],
    [
      'with too many rows of targets',
      { train: { ...FOUR, targets: [[1], [2], [3], [4], [5], [6], [7], [8]] } },
      'error[E_DATA_ARRAYS]: data.train.targets has 8 rows for 4 samples',
    ],
    [
      'with too few weights',
      { train: { ...FOUR, weights: [1] } },
      'error[E_DATA_ARRAYS]: data.train.weights has 1 value for 4 samples',
    ],
    [
      'with a negative weight',
      { train: { ...FOUR, weights: [1, 1, -1, 1] } },
      'error[E_DATA_WEIGHTS]: column "weight": weight -1; expected 0 to 1000000000\n  --> data.train, row 2',
    ],
    [
      'without the weights that training has',
      { train: { ...FOUR, weights: [1, 1, 1, 1] }, test: FOUR },
      'error[E_DATA_ARRAYS]: data.test.weights: missing; data.weights asks for them\n' +
        '  help: give each sample a weight, such as 1',
    ],
    [
      'with other numbers of targets',
      {
        train: FOUR,
        test: {
          ...FOUR,
          targets: [
            [1, 2],
            [3, 4],
            [5, 6],
            [7, 8],
          ],
        },
      },
      'error[E_DATA_ARRAYS]: data.test.targets has 2 values a sample, data.target has 1 name',
    ],
    [
      'with samples of another shape',
      { train: FOUR, test: { ...FOUR, features: [[1], [2], [3], [4]] } },
      'error[E_DATA_SHAPE]: data.test has samples of 1, those of data.train are 2',
    ],
    [
      'with bytes among numbers',
      { train: FOUR, test: { ...FOUR, features: new Uint8Array(8), shape: [4, 2] } },
      'error[E_DATA_SHAPE]: data.test.features are bytes, those of data.train are numbers\n' +
        '  help: give numbers: a Uint8Array is bytes, everything else numbers',
    ],
    [
      'with bytes to be standardized',
      { train: { ...FOUR, features: new Uint8Array(8), shape: [4, 2] }, standardize: true },
      'error[E_CONFIG_STANDARDIZE]: data.standardize does not go with bytes, which are scaled to 0..1\n' +
        '  help: set it to false, or give the features as numbers',
    ],
    [
      'with a label that is no class',
      { train: { ...FOUR, targets: [0, 1, 2, 3] }, classes: 3 },
      'error[E_DATA_LABEL]: label 3; valid 0..2 (classes = 3)\n  --> data.train, row 3\n' +
        '  help: number the classes from 0, or give them names',
      CLASSES,
    ],
    [
      'with a label between classes',
      { train: { ...FOUR, targets: [0, 1, 2, 1] }, test: { ...FOUR, targets: [0, 1.5, 1, 1] } },
      'error[E_DATA_LABEL]: label 1.5 is not an integer\n  --> data.test, row 1\n' +
        '  help: number the classes from 0, or give them names',
      CLASSES,
    ],
    [
      'with a target that has no logarithm',
      { train: { ...FOUR, targets: [1, 0, 2, 3] }, targetTransform: ['log'] },
      'error[E_DATA_LOG]: target "target" is 0; targetTransform log needs values above 0\n' +
        '  --> data.train, row 1\n  help: leave log out of data.targetTransform',
    ],
  ])('samples in memory %s are refused', async (_, data, message, rest = {}) => {
    const action = async (): Promise<unknown> =>
      loadSamples({ split: { validation: 0, ...('test' in data ? {} : { test: 0 }) }, ...data }, rest);
    expect(await errorOf(action())).toContain(message);
  });

  it('samples in memory are refused together with files, and with fields that are for files', () => {
    const { config } = takeArrays({ data: { train: FOUR } } as never);
    const check =
      (data: object): (() => unknown) =>
      () =>
        configOf({ ...config.data, ...data });
    expect(check({ drop: ['a'] })).toThrow('data.drop: is for tables, but data.train is arrays');
    expect(check({ context: 4 })).toThrow('data.context: is for texts, but data.train is arrays');
    expect(check({ test: 'a.csv' })).toThrow('data.test: is a table, but data.train is arrays');
  });

  it('samples in memory are refused if no program hands them in', async () => {
    const { config } = takeArrays({ data: { train: FOUR } } as never);
    const { arrays } = config.data.train as { arrays: string };
    expect(await errorOf(load(configOf(config.data)))).toBe(
      `error[E_DATA_ARRAYS]: the samples with SHA-256 ${arrays} were arrays in a program; no file holds them\n` +
        '  help: pass them again: train(config) with the arrays, or evaluate(run, { arrays: [samples] })',
    );
  });
});
