// Samples in files of NumPy.
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { dump } from 'npyjs';
import type { DType, TypedArray } from 'npyjs';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import {
  CLASSES,
  configOf,
  directoryOf,
  errorOf,
  featuresOf,
  load,
  loadSamples,
  modelOf,
  NO_SPLIT,
} from '../fixtures.ts';

type Files = Readonly<Record<string, Uint8Array>>;

function npy(data: TypedArray | number[], shape: number[], dtype?: DType): Uint8Array {
  return new Uint8Array(dump(data, shape, dtype && { dtype }));
}

async function loadNpy(
  files: Files,
  data: Partial<ConfigInput['data']> = {},
  rest: Partial<ConfigInput> = {},
) {
  const directory = await directoryOf(files);
  const under = (name: string): string => join(directory, name);
  const train = { features: under('x.npy'), targets: under('y.npy') };
  return load(configOf({ train, ...NO_SPLIT, ...data }, rest));
}

const X = Float64Array.of(1, 2, 3, 4, 5, 7);
const Y = Float32Array.of(10, 20, 30);
const FILES = { 'x.npy': npy(X, [3, 2]), 'y.npy': npy(Y, [3]) };

describe('samples in files of NumPy', () => {
  it('files give the same dataset as the same samples of a program', async () => {
    const found = await loadNpy(FILES);
    const expected = await loadSamples({ train: { features: X, shape: [3, 2], targets: Y }, ...NO_SPLIT });
    expect(found.dataset.sha256).toBe(expected.dataset.sha256);
    expect(found.targetNames).toEqual(['target']);
  });

  it('bytes of images stay bytes, and whole numbers of 64 bits are class indices', async () => {
    const files = {
      'x.npy': npy(
        Uint8Array.from({ length: 12 }, (_, i) => i),
        [3, 2, 2],
      ),
      'y.npy': npy(BigInt64Array.of(0n, 2n, 1n), [3]),
    };
    const { dataset, classNames } = await loadNpy(files, {}, CLASSES);
    expect(dataset.layout).toMatchObject({ featureShape: [2, 2], featureType: 'u8' });
    expect([...dataset.blob.subarray(0, 12)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([[...targetView(dataset)], classNames]).toEqual([
      [0, 2, 1],
      ['0', '1', '2'],
    ]);
  });

  it('arrays of an archive are found by their names, for training and for the test', async () => {
    const members = {
      'x_train.npy': FILES['x.npy'],
      'y_train.npy': FILES['y.npy'],
      'w.npy': npy(Float32Array.of(1, 2, 3), [3]),
      'x_test.npy': npy(Float32Array.of(8, 9), [1, 2]),
      'y_test.npy': npy(Int32Array.of(5), [1]),
    };
    const directory = await directoryOf({ 'all.npz': zipSync(members) });
    const npz = join(directory, 'all.npz');
    const train = { npz, features: 'x_train', targets: 'y_train', weights: 'w' };
    const test = { npz, features: 'x_test', targets: 'y_test', weights: 'y_test' };
    const found = await load(
      configOf({ train, test, split: { validation: 0 }, shuffle: false, standardize: false }),
    );
    expect(featuresOf(found, 3)).toEqual([8, 9]);
    expect(found.splits.test).toEqual(Uint32Array.of(3));
    expect([...(found.sampleWeights ?? [])]).toEqual([1, 2, 3, 5]);
    const wrong = configOf({ train: { npz, features: 'x', targets: 'y_train' } });
    expect(await errorOf(load(wrong), directory)).toBe(
      'error[E_DATA_ARRAYS]: all.npz has no array "x"; it has x_train, y_train, w, x_test, y_test',
    );
  });

  it('targets of several columns have names in the config', async () => {
    const files = { ...FILES, 'y.npy': npy(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]) };
    const { targetNames } = await loadNpy(files, { target: ['a', 'b'] }, { model: modelOf(2) });
    expect(targetNames).toEqual(['a', 'b']);
    expect(await errorOf(loadNpy(files))).toBe(
      'error[E_DATA_ARRAYS]: data.train.targets has 2 values a sample, data.target has 1 name\n' +
        '  help: name each; or, where they are those of positions, give samples of [positions, features]',
    );
  });

  it('truth values are 0 and 1, and a list of numbers is a list of samples', async () => {
    const found = await loadNpy(
      { 'x.npy': npy(Uint8Array.of(1, 0, 1), [3], 'b1'), 'y.npy': FILES['y.npy'] },
      { standardize: false },
    );
    expect(found.dataset.layout).toMatchObject({ featureShape: [1], featureType: 'f32' });
    expect([0, 1, 2].map((row) => featuresOf(found, row))).toEqual([[1], [0], [1]]);
  });

  it.each<[string, Files, string]>([
    [
      'no file of NumPy',
      { 'x.npy': Buffer.from('x,y\n1,2\n') },
      'error[E_DATA_FORMAT]: x.npy is no .npy file that can be read: ',
    ],
    [
      'cut off',
      { 'x.npy': FILES['x.npy'].subarray(0, -8) },
      'error[E_DATA_ARRAYS]: x.npy holds 5 values; its header says 3x2',
    ],
    [
      'of another length',
      { 'y.npy': npy(Float32Array.of(1, 2), [2]) },
      'error[E_DATA_SHAPE]: y.npy has 2, x.npy 3x2: they differ in the number of samples',
    ],
    [
      'not finite',
      { 'x.npy': npy(Float32Array.of(1, 2, 3, NaN, 5, 6), [3, 2]) },
      'error[E_DATA_NOT_A_NUMBER]: data.train.features, row 1 at [1] is NaN',
    ],
    [
      'text',
      { 'x.npy': npy(['a', 'b', 'c'] as unknown as number[], [3]) },
      'error[E_DATA_ARRAYS]: x.npy holds texts',
    ],
  ])('an array that is %s is refused', async (_, files, message) => {
    expect((await errorOf(loadNpy({ ...FILES, ...files }))).replaceAll(/\/\S*\//g, '')).toContain(message);
  });

  it('a file that is missing is named', async () => {
    expect(await errorOf(loadNpy({ 'x.npy': FILES['x.npy'] }))).toMatch(
      /^error\[E_DATA_UNREADABLE\]: cannot read .*y\.npy: no such file/,
    );
  });
});
