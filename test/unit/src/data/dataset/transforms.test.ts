import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { inverseTarget, type FittedTransforms } from '../../../../../src/data/dataset/transforms.ts';
import {
  configOf,
  directoryOf,
  encodeTable,
  errorOf,
  featuresOf,
  load,
  loadText,
  modelOf,
  NO_SPLIT,
} from '../fixtures.ts';

const FORMAT = { decimal: '.', header: true, missing: 'error' } as const;

describe('numeric features', () => {
  test('numeric features are standardised by the population deviation of the training rows alone', async () => {
    const data = { split: { train: 0.5, validation: 0, test: 0.5 } };
    const loaded = await loadText('x,y\n1,1\n3,2\n100,3\n-50,4\n', data);
    expect(loaded.splits.train).toEqual(Uint32Array.of(0, 1));
    expect(loaded.transforms.features).toEqual([
      { kind: 'numeric', column: 'x', mean: 2, scale: 1, fill: null },
    ]);
    expect([0, 1, 2, 3].map((row) => featuresOf(loaded, row))).toEqual([[-1], [1], [98], [-52]]);
  });

  test('numeric features with one value become 0, even if n times 0.1 has rounding errors', async () => {
    const loaded = await loadText(`x,y\n${'0.1,1\n'.repeat(10)}`);
    expect(featuresOf(loaded, 3)).toEqual([0]);
    expect(loaded.warnings).toContain(
      'column "x" has one value (0.1) in the training split; standardised to 0',
    );
  });

  test('numeric features stay unchanged without standardisation', async () => {
    expect(featuresOf(await loadText('x,y\n7.5,1\n', { standardize: false }), 0)).toEqual([7.5]);
  });
});

describe('targets', () => {
  test('targets go through log and standardize in order, and back', async () => {
    const loaded = await loadText('x,y\n1,1\n2,100\n', { targetTransform: ['log', 'standardize'] });
    expect([...targetView(loaded.dataset)]).toEqual([-1, 1]);
    const back = [-1, 0, 1].map((value) => inverseTarget(loaded.transforms, 0, value, Math));
    expect(back[0]).toBeCloseTo(1, 12);
    expect(back[1]).toBeCloseTo(10, 12);
    expect(back[2]).toBeCloseTo(100, 12);
  });

  test('targets without transforms are packed unchanged', async () => {
    const loaded = await loadText('x,y\n1,-1.5\n2,3\n');
    expect([...targetView(loaded.dataset)]).toEqual([-1.5, 3]);
    expect(inverseTarget(loaded.transforms, 0, -1.5, Math)).toBe(-1.5);
  });

  test('targets with one value are standardized to 0 and inverted to that value', async () => {
    const loaded = await loadText('x,y\n1,3\n2,3\n', { targetTransform: ['standardize'] });
    expect([...targetView(loaded.dataset)]).toEqual([0, 0]);
    expect(inverseTarget(loaded.transforms, 0, 0.7, Math)).toBe(3);
    expect(loaded.warnings).toContain('target "y" has one value in the training split');
  });

  test.each([
    [['y'], [], 'target "y" has one value in the training split'],
    [['y'], ['log', 'standardize'], 'target "y" has one value in the training split'],
    [['y', 'z'], ['standardize'], 'target "y" and 1 other target have one value in the training split'],
  ] as const)('targets of one value cause a single warning: %j, %j', async (target, steps, warning) => {
    const data = { target: [...target], targetTransform: [...steps] };
    const { warnings } = await loadText('x,y,z\n1,3,4\n2,3,4\n', data, { model: modelOf(target.length) });
    expect(warnings.filter((text) => text.startsWith('target'))).toEqual([warning]);
  });

  test('targets without a logarithm are errors in every split', async () => {
    const data = { targetTransform: ['log' as const], split: { validation: 0, test: 0.5 } };
    expect(await errorOf(loadText('x,y\n1,3\n2,-4\n', data))).toBe(
      'error[E_DATA_LOG]: target "y" is -4; targetTransform log needs values above 0\n  --> a.csv:3\n' +
        '  help: leave log out of data.targetTransform',
    );
  });
});

