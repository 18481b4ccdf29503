// Weights of rows, of classes and of ignored labels, which share one block of the packed rows; and
// the targets that binary cross-entropy takes.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { targetView, sampleWeightView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { configOf, directoryOf, errorOf, load, loadText, modelOf, NO_SPLIT } from '../fixtures.ts';

const toClasses = (units: number, rest: Partial<ConfigInput> = {}): Partial<ConfigInput> => ({
  loss: 'crossEntropy',
  model: modelOf(units),
  ...rest,
});

describe('a column of weights', () => {
  test('a column of weights is packed after the targets and is not a feature', async () => {
    const loaded = await loadText('x,y,w\n1,2,0.5\n3,4,0\n5,6,3\n', { weights: 'w' });
    expect(loaded.featureNames).toEqual(['x']);
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([0.5, 0, 3]);
    expect([...(loaded.sampleWeights ?? [])]).toEqual([0.5, 0, 3]);
  });

  test('a column of weights changes the hash that names the dataset', async () => {
    const text = 'x,y,w\n1,2,1\n3,4,1\n';
    const [plain, weighted] = [await loadText(text, { drop: ['w'] }), await loadText(text, { weights: 'w' })];
    expect(plain.dataset.layout.hasSampleWeights).toBe(false);
    expect(sampleWeightView(plain.dataset)).toBeUndefined();
    expect(weighted.dataset.sha256).not.toBe(plain.dataset.sha256);
  });

  test.each([
    ['-1', 'error[E_DATA_WEIGHTS]: column "w": weight -1; expected 0 to 1000000000\n  --> a.csv:3'],
    ['2e9', 'error[E_DATA_WEIGHTS]: column "w": weight 2000000000; expected 0 to 1000000000\n  --> a.csv:3'],
  ])('a column of weights may not hold %s', async (weight, message) => {
    expect(await errorOf(loadText(`x,y,w\n1,2,1\n3,4,${weight}\n`, { weights: 'w' }))).toBe(message);
  });

  test('a column of weights must hold a number in every row', async () => {
    expect(await errorOf(loadText('x,y,w\n1,2,a\n3,4,b\n', { weights: 'w' }))).toBe(
      'error[E_CONFIG_COLUMN]: data.weights: column "w" holds texts',
    );
    const loaded = await loadText('x,y,w\n1,2,1\n3,4,\n', { weights: 'w', missing: 'mean' });
    expect(loaded.dataset.layout.numRows).toBe(1);
    expect(loaded.warnings[0]).toMatch(/1 of 2 rows left out for missing cells \(column "w" 1\)$/);
  });

  test('a column of weights must exist, and give every split a row that counts', async () => {
    expect(await errorOf(loadText('x,y,weight\n1,2,1\n', { weights: 'wieght' }))).toBe(
      'error[E_CONFIG_COLUMN]: data.weights: no column "wieght"; columns: x, y, weight\n' +
        '  help: did you mean "weight"?',
    );
    const split = { train: 0.5, validation: 0.5, test: 0 };
    const text = 'x,y,w\n1,2,1\n2,3,1\n3,4,0\n4,5,0\n';
    expect(await errorOf(loadText(text, { weights: 'w', split }))).toBe(
      'error[E_DATA_WEIGHTS]: all 2 rows of the validation split weigh 0\n' +
        '  help: look at data.weights, classWeights and data.ignoreIndex',
    );
  });
});

