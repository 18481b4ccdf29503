// The values that cells may hold, and their form in packed rows.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { CLASSES, configOf, directoryOf, errorOf, featuresOf, load, loadText, modelOf } from '../fixtures.ts';

const RAW = { standardize: false } as const;
const ASK_FOR_NUMBER = 'correct the cell, or name the column under data.categorical or data.drop';

describe('numbers', () => {
  test.each(['0x10', '12abc', '1e', '1 2', '--1', '1.2.3'])('the text %s is not a number', async (cell) => {
    expect(await errorOf(loadText(`age,y\n1,2\n3,4\n${cell},6\n`))).toBe(
      `error[E_DATA_NOT_A_NUMBER]: column "age": "${cell}" is not a number (1 of 3 cells)\n` +
        `  --> a.csv:4:1\n  help: ${ASK_FOR_NUMBER}`,
    );
  });

  test.each([
    ['+1', 1],
    ['-.5', -0.5],
    ['5.', 5],
    ['1e3', 1000],
    ['2.5E-1', 0.25],
  ])('the text %s is the number %d', async (cell, value) => {
    expect(featuresOf(await loadText(`x,y\n${cell},2\n`, RAW), 0)).toEqual([value]);
  });

  test.each(['1e999', '-3.5e38'])('the number %s does not fit float32', async (cell) => {
    expect(await errorOf(loadText(`x,y\n1,2\n${cell},4\n`))).toBe(
      `error[E_DATA_OVERFLOW]: column "x": "${cell}" does not fit float32 (max 3.4e38)\n` +
        '  --> a.csv:3:1\n  help: correct the cell, or leave the column out with data.drop',
    );
  });

  test.each([
    ['x', 'error', 'correct the cell, or leave the column out with data.drop'],
    ['x', 'mean', 'correct the cell, empty it, or leave the column out with data.drop'],
    ['x', 'drop-row', 'correct the cell, empty it, or leave the column out with data.drop'],
    ['y', 'mean', 'correct the cell, or leave its row out'],
  ] as const)(
    'Infinity among numbers of %s does not fit float32 (missing: %s)',
    async (name, missing, help) => {
      const row = name === 'x' ? 'Inf,4' : '4,Inf';
      expect(await errorOf(loadText(`x,y\n1,2\n${row}\n`, { missing }))).toBe(
        `error[E_DATA_OVERFLOW]: column "${name}": "Inf" does not fit float32 (max 3.4e38) (1 of 2 cells)\n` +
          `  --> a.csv:3:${row.indexOf('I') + 1}\n  help: ${help}`,
      );
    },
  );

  test('a target that does not fit float32 can only be left out with its row', async () => {
    expect(await errorOf(loadText('x,y\n1,1e39\n'))).toMatch(
      /\n {2}help: correct the cell, or leave its row out$/,
    );
  });

  test.each(['x;y\n1,5;2\n', 'x;y\n1;2\n1,5;2\n'])(
    'a decimal comma is told from a text in %j',
    async (text) => {
      expect(await errorOf(loadText(text, { delimiter: ';' }))).toMatch(
        /^error\[E_DATA_NOT_A_NUMBER\]: column "x": "1,5" looks like a decimal comma\n {2}--> a\.csv:[23]:1\n {2}help: set data\.decimal: ","$/,
      );
    },
  );

  test('decimal commas are read if the config says so', async () => {
    const data = { delimiter: ';', decimal: ',', ...RAW } as const;
    expect(featuresOf(await loadText('x;y\n-1,5e1;2\n', data), 0)).toEqual([-15]);
  });

  test('an integer that float32 rounds is suspected to be an identifier', async () => {
    const { warnings } = await loadText('id,y\n16777216,1\n16777217,2\n');
    expect(warnings[0]).toMatch(
      /\/a\.csv:3 column "id" has 16777217; float32 cannot hold it exactly\. Is it an identifier\?$/,
    );
  });

  test('several bad columns are reported at once, ten by name', async () => {
    const names = Array.from({ length: 12 }, (_, index) => `c${index}`);
    const text = `${names.join(',')},y\n${names.map(() => '1').join(',')},1\n${names.map(() => 'a').join(',')},1\n`;
    const lines = names.slice(0, 10).map((name, index) => {
      return `    a.csv:3:${index * 2 + 1} column "${name}": "a" is not a number (1 of 2 cells)`;
    });
    expect(await errorOf(loadText(text))).toBe(
      [
        'error[E_DATA_NOT_A_NUMBER]: 12 columns have problems',
        ...lines,
        '    and 2 more',
        `  help: ${ASK_FOR_NUMBER}`,
      ].join('\n'),
    );
  });

  test('the place of a bad cell counts quoted fields before it', async () => {
    expect(await errorOf(loadText('a,x,y\n"p, q",1,2\n"p\n""q""",abc,2\n'))).toContain('--> a.csv:4:8\n');
  });
});

