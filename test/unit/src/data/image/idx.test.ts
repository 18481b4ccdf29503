import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { configOf, directoryOf, errorOf, load, modelOf } from '../fixtures.ts';

/** An IDX file of unsigned bytes. */
function idx(dimensions: readonly number[], data: readonly number[]): Buffer {
  const header = Buffer.alloc(4 + 4 * dimensions.length);
  header[2] = 8;
  header[3] = dimensions.length;
  for (const [index, size] of dimensions.entries()) header.writeUInt32BE(size, 4 + 4 * index);
  return Buffer.concat([header, Uint8Array.from(data)]);
}

const PIXELS = [0, 1, 2, 3, 250, 251, 252, 253, 9, 8, 7, 6];
const IMAGES = idx([3, 2, 2], PIXELS);
const LABELS = idx([3], [1, 0, 1]);

async function loadImages(
  files: { images?: Uint8Array; labels?: Uint8Array; test?: [Uint8Array, Uint8Array] },
  data: Partial<ConfigInput['data']> = {},
) {
  const directory = await directoryOf({
    images: files.images ?? IMAGES,
    labels: files.labels ?? LABELS,
    ...(files.test ? { 'test-images': files.test[0], 'test-labels': files.test[1] } : {}),
  });
  const pair = (prefix: string) => ({
    images: join(directory, `${prefix}images`),
    labels: join(directory, `${prefix}labels`),
  });
  const sources = { train: pair(''), ...(files.test ? { test: pair('test-') } : {}) };
  const split = files.test ? { validation: 0 } : { validation: 0, test: 0 };
  const config = configOf(
    { ...sources, split, ...data },
    { loss: 'crossEntropy', model: modelOf(data.classes ?? 2) },
  );
  return load(config).catch(async (error: Error) => {
    throw new Error(await errorOf(Promise.reject(error), directory));
  });
}