describe('weights of classes', () => {
  const TEXT = 'x,y\n1,b\n2,a\n3,b\n4,c\n5,b\n6,b\n';

  test('class weights are listed in the order of the classes, or by name with 1 for the others', async () => {
    for (const classWeights of [[2, 0.5, 1], { a: 2, b: 0.5 }]) {
      const loaded = await loadText(TEXT, {}, toClasses(3, { classWeights }));
      expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([0.5, 2, 0.5, 1, 0.5, 0.5]);
      expect(loaded.sampleWeights).toBeUndefined();
    }
  });

  test('balanced class weights give every class of the training split the same total, as in scikit-learn', async () => {
    const loaded = await loadText(TEXT, {}, toClasses(3, { classWeights: 'balanced' }));
    // rows / (classes x rows of the class): 6 / (3 x 4), 6 / (3 x 1).
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([0.5, 2, 0.5, 2, 0.5, 0.5]);
  });

  test('balanced class weights count the training split alone, and weigh a class that it lacks with 1', async () => {
    const data = { split: { train: 0.5, validation: 0.5, test: 0 } };
    const loaded = await loadText(TEXT, data, toClasses(3, { classWeights: 'balanced' }));
    const rounded = Float32Array.of(3 / 4, 3 / 2, 3 / 4, 1, 3 / 4, 3 / 4);
    expect(sampleWeightView(loaded.dataset)).toEqual(rounded);
  });

  test('class weights are multiplied by those of rows, which alone count in metrics', async () => {
    const text = 'x,y,w\n1,b,3\n2,a,1\n3,b,0\n';
    const loaded = await loadText(text, { weights: 'w' }, toClasses(2, { classWeights: [4, 0.5] }));
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([1.5, 4, 0]);
    expect([...(loaded.sampleWeights ?? [])]).toEqual([3, 1, 0]);
  });

  test.each([
    [
      [1, 2],
      'error[E_CONFIG_CLASS_WEIGHTS]: classWeights has 2 weights, the data has 3 classes\n  help: their order is: a, b, c',
    ],
    [{ d: 2 }, 'error[E_CONFIG_CLASS_WEIGHTS]: classWeights: no class "d"; classes: a, b, c'],
  ])('the class weights %j do not fit three classes', async (classWeights, message) => {
    expect(await errorOf(loadText(TEXT, {}, toClasses(3, { classWeights })))).toBe(message);
  });
});

describe('an ignored label', () => {
  test('an ignored label is not a class, weighs 0, and counts neither in the balance nor in metrics', async () => {
    const text = 'x,y\n1,0\n2,-100\n3,1\n4,1\n';
    const rest = toClasses(2, { classWeights: 'balanced' });
    const loaded = await loadText(text, { ignoreIndex: -100 }, rest);
    expect([...targetView(loaded.dataset)]).toEqual([0, 0, 1, 1]);
    expect(loaded.classNames).toEqual(['0', '1']);
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([1.5, 0, 0.75, 0.75]);
    expect([...(loaded.sampleWeights ?? [])]).toEqual([1, 0, 1, 1]);
  });

  test('an ignored label may be one of the classes, such as a padding of 0', async () => {
    const loaded = await loadText('x,y\n1,0\n2,1\n3,2\n', { ignoreIndex: 0 }, toClasses(3));
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([0, 1, 1]);
  });

  test('an ignored label that does not occur leaves every weight at 1', async () => {
    const loaded = await loadText('x,y\n1,0\n2,1\n', { ignoreIndex: 9 }, toClasses(2));
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([1, 1]);
    expect(loaded.sampleWeights).toBeUndefined();
  });

  test('an ignored label must be a number', async () => {
    expect(await errorOf(loadText('x,y\n1,a\n2,b\n', { ignoreIndex: 0 }, toClasses(2)))).toBe(
      'error[E_CONFIG_CLASSES]: data.ignoreIndex is for numbered labels; target "y" holds texts\n' +
        '  help: give such rows a weight of 0 by data.weights',
    );
  });
});

