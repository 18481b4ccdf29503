import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { divideText } from '../../../../../src/data/text/load-text.ts';
import type { LoadedData } from '../../../../../src/data/load.ts';
import { configOf, directoryOf, errorOf, load, modelOf } from '../fixtures.ts';

const ALL_IN_TRAIN = { split: { validation: 0, test: 0 } };

/** Loads texts from files named after their splits. */
async function loadTexts(
  texts: Partial<Record<'train' | 'validation' | 'test', string | Uint8Array>>,
  data: Partial<ConfigInput['data']> = {},
  rest: Partial<ConfigInput> = {},
) {
  const directory = await directoryOf(texts);
  const sources = Object.keys(texts).map((split) => [split, { text: join(directory, split) }] as const);
  const config = configOf(
    { ...Object.fromEntries(sources), context: 4, ...data },
    { loss: 'crossEntropy', model: modelOf(256), ...rest },
  );
  return load(config).catch(async (error: Error) => {
    throw new Error(await errorOf(Promise.reject(error), directory));
  });
}

/** The windows of a split: `Firs>irst` of the bytes `Firs`, which are followed by `irst`. */
function windowsOf({ dataset, splits }: LoadedData, split: keyof LoadedData['splits']): string[] {
  const [context = 0] = dataset.layout.featureShape;
  const labels = targetView(dataset);
  const textOf = (bytes: Uint8Array | Uint32Array | Float32Array, row: number) =>
    Buffer.from(bytes.slice(row * context, (row + 1) * context)).toString('latin1');
  return Array.from(splits[split], (row) => `${textOf(dataset.blob, row)}>${textOf(labels, row)}`);
}