describe('saved transforms', () => {
  const TRAIN = 'x,wall,y\n1,wood,1\n3,brick,2\n2,wood,3\n';

  async function encodeWith(text: string, missing: 'error' | 'mean' = 'error') {
    const loaded = await loadText(TRAIN, missing === 'mean' ? { missing } : {});
    const transforms = JSON.parse(JSON.stringify(loaded.transforms)) as FittedTransforms;
    const directory = await directoryOf({ 'new.csv': text });
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    const format = { ...FORMAT, missing };
    const encoded = encodeTable({ path: join(directory, 'new.csv'), transforms, format, warn });
    return { loaded, warnings, directory, encoded };
  }

  test('saved transforms encode the training rows to the same bits after a trip through JSON', async () => {
    const { loaded, encoded } = await encodeWith('y,wall,x\n1,wood,1\n2,brick,3\n3,wood,2\n');
    const { rows, numRows, featureWidth } = await encoded;
    expect({ numRows, featureWidth }).toEqual({ numRows: 3, featureWidth: 3 });
    expect([...rows]).toEqual([0, 1, 2].flatMap((row) => featuresOf(loaded, row)));
  });

  test('saved transforms encode texts that training never saw as zeros, with a warning', async () => {
    const { encoded, warnings } = await encodeWith('x,wall\n2,stone\n');
    expect([...(await encoded).rows]).toEqual([0, 0, 0]);
    expect(warnings).toEqual(['column "wall": 1 row with a value that training never saw; encoded as zeros']);
  });

  test('saved transforms fill a missing cell with the training mean', async () => {
    const { encoded } = await encodeWith('x,wall\n,wood\n', 'mean');
    expect([...(await encoded).rows]).toEqual([0, 0, 1]);
  });

  test('saved transforms refuse a table that lacks a column', async () => {
    const { encoded, directory } = await encodeWith('x\n2\n');
    expect(await errorOf(encoded, directory)).toBe(
      'error[E_DATA_COLUMNS]: no column "wall", which the model was trained on\n' +
        '  help: give the table the columns of the training data',
    );
  });

  test('saved transforms refuse another delimiter', async () => {
    const { encoded, directory } = await encodeWith('x;wall\n2;wood\n');
    expect(await errorOf(encoded, directory)).toBe(
      'error[E_DATA_DELIMITER]: only 1 column found, and the first row contains ";"\n  --> new.csv:1\n' +
        '  help: write the file as the training data were',
    );
  });

  // Help that names a field of a config would be of no use: the model has read its columns already.
  test.each([
    [
      'low,wood',
      'error[E_DATA_NOT_A_NUMBER]: column "x": "low" is not a number (1 of 1 cell)',
      'correct the cell: the model was trained on numbers in this column',
    ],
    [
      '"1,5",wood',
      'error[E_DATA_NOT_A_NUMBER]: column "x": "1,5" looks like a decimal comma',
      'write it as the training data were',
    ],
    [
      '1e39,wood',
      'error[E_DATA_OVERFLOW]: column "x": "1e39" does not fit float32 (max 3.4e38)',
      'correct the cell',
    ],
    [
      'inf,wood',
      'error[E_DATA_OVERFLOW]: column "x": "inf" does not fit float32 (max 3.4e38) (1 of 1 cell)',
      'correct the cell',
    ],
    [
      '-,wood',
      'error[E_DATA_MISSING]: column "x": 1 of 1 cell missing ("-" 1)',
      'fill them in, or train with data.missing: mean',
    ],
  ])('saved transforms refuse the row %s, because training had numbers', async (row, message, help) => {
    const { encoded, directory } = await encodeWith(`x,wall\n${row}\n`);
    expect(await errorOf(encoded, directory)).toBe(`${message}\n  --> new.csv:2:1\n  help: ${help}`);
  });
});

describe('classes', () => {
  const toClasses = (units: number) => ({ loss: 'crossEntropy' as const, model: modelOf(units) });

  test('classes are the texts of the target in code-unit order', async () => {
    const loaded = await loadText('x,y\n1,b\n2,a\n3,B\n', {}, toClasses(3));
    expect(loaded.classNames).toEqual(['B', 'a', 'b']);
    expect([...targetView(loaded.dataset)]).toEqual([2, 1, 0]);
    expect(loaded.dataset.layout).toMatchObject({ targetKind: 'labels', targetWidth: 1, numClasses: 3 });
  });

  test('classes are the integers up to the highest, or up to data.classes', async () => {
    const text = 'x,y\n1,0\n2,2\n3,2\n';
    expect((await loadText(text, {}, toClasses(3))).classNames).toEqual(['0', '1', '2']);
    expect((await loadText(text, { classes: 4 }, toClasses(4))).classNames).toHaveLength(4);
  });

  test.each([
    ['2.5', 10, 'label 2.5 is not an integer', ''],
    ['10', 10, 'label 10; valid 0..9 (classes = 10)', ''],
    [
      '-1',
      undefined,
      'label -1; valid 0..65535 (at most 65,536 classes)',
      '; one that is not to count is data.ignoreIndex: -1',
    ],
  ])('the label %s is refused as a class', async (label, classes, message, more) => {
    const data = classes === undefined ? {} : { classes };
    expect(await errorOf(loadText(`x,y\n1,0\n2,${label}\n`, data, toClasses(10)))).toBe(
      `error[E_DATA_LABEL]: ${message}\n  --> a.csv:3\n` +
        `  help: number the classes from 0, or give them names${more}`,
    );
  });

  test('the number of classes must be at least two', async () => {
    expect(await errorOf(loadText('x,y\n1,a\n2,a\n', {}, toClasses(2)))).toBe(
      'error[E_DATA_ONE_CLASS]: every training row is class "a"; classification needs at least two',
    );
  });

  test('classes that training lacks are named in a warning', async () => {
    const data = { split: { train: 0.5, validation: 0.25, test: 0.25 } };
    const { warnings } = await loadText('x,y\n1,a\n2,b\n3,a\n4,c\n', data, toClasses(3));
    expect(warnings).toContain('class c appears in test, never in train');
  });

  test('the only class of a split is named in a warning, with the metric that is missing', async () => {
    const text = 'x,y\n1,a\n2,b\n3,a\n4,b\n5,b\n6,b\n7,a\n8,b\n';
    const data = { split: { train: 0.5, validation: 0.25, test: 0.25 } };
    expect((await loadText(text, data, toClasses(2))).warnings).toEqual([
      'every row of validation is class "b": its metrics say little, and there is no rocAuc',
    ]);
  });

  test('the number of classes must be the one in data.classes', async () => {
    expect(await errorOf(loadText('x,y\n1,a\n2,b\n', { classes: 3 }, toClasses(3)))).toBe(
      'error[E_CONFIG_CLASSES]: data.classes is 3, target "y" has 2 distinct texts\n' +
        '  help: leave data.classes out to have them counted',
    );
  });
});