describe('binary cross-entropy', () => {
  const binary = (units = 1, rest: Partial<ConfigInput> = {}): Partial<ConfigInput> => ({
    loss: 'binaryCrossEntropy',
    model: modelOf(units),
    ...rest,
  });

  test('binary cross-entropy takes two texts, of which the later one is the positive class', async () => {
    const loaded = await loadText('x,y\n1,yes\n2,no\n3,yes\n', {}, binary(1, { classWeights: { yes: 3 } }));
    expect(loaded.classNames).toEqual(['no', 'yes']);
    expect(targetView(loaded.dataset)).toEqual(Float32Array.of(1, 0, 1));
    expect(loaded.dataset.layout).toMatchObject({ targetKind: 'values', targetWidth: 1, numClasses: 0 });
    expect([...(sampleWeightView(loaded.dataset) ?? [])]).toEqual([3, 1, 3]);
  });

  test('binary cross-entropy takes 0 and 1 for classes, and numbers between for probabilities', async () => {
    expect((await loadText('x,y\n1,0\n2,1\n', {}, binary())).classNames).toEqual(['0', '1']);
    const soft = await loadText('x,y\n1,0.25\n2,1\n', {}, binary());
    expect(soft.classNames).toEqual([]);
    expect(targetView(soft.dataset)).toEqual(Float32Array.of(0.25, 1));
  });

  test('binary cross-entropy takes no class weights if the target has no classes', async () => {
    const rest = binary(1, { classWeights: 'balanced' });
    expect(await errorOf(loadText('x,y\n1,0.25\n2,1\n', {}, rest))).toBe(
      'error[E_CONFIG_CLASS_WEIGHTS]: classWeights weigh two classes; target "y" holds other numbers than 0 and 1\n' +
        '  help: remove it, or weigh rows by data.weights',
    );
  });

  test('binary cross-entropy takes several columns', async () => {
    const loaded = await loadText('x,y,z\n1,0,1\n2,1,1\n', { target: ['y', 'z'] }, binary(2));
    expect(targetView(loaded.dataset)).toEqual(Float32Array.of(0, 1, 1, 1));
  });

  test.each([
    [
      'x,y\n1,0\n2,1.5\n',
      'error[E_DATA_LABEL]: target "y" is 1.5; binaryCrossEntropy takes numbers from 0 to 1, or two texts\n  --> a.csv:3',
    ],
    [
      'x,y\n1,1\n2,2\n',
      'error[E_DATA_LABEL]: target "y" is 2; binaryCrossEntropy takes numbers from 0 to 1, or two texts\n  --> a.csv:3\n' +
        '  help: number two classes 0 and 1; for more, set loss: crossEntropy',
    ],
    [
      'x,y\n1,a\n2,b\n3,c\n',
      'error[E_CONFIG_CLASSES]: target "y" has 3 distinct texts; binaryCrossEntropy takes two\n' +
        '  help: set loss: crossEntropy for more classes',
    ],
    [
      'x,y\n1,1\n2,1\n',
      'error[E_DATA_ONE_CLASS]: every training row is class "1"; classification needs at least two',
    ],
  ])('binary cross-entropy does not take %j', async (text, message) => {
    expect(await errorOf(loadText(text, {}, binary()))).toBe(message);
  });
});

test('metrics.topK must be below the number of classes', async () => {
  const rest = toClasses(3, { metrics: { topK: 3 } });
  expect(await errorOf(loadText('x,y\n1,a\n2,b\n3,c\n', {}, rest))).toBe(
    'error[E_CONFIG_TOP_K]: metrics.topK is 3, the data has 3 classes\n' +
      '  help: set it below the number of classes, or remove it',
  );
});

describe('labels of images', () => {
  /** Four images of one pixel. */
  async function imagesWith(labels: readonly number[], rest: Partial<ConfigInput>, data = {}) {
    const directory = await directoryOf({
      images: Uint8Array.of(0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 9, 8, 7, 6),
      labels: Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 4, ...labels),
    });
    const train = { images: join(directory, 'images'), labels: join(directory, 'labels') };
    return load(configOf({ train, ...NO_SPLIT, ...data }, rest));
  }

  test('labels of images may be ignored and weighed', async () => {
    const rest = toClasses(2, { classWeights: [1, 5] });
    const { dataset } = await imagesWith([0, 255, 1, 0], rest, { ignoreIndex: 255 });
    expect([...targetView(dataset)]).toEqual([0, 0, 1, 0]);
    expect([...(sampleWeightView(dataset) ?? [])]).toEqual([1, 0, 5, 1]);
  });

  test('labels of images of two classes are values for binary cross-entropy', async () => {
    const { dataset } = await imagesWith([0, 1, 1, 0], { loss: 'binaryCrossEntropy' });
    expect(targetView(dataset)).toEqual(Float32Array.of(0, 1, 1, 0));
  });
});