describe('missing cells', () => {
  const TEXT = 'x,wall,y\n1,wood,1\nNA,,2\n?,brick,3\n5,wood,4\n';

  test('missing cells are errors by default, with the tokens that were seen', async () => {
    expect(await errorOf(loadText('x,y\n1,1\nNA,2\n,3\n\n?,4\nNA,5\n'))).toBe(
      'error[E_DATA_MISSING]: column "x": 4 of 5 cells missing ("NA" 2, "" 1, "?" 1)\n  --> a.csv:3:1\n' +
        '  help: fill them in, or set data.missing: mean, or data.missing: drop-row',
    );
  });

  test('missing cells of a target can only be filled in by the user, or left out with their rows', async () => {
    expect(await errorOf(loadText('x,y\n1,1\n2,NA\n'))).toBe(
      'error[E_DATA_MISSING]: column "y": 1 of 2 cells missing ("NA" 1)\n  --> a.csv:3:3\n' +
        '  help: fill them in, or set data.missing: drop-row',
    );
  });

  test('missing cells become the training mean, or a category of their own', async () => {
    const loaded = await loadText(TEXT, { missing: 'mean', ...RAW });
    expect(loaded.featureNames).toEqual(['x', 'wall=', 'wall=brick', 'wall=wood']);
    expect([0, 1, 2].map((row) => featuresOf(loaded, row))).toEqual([
      [1, 0, 0, 1],
      [3, 1, 0, 0],
      [3, 0, 1, 0],
    ]);
  });

  test('missing cells are left out with their rows under drop-row, and later messages keep the line numbers', async () => {
    const data = { missing: 'drop-row', ...RAW } as const;
    const loaded = await loadText(TEXT, data);
    expect([...targetView(loaded.dataset)]).toEqual([1, 4]);
    expect(loaded.warnings[0]).toMatch(
      /\/a\.csv: 2 of 4 rows left out for missing cells \(column "x" 2, such as "NA"; column "wall" 1\)$/,
    );
    expect(await errorOf(loadText(`${TEXT}1,wood,0\n`, { ...data, targetTransform: ['log'] }))).toBe(
      'error[E_DATA_LOG]: target "y" is 0; targetTransform log needs values above 0\n  --> a.csv:6\n' +
        '  help: leave log out of data.targetTransform',
    );
  });

  test('missing cells in every row are refused', async () => {
    expect(await errorOf(loadText('x,y\n,1\n,2\n', { missing: 'drop-row' }))).toBe(
      'error[E_DATA_NO_ROWS]: a.csv: every row has a missing cell (column "x" 2)',
    );
    expect(await errorOf(loadText('x,y\n,1\n,2\n', { missing: 'mean' }))).toBe(
      'error[E_DATA_MISSING]: column "x" is empty: all 2 cells are missing ("" 2)\n  --> a.csv:2:1\n' +
        '  help: leave it out with data.drop',
    );
  });

  test('missing cells of a target are never filled in: their rows are left out, with a warning', async () => {
    const loaded = await loadText('x,y\n1,1\n2,\n,3\n', { missing: 'mean', ...RAW });
    expect([...targetView(loaded.dataset)]).toEqual([1, 3]);
    expect([featuresOf(loaded, 0), featuresOf(loaded, 1)]).toEqual([[1], [1]]);
    expect(loaded.warnings[0]).toMatch(/\/a\.csv: 1 of 3 rows left out for missing cells \(column "y" 1\)$/);
  });
});