describe('a text', () => {
  test.each([
    ['plain', Buffer.from('First Citizen:')],
    ['gzip', gzipSync('First Citizen:')],
  ])('a text that is %s becomes windows of bytes, labelled with the bytes after them', async (_, text) => {
    const loaded = await loadTexts({ train: text }, ALL_IN_TRAIN);
    expect(windowsOf(loaded, 'train')).toEqual(['Firs>irst', 't Ci> Cit', 'tize>izen']);
    expect(loaded.dataset.layout).toEqual({
      numRows: 3,
      featureShape: [4],
      featureType: 'u8',
      featureScale: 1,
      targetKind: 'labels',
      targetWidth: 4,
      numClasses: 256,
      hasSampleWeights: false,
    });
    expect(loaded.classNames).toHaveLength(256);
    expect(loaded.featureNames).toEqual(['byte[0]', 'byte[1]', 'byte[2]', 'byte[3]']);
    expect(loaded.transforms).toMatchObject({
      features: [{ kind: 'bytes', context: 4 }],
      target: { kind: 'labels', column: 'next byte', cells: 'index' },
    });
    expect(loaded.warnings).toEqual([]);
  });

  test('a text may hold any bytes, of UTF-8 or not', async () => {
    const { dataset } = await loadTexts({ train: Uint8Array.of(0xff, 0xfe, 0, 0xc3, 0xa9) }, ALL_IN_TRAIN);
    expect([...dataset.blob.subarray(0, 4)]).toEqual([0xff, 0xfe, 0, 0xc3]);
    expect([...targetView(dataset)]).toEqual([0xfe, 0, 0xc3, 0xa9]);
  });

  test('a text needs only one byte more than a window has', async () => {
    expect(windowsOf(await loadTexts({ train: 'abcde' }, ALL_IN_TRAIN), 'train')).toEqual(['abcd>bcde']);
  });

  test('a text is divided into neighbouring parts that meet between windows, whatever the seed', async () => {
    const split = { validation: 0.2, test: 0.2 };
    const text = 'abcdefghijklmnopqrstuvwxyz';
    for (const seed of [1, 2]) {
      const loaded = await loadTexts({ train: text }, { split }, { seed });
      expect(windowsOf(loaded, 'train')).toEqual(['abcd>bcde', 'efgh>fghi', 'ijkl>jklm', 'mnop>nopq']);
      expect(windowsOf(loaded, 'validation')).toEqual(['qrst>rstu']);
      expect(windowsOf(loaded, 'test')).toEqual(['uvwx>vwxy']);
    }
  });

  test('the windows of a text overlap by data.stride in training only', async () => {
    const loaded = await loadTexts(
      { train: 'abcdefghijklm' },
      { stride: 2, split: { validation: 0, test: 0.34 } },
    );
    expect(windowsOf(loaded, 'train')).toEqual(['abcd>bcde', 'cdef>defg', 'efgh>fghi']);
    expect(windowsOf(loaded, 'test')).toEqual(['ijkl>jklm']);
  });

  test('the text of each split may be a file of its own', async () => {
    const loaded = await loadTexts({ train: 'abcdefghi', validation: 'efghabcdabc', test: 'bcdea' });
    expect(windowsOf(loaded, 'train')).toEqual(['abcd>bcde', 'efgh>fghi']);
    expect(windowsOf(loaded, 'validation')).toEqual(['efgh>fgha', 'abcd>bcda']);
    expect(windowsOf(loaded, 'test')).toEqual(['bcde>cdea']);
  });

  test('a text that is both trained and tested on causes a warning', async () => {
    const { warnings } = await loadTexts(
      { train: 'abcdefghi', test: 'abcdefghi' },
      { split: { validation: 0 } },
    );
    expect(warnings).toEqual([
      '2 windows of the test split also appear in the training split: test results will look better than they are',
    ]);
  });

  test('a text with bytes that training never saw causes a warning', async () => {
    const texts = { train: 'abcdefghi', validation: 'abcd\u0001', test: 'ABCDEFGHIJKLM' };
    expect((await loadTexts(texts)).warnings).toEqual([
      '1 byte value of validation never in train: 0x01',
      '13 byte values of test never in train: 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, …',
    ]);
  });

  test.each<[Parameters<typeof loadTexts>, string]>([
    [[{ train: '' }], 'error[E_DATA_EMPTY]: train is empty (0 bytes)'],
    [[{ train: gzipSync('') }], 'error[E_DATA_EMPTY]: train is gzip of an empty file'],
    [
      [{ train: 'abcd' }],
      'error[E_DATA_TEXT]: train holds 4 bytes; a sample takes 5 (data.context 4, and the byte after them)\n' +
        '  help: lower data.context, or use a longer text',
    ],
    [
      [{ train: 'abcdefghi', test: 'a' }],
      'error[E_DATA_TEXT]: test holds 1 byte; a sample takes 5 (data.context 4, and the byte after them)\n' +
        '  help: lower data.context, or use a longer text',
    ],
    [
      [{ train: gzipSync('abcdefghi').subarray(0, -9) }],
      'error[E_DATA_GZIP]: train is damaged gzip: unexpected end of file\n' +
        '  help: run gzip -t train, or fetch the file again',
    ],
    [
      [{ train: 'abcdefghi' }],
      'error[E_CONFIG_SPLIT]: validation 0.1 of 2 windows is 0 windows\n' +
        '  help: raise data.split.validation, or set it to 0',
    ],
    [
      [{ train: 'abcdefghijklm' }, { split: { validation: 0.34, test: 0 } }, { batchSize: 3 }],
      'error[E_CONFIG_BATCH_SIZE]: batchSize 3 > 2 training windows (the split leaves them of 3)\n' +
        '  help: set batchSize to 2 or less',
    ],
    [
      [{ train: 'aaaaaaaaa' }, ALL_IN_TRAIN],
      'error[E_DATA_ONE_CLASS]: every byte of the training text is 0x61; there is nothing to learn',
    ],
  ])('an unusable text is refused: %#', async (parameters, message) => {
    expect(await errorOf(loadTexts(...parameters))).toBe(message);
  });

  test('a text is refused if it is a directory', async () => {
    const directory = await directoryOf({});
    const config = configOf(
      { train: { text: directory }, context: 4 },
      { loss: 'crossEntropy', model: modelOf(256) },
    );
    expect(await errorOf(load(config), directory)).toBe(
      `error[E_DATA_UNREADABLE]: cannot read ${directory}: it is a directory`,
    );
  });

  test('a text is refused before it is packed if its windows would be too large', async () => {
    const loading = loadTexts(
      { train: Buffer.from('ab'.repeat(60_000)) },
      { ...ALL_IN_TRAIN, context: 50_000, stride: 1 },
    );
    expect(await errorOf(loading)).toBe(
      'error[E_DATA_TOO_LARGE]: 50,001 rows of 50,000 features take 11.6 GiB; at most 2 GiB fit\n' +
        '  help: raise data.stride, or use a shorter text',
    );
  });
});

describe('divideText', () => {
  test('divideText keeps every byte that validation and test predict out of training, and predicts it once', () => {
    const sizes = { numBytes: fc.integer({ min: 200, max: 2000 }), context: fc.integer({ min: 2, max: 9 }) };
    fc.assert(
      fc.property(
        fc.record({ ...sizes, stride: fc.integer({ min: 1, max: 9 }) }),
        ({ numBytes, context, stride }) => {
          const train = new Uint8Array(numBytes);
          const options = { split: { validation: 0.1, test: 0.1 }, seed: 7, batchSize: 1, context, stride };
          const parts = divideText({ train, validation: undefined, test: undefined }, options);
          const place = ({ bytes }: { bytes: Uint8Array }) =>
            [bytes.byteOffset, bytes.byteOffset + bytes.length] as const;
          const [trainFrom, trainTo] = place(parts.train);
          const [validationFrom, validationTo] = place(parts.validation);
          const [testFrom, testTo] = place(parts.test);
          expect(trainFrom).toBe(0);
          expect([validationFrom, testFrom]).toEqual([trainTo - 1, validationTo - 1]);
          expect(train.length - testTo).toBeLessThan(context);
          for (const { bytes, numWindows } of [parts.validation, parts.test]) {
            expect(numWindows * context + 1).toBe(bytes.length);
          }
          const last = (parts.train.numWindows - 1) * stride + context + 1;
          expect(last).toBeLessThanOrEqual(parts.train.bytes.length);
          expect(last + stride).toBeGreaterThan(parts.train.bytes.length);
        },
      ),
    );
  });
});
