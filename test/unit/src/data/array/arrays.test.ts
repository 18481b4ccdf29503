// Samples in memory, which give the same rows as the same values in a file.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { takeArrays } from '../../../../../api/train.ts';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { featureView, targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import type { LoadedData } from '../../../../../src/data/load.ts';
import { CLASSES, configOf, directoryOf, load, loadSamples, modelOf } from '../fixtures.ts';

/**
 * 40 rows of two features, a number, a class and a weight; the features are exact in
 * float32 and in decimal digits.
 */
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
  ])('samples in memory, as %s, are packed to the bytes of the same table', async (_, take) => {
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

  it('samples in memory may have sets of their own for validation and test, as tables do', async () => {
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

  it('samples that are bytes are packed as images are', async () => {
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

  it('samples with more than one dimension stay unchanged unless the config standardizes them', async () => {
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

  it('samples may have several targets each, named by data.target or numbered', async () => {
    const train = { features: featuresOf(), targets: ROWS.map(({ price, level }) => [price, level]) };
    const model = { model: modelOf(2) };
    expect((await loadSamples({ train }, model)).targetNames).toEqual(['target1', 'target2']);
    const named = await loadSamples({ train, target: ['price', 'level'] }, model);
    expect(named.targetNames).toEqual(['price', 'level']);
    expect(targetView(named.dataset).subarray(0, 4)).toEqual(Float32Array.of(100, 1, 100.37, 2));
  });

  it('samples with features that are constant in training cause a warning', async () => {
    const train = { features: ROWS.map((_, row) => [1, row, 7]), targets: ROWS.map((_, row) => row) };
    const { warnings } = await loadSamples({ train });
    expect(warnings).toEqual(['2 features of 3 with one value in the training split; standardised to 0']);
  });

  it('samples are named in the config by a hash of values, shape, targets and weights', () => {
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