describe('columns', () => {
  test.each([
    [
      { target: 'lable' },
      'data.target: no column "lable"; columns: x, label, y\n  help: did you mean "label"?',
    ],
    [{ drop: ['zzzz'] }, 'data.drop: no column "zzzz"; columns: x, label, y'],
    [
      { features: ['x'], categorical: ['label'] },
      'data.categorical names "label", which is not a feature\n  help: take it out of data.categorical',
    ],
  ])('the columns %j are refused with a list of those that exist', async (data, message) => {
    expect(await errorOf(loadText('x,label,y\n1,2,3\n', data))).toBe(`error[E_CONFIG_COLUMN]: ${message}`);
  });

  test('the columns must include at least one feature', async () => {
    expect(await errorOf(loadText('x,y\n1,2\n', { drop: ['x'] }))).toBe(
      'error[E_CONFIG_FEATURES]: no feature column is left of x, y',
    );
  });

  test('columns become features in the order of data.features, or of the file', async () => {
    expect((await loadText('b,a,y\n1,2,3\n')).featureNames).toEqual(['b', 'a']);
    expect((await loadText('b,a,y\n1,2,3\n', { features: ['a', 'b'] })).featureNames).toEqual(['a', 'b']);
  });

  test('dropped columns may hold anything', async () => {
    const loaded = await loadText('x,note,y\n1,1e999,2\n2,abc,3\n', { drop: ['note'] });
    expect(loaded.featureNames).toEqual(['x']);
  });

  test('columns of numbers are one-hot encoded when listed as categorical', async () => {
    const loaded = await loadText('x,y\n10,1\n9,2\n10,3\n', { categorical: ['x'] });
    expect(loaded.featureNames).toEqual(['x=10', 'x=9']);
    expect([0, 1].map((row) => featuresOf(loaded, row))).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });

  test('columns of more than 1,000 texts are refused as identifiers', async () => {
    const rows = Array.from({ length: 1001 }, (_, row) => `id${row},${row}\n`).join('');
    expect(await errorOf(loadText(`id,y\n${rows}`))).toBe(
      'error[E_DATA_CATEGORIES]: column "id" has more than 1,000 distinct texts\n  --> a.csv:1002:1\n' +
        '  help: an identifier teaches nothing: leave it out with data.drop; other texts may have learned vectors, or share features: data.columns, kind: embedding or hash',
    );
  });

  test('a column of texts cannot be the target of a regression', async () => {
    expect(await errorOf(loadText('x,y\n1,a\n'))).toBe(
      'error[E_CONFIG_TARGET]: target "y" holds texts; loss mse needs numbers\n' +
        '  help: set loss: crossEntropy to predict classes',
    );
  });

  test('several columns may be targets', async () => {
    const loaded = await loadText('x,y,z\n1,2,3\n4,5,6\n', { target: ['z', 'y'] }, { model: modelOf(2) });
    expect([...targetView(loaded.dataset)]).toEqual([3, 2, 6, 5]);
    expect(loaded.targetNames).toEqual(['z', 'y']);
  });
});

