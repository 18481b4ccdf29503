// Feature columns that are neither plain numbers nor categories: dates, booleans, orders, hashes and
// embeddings.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { directoryOf, encodeTable, errorOf, featuresOf, loadText } from '../fixtures.ts';

const RAW = { standardize: false } as const;

/** Loads a table of one feature column `x` with these cells, and a target. */
function loadColumn(cells: readonly string[], data: Partial<ConfigInput['data']> = {}) {
  return loadText(`x,y\n${cells.map((cell, row) => `${cell},${row % 3}\n`).join('')}`, data);
}

/** The features of each row, and their names. */
async function encode(cells: readonly string[], data: Partial<ConfigInput['data']> = RAW) {
  const loaded = await loadColumn(cells, data);
  const rows = cells.map((_, row) => featuresOf(loaded, row));
  return { names: loaded.featureNames, rows, warnings: loaded.warnings };
}

describe('dates', () => {
  it('a date becomes days since 1970, and the parts that vary', async () => {
    expect(await encode(['2024-02-29', '2023-12-31', '1970-01-01', '1969-12-31T00:00Z'])).toEqual({
      names: ['x.days', 'x.year', 'x.month', 'x.day', 'x.weekday'],
      rows: [
        [19_782, 2024, 2, 29, 3],
        [19_722, 2023, 12, 31, 6],
        [0, 1970, 1, 1, 3],
        [-1, 1969, 12, 31, 2],
      ],
      warnings: [],
    });
    expect((await encode(['2024-03-01', '2024-03-05', '2024-03-02'])).names).toEqual([
      'x.days',
      'x.day',
      'x.weekday',
    ]);
  });

  it('a time of day becomes hours, in UTC', async () => {
    const { names, rows } = await encode([
      '2024/1/5 06:30',
      '2024-01-05T23:30:00.000+02:00',
      '2024-01-05 24:00',
    ]);
    expect(names).toEqual(['x.days', 'x.day', 'x.weekday', 'x.hour']);
    expect(rows.map((row) => row.at(-1))).toEqual([6.5, 21.5, 0]);
    expect(rows.map((row) => row[1])).toEqual([5, 5, 6]);
  });

  it('dates are standardized, and a missing one is the mean of the others', async () => {
    const { rows } = await encode(['2024-03-01', '', '2024-03-03'], { missing: 'mean' });
    expect(rows).toEqual(
      [
        [-1, -1, -1],
        [0, 0, 0],
        [1, 1, 1],
      ].map(([a, b, c]) => [a, b, c]),
    );
  });

  it.each([
    ['dmy', '31.12.2024', '1/2/2023'],
    ['mdy', '12/31/2024', '2-1-2023'],
  ] as const)('dates in the order %s are read where the config says so', async (format, first, second) => {
    const { rows } = await encode([first, second], { ...RAW, columns: { x: { kind: 'date', format } } });
    expect(rows.map(([, year, month, day]) => [year, month, day])).toEqual([
      [2024, 12, 31],
      [2023, 2, 1],
    ]);
  });

  it.each(['2023-02-29', '2024-13-01', '2024-01-01 24:01', '2024-01-01T10:00+99:99', 'soon', '5'])(
    '%s among dates is refused with its place',
    async (cell) => {
      expect(await errorOf(loadColumn(['2024-01-01', cell]))).toBe(
        `error[E_DATA_NOT_A_DATE]: column "x": "${cell}" is not a date (1 of 2 cells)\n  --> a.csv:3:1\n` +
          '  help: correct the cell, or name the column under data.categorical or data.drop',
      );
    },
  );

  it('dates remain categories where the config says so, and classes where they are the target', async () => {
    const { names } = await encode(['2024-01-01', '2024-01-02'], { ...RAW, columns: { x: 'categorical' } });
    expect(names).toEqual(['x=2024-01-01', 'x=2024-01-02']);
    const text = 'x,y\n1,2024-01-01\n2,2024-01-02\n';
    const { classNames } = await loadText(
      text,
      {},
      { loss: 'crossEntropy', model: { layers: [{ kind: 'dense', units: 2 }] } },
    );
    expect(classNames).toEqual(['2024-01-01', '2024-01-02']);
  });

  it('a new table is read with the parts and the format of training', async () => {
    const { transforms } = await loadColumn(['1.2.2024', '3.2.2024'], {
      columns: { x: { kind: 'date', format: 'dmy' } },
    });
    const directory = await directoryOf({ 'new.csv': 'x\n2.2.2024\n' });
    const format = { decimal: '.', header: true, missing: 'error' } as const;
    const { rows } = await encodeTable({
      path: join(directory, 'new.csv'),
      transforms,
      format,
      warn: () => undefined,
    });
    expect([...rows]).toEqual([0, 0, 0]);
  });
});

