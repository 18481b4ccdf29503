// Samples in memory: the rows that the same values have from a file, and clear words for samples that do not fit.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { takeArrays, type TrainConfig, type TrainData } from '../../api/samples.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { featureView, targetView } from '../../src/data/dataset.ts';
import { loadData, type LoadedData } from '../../src/data/load.ts';
import { configOf, directoryOf, errorOf, load, modelOf } from './data-fixtures.ts';

/** Loads the `data` of a program. */
async function loadSamples(
  data: TrainData,
  rest: Partial<ConfigInput> = {},
): Promise<LoadedData & { warnings: string[] }> {
  const { config, arrays } = takeArrays({ data, ...rest } as TrainConfig);
  const warnings: string[] = [];
  const request = {
    config: configOf(config.data, rest),
    arrays,
    math: Math,
    warn: (text: string) => warnings.push(text),
  };
  return { ...(await loadData(request)), warnings };
}

const CLASSES: Partial<ConfigInput> = { loss: 'crossEntropy', model: modelOf(3) };

/** 40 rows of two features, a number, a class and a weight; the features are exact in float32 and in decimal digits. */
const ROWS = Array.from({ length: 40 }, (_, row) => ({
  features: [((row * 7) % 13) / 8, row === 3 ? -0.5 : ((row * 11) % 17) / 4],
  price: 100 + row * row * 0.37,
  level: ((row * row + 1) % 7) % 3,
  weight: (row % 4) / 2,
}));

function csvOf(column: 'price' | 'level', rows = ROWS): string {
  const lines = rows.map(({ features, weight, ...row }) => [...features, row[column], weight].join());
  return `a,b,y,w\n${lines.join('\n')}\n`;
}

function featuresOf(rows = ROWS): number[][] {
  return rows.map(({ features }) => features);
}

function expectSameData(found: LoadedData, expected: LoadedData): void {
  expect(found.splits).toEqual(expected.splits);
  expect(found.dataset).toEqual(expected.dataset);
  expect(found.sampleWeights).toEqual(expected.sampleWeights);
}