describe('IDX images', () => {
  test.each([
    ['plain', IMAGES, LABELS],
    ['gzip', gzipSync(IMAGES), gzipSync(LABELS)],
  ])('images that are %s keep their bytes, which a kernel scales', async (_, images, labels) => {
    const { dataset, classNames, featureNames, transforms } = await loadImages({ images, labels });
    expect(dataset.layout).toEqual({
      numRows: 3,
      featureShape: [1, 2, 2],
      featureType: 'u8',
      featureScale: Math.fround(1 / 255),
      targetKind: 'labels',
      targetWidth: 1,
      numClasses: 2,
      hasSampleWeights: false,
    });
    expect([...dataset.blob.subarray(0, 12)]).toEqual(PIXELS);
    expect([...targetView(dataset)]).toEqual([1, 0, 1]);
    expect(classNames).toEqual(['0', '1']);
    expect(featureNames).toEqual(['pixel[0,0]', 'pixel[0,1]', 'pixel[1,0]', 'pixel[1,1]']);
    expect(transforms.features).toEqual([{ kind: 'pixels', shape: [2, 2], scale: Math.fround(1 / 255) }]);
  });

  test('images of a test set follow those of the training set', async () => {
    const { splits, dataset } = await loadImages({ test: [idx([1, 2, 2], [5, 5, 5, 5]), idx([1], [0])] });
    expect(splits.train).toEqual(Uint32Array.of(0, 1, 2));
    expect(splits.test).toEqual(Uint32Array.of(3));
    expect([...dataset.blob.subarray(12, 16)]).toEqual([5, 5, 5, 5]);
    expect([...targetView(dataset)]).toEqual([1, 0, 1, 0]);
  });

  test('images that are both in train and in test are counted in a warning', async () => {
    const { warnings } = await loadImages({
      test: [idx([2, 2, 2], [0, 1, 2, 3, 0, 1, 2, 3]), idx([2], [1, 0])],
    });
    expect(warnings).toEqual([
      '1 row of the test split also appears in the training split: test results will look better than they are',
    ]);
  });

  test.each([
    [
      { images: Buffer.from('x,y\n1,2\n') },
      'images starts with 782C790A; an IDX file of bytes starts with 000008',
    ],
    [
      { images: Buffer.concat([Buffer.from([0, 0, 13, 3]), IMAGES.subarray(4)]) },
      'images holds values of type d; only unsigned bytes (8) are read',
    ],
    [
      { images: LABELS, labels: IMAGES },
      'images has 1 dimension; images have 3: [count, height, width]\n' +
        '  help: are images and labels exchanged in the config?',
    ],
    [
      { labels: IMAGES },
      'labels has 3 dimensions; labels have 1: [count]\n' +
        '  help: are images and labels exchanged in the config?',
    ],
    [
      { images: idx([3, 2, 2, 1], PIXELS) },
      'images has 4 dimensions; images have 3: [count, height, width]\n' +
        '  help: images of several channels come from a program, channels first: docs/api.md shows how',
    ],
    [{ images: idx([3, 4], PIXELS) }, 'images has 2 dimensions; images have 3: [count, height, width]'],
    [{ labels: idx([3, 1, 1, 1], [0, 1, 0]) }, 'labels has 4 dimensions; labels have 1: [count]'],
    [{ images: IMAGES.subarray(0, 10) }, 'images ends inside its header (10 of 16 bytes)'],
    [{ images: IMAGES.subarray(0, -1) }, 'images holds 11 bytes; its header says 12 bytes (3x2x2)'],
    [
      { images: Buffer.concat([IMAGES, Buffer.of(1)]) },
      'images holds 13 bytes; its header says 12 bytes (3x2x2)',
    ],
    [{ images: idx([0, 2, 2], []) }, 'images holds nothing (0x2x2)'],
    [
      { images: idx([0xffffffff, 0xffffffff, 0xffffffff], []) },
      'images says it holds 4294967295x4294967295x4294967295 bytes; at most 2 GiB are read',
    ],
    [{ labels: idx([2], [0, 1]) }, 'images has 3 images but labels has 2 labels'],
  ])('malformed files of images and labels are refused: %#', async (files, message) => {
    expect(await errorOf(loadImages(files))).toBe(`error[E_DATA_IDX]: ${message}`);
  });

  test('images of a test set must have the shape of the training set', async () => {
    const test: [Buffer, Buffer] = [idx([1, 1, 4], [5, 5, 5, 5]), idx([1], [0])];
    expect(await errorOf(loadImages({ test }))).toBe(
      'error[E_DATA_SHAPE]: test-images has images of 1x4, images of 2x2',
    );
  });

  test('images with labels from 1 are refused, and following either advice leads to a run', async () => {
    const labels = idx([3], [1, 2, 2]);
    expect(await errorOf(loadImages({ labels }, { classes: 2 }))).toBe(
      'error[E_DATA_LABEL]: labels [1]: label 2; valid 0..1 (classes = 2); the labels run from 1 to 2\n' +
        '  help: number the classes from 0, or have one class more, which never occurs: set data.classes: 3, and let the ' +
        'last layer give 3',
    );
    const loaded = await loadImages({ labels }, { classes: 3 });
    expect(loaded.warnings).toEqual([
      'class 0 never occurs: the labels run from 1 to 2; numbered from 0 they need no such outputs',
    ]);
    expect((await loadImages({ labels: idx([3], [0, 1, 1]) })).classNames).toEqual(['0', '1']);
  });

  test('images need labels below data.classes', async () => {
    expect(await errorOf(loadImages({ labels: idx([3], [0, 1, 10]) }, { classes: 10 }))).toBe(
      'error[E_DATA_LABEL]: labels [2]: label 10; valid 0..9 (classes = 10)\n' +
        '  help: correct the label, or set data.classes: 11, and let the last layer give 11',
    );
  });
});

test('a label without a class in a trained model is refused with the advice to number it as in training', async () => {
  const directory = await directoryOf({ images: IMAGES, labels: LABELS, new: idx([3], [1, 0, 9]) });
  const configFor = (labels: string) =>
    configOf(
      {
        train: { images: join(directory, 'images'), labels: join(directory, labels) },
        split: { validation: 0, test: 0 },
      },
      { loss: 'crossEntropy', model: modelOf(2) },
    );
  const fitted = await load(configFor('labels'));
  expect(await errorOf(load(configFor('new'), fitted), directory)).toBe(
    'error[E_DATA_LABEL]: new [2]: label 9; valid 0..1 (classes = 2)\n' +
      '  help: number the classes as in training, from 0 to 1',
  );
});