describe('booleans', () => {
  it.each([
    ['true', 'False'],
    ['Yes', 'no'],
    ['Y', 'N'],
    ['T', 'F'],
    ['on', 'off'],
  ])('%s and %s become 1 and 0', async (yes, no) => {
    expect(await encode([yes, no, yes])).toEqual({ names: ['x'], rows: [[1], [0], [1]], warnings: [] });
  });

  it('a third text, or a missing cell, makes categories of them', async () => {
    expect((await encode(['yes', 'no', 'maybe'])).names).toEqual(['x=maybe', 'x=no', 'x=yes']);
    expect((await encode(['yes', 'no', ''], { missing: 'mean' })).names).toEqual(['x=', 'x=no', 'x=yes']);
  });

  it('a third text in another split than training makes categories of them too', async () => {
    const text = 'x,y\nyes,1\nno,2\nmaybe,3\n';
    const { featureNames, warnings } = await loadText(text, { ...RAW, split: { validation: 0, test: 0.33 } });
    expect(featureNames).toEqual(['x=no', 'x=yes']);
    expect(warnings).toEqual(['column "x": 1 row with a value that training never saw; encoded as zeros']);
  });

  it('a column that is to be boolean has its gaps filled in, and no other texts', async () => {
    const data = { ...RAW, missing: 'mean', columns: { x: 'boolean' } } as const;
    expect((await encode(['yes', 'no', '', 'YES', 'on'], data)).rows).toEqual([[1], [0], [0.75], [1], [1]]);
    expect(await errorOf(loadColumn(['yes', 'no', 'maybe'], data))).toBe(
      'error[E_DATA_NOT_A_BOOLEAN]: column "x": "maybe" is neither true nor false\n' +
        '  help: correct the cell, or name the column under data.categorical',
    );
  });
});

describe('texts at the time of prediction', () => {
  it('a boolean may be 1 or 0, and other texts than those of training are refused with their place', async () => {
    const { transforms } = await loadColumn(['yes', 'no']);
    const encodeNew = async (text: string): Promise<number[]> => {
      const directory = await directoryOf({ 'new.csv': text });
      const format = { decimal: '.', header: true, missing: 'error' } as const;
      const request = { path: join(directory, 'new.csv'), transforms, format, warn: () => undefined };
      return [...(await encodeTable(request)).rows];
    };
    expect(await encodeNew('x\n1\n0\nYES\n')).toEqual([1, 0, 1]);
    expect(await errorOf(encodeNew('x\nyes\nmaybe\n'))).toMatch(
      /^error\[E_DATA_CATEGORIES\]: column "x": "maybe" is neither true nor false\n {2}--> .*new\.csv:3/,
    );
  });
});

describe('ordinal columns', () => {
  const columns = { x: { kind: 'ordinal', order: ['S', 'M', 'L'] } } as const;

  it('texts become their places in the order, standardized unless told otherwise', async () => {
    expect(
      (await encode(['L', 'S', 'M'], { ...RAW, columns: { x: { ...columns.x, order: ['S', 'M', 'L'] } } }))
        .rows,
    ).toEqual([[2], [0], [1]]);
    const standardize = {
      columns: { x: { kind: 'ordinal' as const, order: ['S', 'M', 'L'], standardize: false } },
    };
    expect((await encode(['L', 'S', 'S'], standardize)).rows).toEqual([[2], [0], [0]]);
  });

  it('a text that is not in the order is refused', async () => {
    expect(
      await errorOf(loadColumn(['S', 'XL'], { columns: { x: { kind: 'ordinal', order: ['S', 'M', 'L'] } } })),
    ).toBe(
      'error[E_DATA_ORDER]: column "x": "XL" is not in data.columns.x.order\n' +
        '  help: name all texts of the column, from the lowest to the highest',
    );
  });
});