describe('samples in memory', () => {
  it.each<[string, (rows: number[][]) => object]>([
    ['a list of rows', (rows) => ({ features: rows })],
    ['rows of Float32Array', (rows) => ({ features: rows.map((row) => Float32Array.from(row)) })],
    ['a Float32Array', (rows) => ({ features: Float32Array.from(rows.flat()), shape: [rows.length, 2] })],
    ['a Float64Array', (rows) => ({ features: Float64Array.from(rows.flat()), shape: [rows.length, 2] })],
  ])('as %s are packed to the bytes of the same table', async (_, take) => {
    const directory = await directoryOf({ 'a.csv': csvOf('price') });
    const data: Pick<ConfigInput['data'], 'split' | 'targetTransform'> = {
      split: { train: 0.6, validation: 0.2, test: 0.1 },
      targetTransform: ['log', 'standardize'],
    };
    const table = await load(
      configOf({
        ...data,
        file: path.join(directory, 'a.csv'),
        target: 'y',
        weights: 'w',
      }),
    );
    const samples = await loadSamples({
      ...data,
      train: {
        ...take(featuresOf()),
        targets: ROWS.map(({ price }) => price),
        weights: ROWS.map(({ weight }) => weight),
      } as never,
    });
    expectSameData(samples, table);
    expect(samples.transforms.target).toMatchObject({ columns: [{ column: 'target' }] });
    expect(samples.featureNames).toEqual(['value[0]', 'value[1]']);
    expect(samples.warnings).toEqual([]);
  });

  it('have sets of their own for validation and test, as tables have', async () => {
    const parts = { train: ROWS.slice(0, 20), validation: ROWS.slice(20, 31), test: ROWS.slice(31) };
    const directory = await directoryOf(
      Object.fromEntries(Object.entries(parts).map(([name, rows]) => [`${name}.csv`, csvOf('level', rows)])),
    );
    const fileOf = (name: string): string => path.join(directory, `${name}.csv`);
    const files = { train: fileOf('train'), validation: fileOf('validation'), test: fileOf('test') };
    const table = await load(
      configOf(
        { ...files, target: 'y', drop: ['w'], classes: 3, ignoreIndex: 2, standardize: false },
        CLASSES,
      ),
    );
    const samplesOf = (rows: typeof ROWS) => ({
      features: featuresOf(rows),
      targets: Int32Array.from(rows, ({ level }) => level),
    });
    const { train, validation, test } = parts;
    const samples = await loadSamples(
      {
        train: samplesOf(train),
        validation: samplesOf(validation),
        test: samplesOf(test),
        ...{ classes: 3, ignoreIndex: 2, standardize: false },
      },
      CLASSES,
    );
    expectSameData(samples, table);
    expect(samples.classNames).toEqual(['0', '1', '2']);
  });

  it('as bytes are packed as images are', async () => {
    const pixels = Uint8Array.from({ length: 60 * 6 }, (_, at) => (at * 91) % 256);
    const labels = Uint8Array.from({ length: 60 }, (_, at) => (at * 5) % 3);
    const directory = await directoryOf({
      images: Uint8Array.of(...[0, 0, 8, 3, 0, 0, 0, 60, 0, 0, 0, 2, 0, 0, 0, 3], ...pixels),
      labels: Uint8Array.of(...[0, 0, 8, 1, 0, 0, 0, 60], ...labels),
    });
    const [images, file] = [path.join(directory, 'images'), path.join(directory, 'labels')];
    const expected = await load(configOf({ train: { images, labels: file } }, CLASSES));
    const shape = [60, 1, 2, 3];
    expectSameData(
      await loadSamples({ train: { features: pixels, shape, targets: labels } }, CLASSES),
      expected,
    );
    const clamped = new Uint8ClampedArray(pixels);
    expectSameData(
      await loadSamples({ train: { features: clamped, shape, targets: labels } }, CLASSES),
      expected,
    );
    const rows = Array.from(labels, (_, row) => pixels.subarray(6 * row, 6 * row + 6));
    expectSameData(
      await loadSamples({ train: { features: rows, shape, targets: labels } }, CLASSES),
      expected,
    );
  });

  it('of more than one dimension stay as they are, unless they are to be standardized', async () => {
    const features = Float32Array.from({ length: 12 }, (_, at) => at * at);
    const train = { features, shape: [3, 2, 2], targets: [1.5, 2, 4] };
    const data = { train, split: { validation: 0, test: 0 } };
    const { dataset } = await loadSamples(data);
    expect(dataset.layout).toMatchObject({ featureShape: [2, 2], featureType: 'f32', targetWidth: 1 });
    expect(featureView(dataset)).toEqual(features);
    expect(targetView(dataset)).toEqual(Float32Array.of(1.5, 2, 4));
    const standardized = await loadSamples({ ...data, standardize: true });
    const first = [0, 16, 64].map(
      (value) => (value - 80 / 3) / Math.sqrt((0 + 256 + 4096) / 3 - (80 / 3) ** 2),
    );
    const found = featureView(standardized.dataset);
    first.forEach((value, row) => expect(found[4 * row]).toBeCloseTo(value, 6));
    expect(standardized.warnings).toEqual([]);
  });

  it('may have several targets a sample, named by data.target or numbered', async () => {
    const train = { features: featuresOf(), targets: ROWS.map(({ price, level }) => [price, level]) };
    const model = { model: modelOf(2) };
    expect((await loadSamples({ train }, model)).targetNames).toEqual(['target1', 'target2']);
    const named = await loadSamples({ train, target: ['price', 'level'] }, model);
    expect(named.targetNames).toEqual(['price', 'level']);
    expect(targetView(named.dataset).subarray(0, 4)).toEqual(Float32Array.of(100, 1, 100.37, 2));
  });

  it('warn of features that are constant in training', async () => {
    const train = { features: ROWS.map((_, row) => [1, row, 7]), targets: ROWS.map((_, row) => row) };
    const { warnings } = await loadSamples({ train });
    expect(warnings).toEqual(['2 features of 3 with one value in the training split; standardised to 0']);
  });

  it('are named in the config by a hash of values, shape, targets and weights', () => {
    const samples = { features: Float32Array.of(1, 2, 3, 4), shape: [2, 2], targets: [0, 1] };
    const nameOf = (train: object): unknown => takeArrays({ data: { train } } as never).config.data.train;
    const name = nameOf(samples);
    expect(name).toEqual({ arrays: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
    expect(nameOf({ ...samples, features: Float32Array.of(1, 2, 3, 4) })).toEqual(name);
    const others = [
      { features: Float32Array.of(1, 2, 3, 5) },
      { shape: [2, 1, 2] },
      { targets: [0, 2] },
      { weights: [1, 1] },
    ];
    for (const other of others) expect(nameOf({ ...samples, ...other })).not.toEqual(name);
  });
});

const FOUR = {
  features: [
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 9],
  ],
  targets: [1, 2, 3, 5],
};

describe('samples in memory are refused', () => {
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
      'error[E_DATA_NOT_A_NUMBER]: data.train.features, row 1, value 1 is no number: "4" (string)',
    ],
    [
      'with null for a number',
      { train: { ...FOUR, targets: [null, 1, 2, 3] } },
      'error[E_DATA_NOT_A_NUMBER]: data.train.targets, value 0 is no number: null (null)',
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
        '  help: give numbers: a Uint8Array is bytes, all else numbers',
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
  ])('%s', async (_, data, message, rest = {}) => {
    const action = async (): Promise<unknown> =>
      loadSamples({ split: { validation: 0, ...('test' in data ? {} : { test: 0 }) }, ...data }, rest);
    expect(await errorOf(action())).toContain(message);
  });

  it('where the fields of files go with them, or files', () => {
    const { config } = takeArrays({ data: { train: FOUR } } as never);
    const check =
      (data: object): (() => unknown) =>
      () =>
        configOf({ ...config.data, ...data });
    expect(check({ drop: ['a'] })).toThrow('data.drop: is for tables, but data.train is arrays');
    expect(check({ context: 4 })).toThrow('data.context: is for texts, but data.train is arrays');
    expect(check({ test: 'a.csv' })).toThrow('data.test: is a table, but data.train is arrays');
  });

  it('where no program hands them in', async () => {
    const { config } = takeArrays({ data: { train: FOUR } } as never);
    const { arrays } = config.data.train as { arrays: string };
    expect(await errorOf(load(configOf(config.data)))).toBe(
      `error[E_DATA_ARRAYS]: the samples with SHA-256 ${arrays} were arrays in a program; no file holds them\n` +
        '  help: hand them in again: train(config) with the arrays, or evaluate(run, { arrays: [samples] })',
    );
  });
});