describe('long names', () => {
  const LONG = 'n'.repeat(100_000);
  const lines = (...lines: string[]): string => `${lines.join('\n')}\n`;

  test.each([
    ['no such target', lines(`${LONG},y`, '1,2'), { target: `${LONG}n` }, {}],
    ['a header that is data', lines(`${LONG},${LONG}`, '1,2'), {}, {}],
    ['a text among numbers', lines(`${LONG},y`, '1,1', 'a,2'), {}, {}],
    ['no value', lines(`${LONG},y`, '1,1', ',2'), {}, {}],
    ['a rule that does not fit', lines(`${LONG},y`, '1,1', ',2'), { missing: 'category' }, {}],
    ['a setting without use', lines(`${LONG},y`, '1,1'), { drop: [LONG], categorical: [LONG] }, {}],
    ['texts as target', lines(`x,${LONG}`, '1,a', '2,b'), { target: LONG }, {}],
    ['one class', lines('x,y', `1,${LONG.slice(0, 60_000)}`, `2,${LONG.slice(0, 60_000)}`), {}, CLASSES],
    [
      'an unknown class',
      lines('x,y', `1,${LONG.slice(0, 60_000)}`, '2,b'),
      {},
      { ...CLASSES, classWeights: { [LONG]: 1 } },
    ],
  ] as const)('long names are cut in messages: %s', async (_, text, data, rest) => {
    const error = await errorOf(
      loadText(text, data as Parameters<typeof loadText>[1], {
        ...rest,
        ...('loss' in rest && { model: modelOf(2) }),
      }),
    );
    expect(error).toContain('n…');
    expect(error.length).toBeLessThan(600);
  });

  test('long names are cut in warnings', async () => {
    const { warnings } = await loadText(lines(`${LONG},y`, '1,1', '1,2'));
    expect(warnings).toEqual([
      `column "${'n'.repeat(79)}…" has one value (1) in the training split; standardised to 0`,
    ]);
  });
});

describe('separate files', () => {
  test('separate files keep their rows apart and share what was fitted on train', async () => {
    const directory = await directoryOf({
      'train.csv': 'x,c,y\n1,a,1\n3,b,2\n',
      'validation.csv': 'x,c,y\n5,c,3\n',
      'test.csv': 'x,c,y\n7,b,4\n1,a,1\n',
    });
    const path = (name: string) => join(directory, `${name}.csv`);
    const data = { train: path('train'), validation: path('validation'), test: path('test'), target: 'y' };
    const loaded = await load(configOf(data));
    expect(loaded.splits).toEqual({
      train: Uint32Array.of(0, 1),
      validation: Uint32Array.of(2),
      test: Uint32Array.of(3, 4),
    });
    expect([0, 1, 2, 3].map((row) => featuresOf(loaded, row))).toEqual([
      [-1, 1, 0],
      [1, 0, 1],
      [3, 0, 0],
      [5, 0, 1],
    ]);
    expect(loaded.warnings).toEqual([
      'column "c": 1 row with a value that training never saw; encoded as zeros',
      '1 row of the test split also appears in the training split: test results will look better than they are',
    ]);
  });

  test.each([
    ['y,x\n1,2\n', 'columns are reordered: expected x,y; got y,x'],
    ['x,z,y\n1,2,3\n', 'columns differ from the first file: expected x,y; got x,z,y'],
  ])('separate files must have the same columns, unlike %j', async (text, message) => {
    const directory = await directoryOf({ 'train.csv': 'x,y\n1,2\n', 'test.csv': text });
    const data = { train: join(directory, 'train.csv'), test: join(directory, 'test.csv'), target: 'y' };
    expect(await errorOf(load(configOf(data)), directory)).toBe(
      `error[E_DATA_COLUMNS]: ${message}\n  --> test.csv:1\n` +
        '  help: give all files the same columns in one order',
    );
  });

  test('an error in one of separate files names the file of the bad cell', async () => {
    const directory = await directoryOf({ 'train.csv': 'x,y\n1,2\n', 'test.csv': 'x,y\nlow,2\n' });
    const data = { train: join(directory, 'train.csv'), test: join(directory, 'test.csv'), target: 'y' };
    expect(await errorOf(load(configOf(data)), directory)).toBe(
      'error[E_DATA_NOT_A_NUMBER]: column "x": "low" is not a number (1 of 2 cells)\n' +
        `  --> test.csv:2:1\n  help: ${ASK_FOR_NUMBER}`,
    );
  });
});