describe('hashed columns', () => {
  it('any number of texts share a fixed number of features, and unknown ones are no trouble', async () => {
    const cells = Array.from({ length: 1500 }, (_, row) => `street ${row}`);
    const loaded = await loadColumn([...cells, ''], {
      missing: 'mean',
      columns: { x: { kind: 'hash', buckets: 8 } },
    });
    expect(loaded.featureNames).toEqual(Array.from({ length: 8 }, (_, bucket) => `x#${bucket}`));
    const rows = [0, 1, 2].map((row) => featuresOf(loaded, row).indexOf(1));
    // FNV-1a, 32 bits, of "street 0", "street 1" and "street 2", modulo 8.
    expect(rows).toEqual([6, 1, 0]);
    expect(featuresOf(loaded, 1500)).toEqual(Array(8).fill(0));
    expect(loaded.warnings).toEqual([]);
  });

  it('the error of too many texts names the way out', async () => {
    const cells = Array.from({ length: 1001 }, (_, row) => `street ${row}`);
    expect(await errorOf(loadColumn(cells))).toMatch(
      /; other texts may have learned vectors, or share features: data\.columns, kind: embedding or hash$/,
    );
  });
});

describe('embedded columns', () => {
  const embedded = (minRows?: number): Partial<ConfigInput['data']> => ({
    missing: 'mean',
    columns: { x: { kind: 'embedding', units: 4, minRows } },
  });

  it('texts of two rows or more have ids of their own in code-unit order, and the others share id 0', async () => {
    const cells = ['b', 'a', 'once', 'b', '', 'a', 'b', ''];
    const loaded = await loadColumn(cells, embedded());
    expect(loaded.transforms.features).toEqual([
      { kind: 'embedding', column: 'x', texts: ['', 'a', 'b'], units: 4 },
    ]);
    expect(cells.map((_, row) => featuresOf(loaded, row))).toEqual(
      [3, 2, 0, 3, 1, 2, 3, 1].map((id) => [id]),
    );
    expect([loaded.featureNames, loaded.warnings]).toEqual([['x'], []]);
    const every = await loadColumn(cells, embedded(1));
    expect(every.transforms.features).toMatchObject([{ texts: ['', 'a', 'b', 'once'] }]);
  });

  it('numbers of a column that is embedded are texts, of which there may be any number', async () => {
    const cells = Array.from({ length: 3000 }, (_, row) => String(7 * (row % 1500)));
    const loaded = await loadColumn(cells, embedded());
    expect(loaded.transforms.features).toMatchObject([{ texts: { length: 1500 } }]);
    expect(featuresOf(loaded, 1)).toEqual(featuresOf(loaded, 1501));
  });

  it('texts that training never saw have id 0, without a warning', async () => {
    const { transforms } = await loadColumn(['a', 'b', 'a', 'b'], embedded());
    const directory = await directoryOf({ 'new.csv': 'x\nb\nz\na\n' });
    const warnings: string[] = [];
    const { rows } = await encodeTable({
      path: join(directory, 'new.csv'),
      transforms,
      format: { decimal: '.', header: true, missing: 'mean' },
      warn: (message) => warnings.push(message),
    });
    expect([...rows]).toEqual([2, 0, 1]);
    expect(warnings).toEqual([]);
  });
});

describe('rules of columns', () => {
  it('a rule may be a mapping, as it is written back', async () => {
    const columns = { x: { kind: 'categorical' } } as const;
    expect((await encode(['2024-01-01', '2024-01-02'], { columns })).names).toEqual([
      'x=2024-01-01',
      'x=2024-01-02',
    ]);
  });

  it('a single column may be left as it is', async () => {
    const data = { columns: { x: { kind: 'number', standardize: false } } } as const;
    expect((await encode(['5', '7'], data)).rows).toEqual([[5], [7]]);
  });

  it('a rule for a column that is not there, or that is no feature, is refused', async () => {
    expect(await errorOf(loadColumn(['5'], { columns: { z: 'date' } }))).toMatch(
      /^error\[E_CONFIG_COLUMN\]: data\.columns: no column "z"; columns: x, y/,
    );
    const other = loadText('w,x,y\n1,2024-01-01,3\n', { columns: { x: 'date' }, features: ['w'] });
    expect(await errorOf(other)).toMatch(
      /^error\[E_CONFIG_COLUMN\]: data\.columns names "x", which is not a feature/,
    );
  });
});