test('the hash of packed rows reveals one changed cell', async () => {
  const hashes = await Promise.all(
    ['x,y\n1,2\n3,4\n', 'x,y\n1,2\n3,4\n', 'x,y\n1,2\n3,5\n'].map(async (text) => {
      const directory = await directoryOf({ 'a.csv': text });
      const config = configOf({ file: join(directory, 'a.csv'), target: 'y', ...NO_SPLIT });
      return (await load(config)).dataset.sha256;
    }),
  );
  expect(hashes[1]).toBe(hashes[0]);
  expect(hashes[2]).not.toBe(hashes[0]);
});

describe('new rows for a trained model', () => {
  test.each([
    [
      'a target without a logarithm',
      { target: 'y', targetTransform: ['log'] },
      'x,y,z\n1,0,1\n',
      'error[E_DATA_LOG]: target "y" is 0; targetTransform log needs values above 0\n  --> new:2\n' +
        '  help: correct the cell, or leave its row out',
    ],
    [
      'rows that weigh nothing',
      { target: 'y', features: ['z'], weights: 'x' },
      'x,y,z\n0,1,1\n',
      'error[E_DATA_WEIGHTS]: all 1 row weigh 0\n' +
        '  help: the model was trained with data.weights, classWeights and data.ignoreIndex: add rows that count by them',
    ],
    [
      'columns between spaces',
      { target: 'y', delimiter: ' ' },
      'x  y\n1  2\n',
      'error[E_DATA_DELIMITER]: the columns are divided by several spaces; data.delimiter " " is a single one\n' +
        '  --> new:1\n  help: write the file as the training data were',
    ],
  ] as const)('new rows are refused with advice that needs no config: %s', async (_, data, rows, error) => {
    const table = 'x,y,z\n1,2,3\n2,3,4\n'.replaceAll(',', 'delimiter' in data ? data.delimiter : ',');
    const directory = await directoryOf({ table, new: rows });
    const configFor = (file: string) =>
      configOf({ ...data, ...NO_SPLIT, train: join(directory, file) } as Parameters<typeof configOf>[0]);
    const fitted = await load(configFor('table'));
    expect(await errorOf(load(configFor('new'), fitted), directory)).toBe(error);
  });

  test('a new text that is too short is refused with advice that needs no config', async () => {
    const directory = await directoryOf({ text: 'abcdefgh', new: 'ab' });
    const configFor = (file: string) =>
      configOf(
        { train: { text: join(directory, file) }, context: 4, ...NO_SPLIT },
        { loss: 'crossEntropy', model: { layers: [{ kind: 'embedding', vocabulary: 256, units: 256 }] } },
      );
    const fitted = await load(configFor('text'));
    expect(await errorOf(load(configFor('new'), fitted), directory)).toBe(
      "error[E_DATA_TEXT]: new holds 2 bytes; a sample takes 5 (the model's 4, and the byte after them)\n" +
        '  help: use a longer text',
    );
  });

  test('the warning about a header of new rows that may be data needs no config', async () => {
    const directory = await directoryOf({ table: '1,2\n3,4\n5,6\n' });
    const config = configOf({ train: join(directory, 'table'), target: '2', ...NO_SPLIT });
    const { warnings } = await load(config, await load(config));
    expect(warnings[0]).toMatch(/\(1,2\); if it is data, write the header of the training data above it$/);
  });
});
