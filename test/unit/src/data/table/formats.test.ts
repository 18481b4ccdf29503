// Tables in formats other than CSV, tables of several files, and files that are no tables.
import fs from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import {
  Decimal,
  Int64,
  makeData,
  makeVector,
  Table,
  tableFromArrays,
  tableToIPC,
  TimestampMillisecond,
  vectorFromArray,
} from 'apache-arrow';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { resolveConfigPaths } from '../../../../../src/config/resolve-paths.ts';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { formatError, type LockstepError } from '../../../../../src/errors.ts';
import { configOf, directoryOf, errorOf, featuresOf, load, NO_SPLIT } from '../fixtures.ts';

const COLUMNS = {
  size: [1.5, 2.25, 1 / 3, -7],
  town: ['Rome', 'Oslo', 'Rome', 'NA'],
  isNew: [true, false, false, true],
  y: [10, 20, 30, 40],
};
type Column = (number | string | boolean | bigint | Date | null)[];
const CSV =
  'size,town,isNew,y\n1.5,Rome,true,10\n2.25,Oslo,false,20\n0.3333333333333333,Rome,false,30\n-7,"NA",true,40\n';

function rowsOf(columns: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  const [first = []] = Object.values(columns);
  return first.map((_, row) =>
    Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[row]])),
  );
}

function jsonLines(rows: readonly unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

function parquet(columns: Readonly<Record<string, Column>>, rowGroupSize = 1000): Uint8Array {
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data }));
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize }));
}

function arrow(): Uint8Array {
  const { size, ...rest } = COLUMNS;
  const table = tableFromArrays({ size: Float64Array.from(size), ...rest });
  return tableToIPC(table, 'file');
}

const FORMATS: Readonly<Record<string, () => string | Uint8Array>> = {
  'lines.jsonl': () => jsonLines(rowsOf(COLUMNS)),
  'lines.ndjson.gz': () => gzipSync(jsonLines(rowsOf(COLUMNS))),
  'marked.jsonl': () => `\uFEFF\n${jsonLines(rowsOf(COLUMNS)).trimEnd().replaceAll('\n', '\r\n\r\n')}`,
  'lines.json': () => jsonLines(rowsOf(COLUMNS)),
  'list.json': () => JSON.stringify(rowsOf(COLUMNS), undefined, 2),
  'columns.json': () => JSON.stringify(COLUMNS),
  'a.parquet': () => parquet(COLUMNS),
  'groups.pq': () => parquet(COLUMNS, 3),
  'a.arrow': () => arrow(),
};

/** Arrow files of 400 rows, `x` = row mod 5 and `y` = row mod 3, made by apache-arrow 21.2; gzip, base64. */
const COMPRESSED = {
  LZ4: 'H4sIAAAAAAACA3WSMU7DQBBFX2zLTGHhFbYiI6UCCdEBEpQQpyJNIEpDyxEo4QaUnApRUtJxBW6wsOOxs4nCt3ZnPZ7/d/avZ6vV/cMFeO/9B1DToaBhTIkjowBeGZB2NSE/wVEgVjOx8Qi8jdaETB90/IfbrdhjbvE6yiVb+ux4n/Z7Hy2a9un7HDhkxPHPtOSgFSoRKickY87gVM/f42b5J+ha5V9t6pzEOlUrpHuUzQb7bhn3ETIhOvW0Zl8dFfXLDX5nXEaccBSx9afFyH9Ev2Y2d360tv7y3q91SZ3pvRj3XftJcNRaX2oXonPMa4z3POyaI+TkdgOhr5n+O7+dFY28QgIAAA==',
  Zstandard:
    'H4sIAAAAAAACA3WSsUpDMRSGv96E3EAvNsNFLgilg4iTVnDo5i0Iugld6uDg6OhYN8EX8CUcBRdfwcHJsUM3cXDzBSRyk9OatvQfcnKS/5z8+ZPhaHQxPgLvvf8ASiIKKrbp4NAUwCULqMhp1rs4CqxwesAucAM8tkhgsOSYmLQ0m3GwEufoS9xL1rK1c9bzOX//9fD3+r79Befwc0KNdTlnV+9qwux5YE7Vw2e9A91l/hMMhK8Zz77Vbb8y+Uv0q+G54FXJVnDKBh/cwkfNcaKlkWZlPpWY+IoNu1rGeL9a5lPv/X9flJN+d1L7FvRkOMrA7wQVNoxpXSV1k6W3MfI2Gc0fGIY/8QfJcUMHGgIAAA==',
} as const;

async function loadFile(name: string, content: string | Uint8Array, data: Partial<ConfigInput['data']> = {}) {
  const directory = await directoryOf({ [name]: content });
  const config = configOf({ file: join(directory, name), target: 'y', ...NO_SPLIT, ...data });
  return load(config);
}

/** The error of a file, without the directory. */
async function refusalOf(
  name: string,
  content: string | Uint8Array,
  data: Partial<ConfigInput['data']> = {},
): Promise<string> {
  return (await errorOf(loadFile(name, content, data))).replaceAll(/\/\S*\/(?=[\w.]+)/g, '');
}

describe('a table in another format than CSV', () => {
  it.each(Object.keys(FORMATS))('the same rows in %s make the same dataset as in CSV', async (name) => {
    const expected = await loadFile('a.csv', CSV);
    const found = await loadFile(name, (FORMATS[name] as () => string | Uint8Array)());
    expect(found.dataset.sha256).toBe(expected.dataset.sha256);
    expect(found.transforms).toEqual(expected.transforms);
    expect(found.warnings).toEqual(expected.warnings);
  });

  it.each(Object.entries(COMPRESSED))('an Arrow file with %s is read', async (_, base64) => {
    const content = gunzipSync(Buffer.from(base64, 'base64'));
    const found = await loadFile('a.feather', content, { standardize: false });
    const rows = Array.from({ length: 400 }, (_, row) => featuresOf(found, row)[0]);
    expect(rows).toEqual(rows.map((_, row) => row % 5));
    expect([...(targetView(found.dataset) as Float32Array)]).toEqual(rows.map((_, row) => row % 3));
  });

  it('null, NaN and a column that a row leaves out are no value, and texts always are one', async () => {
    const lines = jsonLines([
      { y: 1, a: null, b: 'NA' },
      { a: 2, y: 2 },
      { b: '?', y: 3, a: 4 },
    ]);
    const found = await loadFile('a.jsonl', lines, { missing: 'mean', standardize: false });
    expect(found.featureNames).toEqual(['a', 'b=', 'b=?', 'b=NA']);
    expect([0, 1, 2].map((row) => featuresOf(found, row))).toEqual([
      [3, 0, 0, 1],
      [2, 1, 0, 0],
      [4, 0, 1, 0],
    ]);
    const columns = { a: [Number.NaN, 2, 4], y: [1, 2, 3] };
    const nan = await loadFile('a.parquet', parquet(columns), { missing: 'mean', standardize: false });
    expect(featuresOf(nan, 0)).toEqual([3]);
  });

  it('dates, times and whole numbers of 64 bits are read as CSV would have them', async () => {
    const days = [new Date('2024-02-29'), new Date('2024-03-01T12:30:00Z'), null];
    const found = await loadFile('a.parquet', parquet({ day: days, n: [1n, 2n, 4n], y: [1, 2, 3] }), {
      missing: 'mean',
      standardize: false,
    });
    expect(found.featureNames).toEqual(['day.days', 'day.month', 'day.day', 'day.weekday', 'day.hour', 'n']);
    expect(featuresOf(found, 1)).toEqual([19_783 + 12.5 / 24, 3, 1, 4, 12.5, 2].map(Math.fround));
  });

  it('decimals, dates, dictionaries and whole numbers of Arrow are read as what they are', async () => {
    // 123.45, -1.00 and 0.07.
    const digits = Int32Array.of(12_345, 0, 0, 0, -100, -1, -1, -1, 7, 0, 0, 0);
    const days = [new Date('2024-02-29T12:00Z'), null, new Date('2024-03-02')];
    const content = tableToIPC(
      new Table({
        decimal: makeVector(makeData({ type: new Decimal(2, 10, 128), length: 3, data: digits })),
        time: vectorFromArray(days, new TimestampMillisecond()),
        code: vectorFromArray(['a', 'b', 'a']),
        y: vectorFromArray([1n, 2n, 3n], new Int64()),
      }),
      'file',
    );
    const found = await loadFile('a.arrow', content, { missing: 'mean', standardize: false });
    expect(found.featureNames).toEqual([
      'decimal',
      ...['days', 'month', 'day', 'weekday', 'hour'].map((part) => `time.${part}`),
      'code=a',
      'code=b',
    ]);
    const rows = [0, 1, 2].map((row) => featuresOf(found, row));
    expect(rows.map(([decimal]) => decimal)).toEqual([123.45, -1, 0.07].map(Math.fround));
    expect(rows[0]?.slice(1)).toEqual([19_782.5, 2, 29, 3, 12, 1, 0]);
    expect(rows[2]?.slice(1)).toEqual([19_784, 3, 2, 5, 0, 1, 0]);
  });

  it('only the columns that are wanted are read', async () => {
    const content = jsonLines([
      { x: 1, tags: ['a', 'b'], y: 2 },
      { x: 3, tags: [], y: 4 },
    ]);
    expect((await loadFile('a.jsonl', content, { drop: ['tags'] })).featureNames).toEqual(['x']);
  });

  it('files of JSON need not have their columns in one order, nor all of them', async () => {
    const directory = await directoryOf({
      'train.json': '[{"x":1,"z":5,"y":2},{"x":2,"z":6,"y":3}]',
      'test.jsonl': '{"y":4,"x":3}\n',
    });
    const [train, test] = ['train.json', 'test.jsonl'].map((name) => join(directory, name));
    const data = { train, test, target: 'y', missing: 'mean', standardize: false } as const;
    const found = await load(configOf({ ...data, split: { validation: 0 }, shuffle: false }));
    expect(featuresOf(found, 2)).toEqual([3, 5.5]);
  });

  it.each<[string, string | Uint8Array, string]>([
    [
      'a.jsonl',
      '{"x":1,"y":2}\n{"x":1,\n',
      'error[E_DATA_JSON]: this line is no JSON: "{\\"x\\":1,"\n  --> a.jsonl:2\n  help: write one row on each line',
    ],
    [
      'a.jsonl',
      '{"x":1,"y":2}\n[1,2]\n',
      'error[E_DATA_JSON]: a row is a mapping such as {"a": 1, "b": 2}, this is a list of 2\n  --> a.jsonl:2',
    ],
    [
      'a.jsonl',
      '{"x":{"u":1},"y":2}\n',
      'error[E_DATA_NESTED]: column "x" holds a mapping\n  --> a.jsonl:1\n  help: give each of its values a column, or leave it out with data.drop',
    ],
    [
      'a.jsonl',
      '{"x":"low","y":2}\n{"x":5,"y":2}\n',
      'error[E_DATA_NOT_A_NUMBER]: column "x": "low" is not a number (1 of 2 cells)\n  --> a.jsonl:1\n  help: correct the cell, or name the column under data.categorical or data.drop',
    ],
    [
      'a.json',
      '[{"x":1,"y":2},{"x":[1],"y":2}]',
      'error[E_DATA_NESTED]: column "x" holds a list\n  --> a.json, row 1\n  help: give each of its values a column, or leave it out with data.drop',
    ],
    ['a.json', '[{"x":1,"y":2},\n  {"x":1;"y":2}]', 'error[E_DATA_JSON]: not valid JSON'],
    [
      'a.json',
      '{"x":{"0":1,"1":2},"y":{"0":3,"1":4}}',
      'error[E_DATA_JSON]: a.json is an object, not a list of rows\n  help: write a list of mappings',
    ],
    ['a.json', '[{"x":1,"y":2},{"x":1', '--> a.json:1:22'],
    ['a.json', '[]', 'error[E_DATA_NO_ROWS]: a.json is an empty list: it has no rows'],
    ['a.json', '5', 'error[E_DATA_JSON]: a.json is 5, not a list of rows'],
    [
      'a.json',
      '{"nodes":[{"x":1}],"links":[]}',
      'error[E_DATA_JSON]: a.json is an object, not a list of rows',
    ],
    [
      'a.parquet',
      Buffer.from('PAR1 and then nothing that makes sense PAR1'),
      'error[E_DATA_FORMAT]: a.parquet is a Parquet file that is cut short or damaged',
    ],
    [
      'a.arrow',
      arrow().subarray(0, 300),
      'error[E_DATA_FORMAT]: a.arrow is an Arrow file that is cut short or damaged',
    ],
    [
      'a.csv',
      Buffer.from('<!DOCTYPE html><html>'),
      'error[E_DATA_FORMAT]: a.csv is a web page, which is not read\n  help: look at what was saved there: it is no data',
    ],
    [
      'a.xls',
      Buffer.from('d0cf11e0a1b11ae1', 'hex'),
      'error[E_DATA_FORMAT]: a.xls is an Excel workbook, which is not read\n  help: save the sheet as CSV',
    ],
  ])('a file %s that is no table is refused with the reason: %j', async (name, content, message) => {
    expect(await refusalOf(name, content)).toContain(message);
  });

  it('columns of one name, which cannot be told apart, are refused in Parquet as in CSV', async () => {
    const columnData = ['x', 'y', 'x'].map((name) => ({ name, data: [1, 2] }));
    const content = new Uint8Array(parquetWriteBuffer({ columnData }));
    expect(await refusalOf('a.parquet', content)).toContain(
      'error[E_DATA_COLUMNS]: columns 1 and 3 are both "x"',
    );
  });

  it('dates of a format with types need no format of their own', async () => {
    const content = parquet({ day: [new Date('2024-02-29'), new Date('2024-03-02')], y: [1, 2] });
    const columns = { day: { kind: 'date', format: 'dmy' } } as const;
    const found = await loadFile('a.parquet', content, { columns, standardize: false });
    expect(featuresOf(found, 0)).toEqual([19_782, 2, 29, 3]);
    const categories = await loadFile('a.parquet', content, { columns: { day: 'categorical' } });
    expect(categories.featureNames).toEqual(['day=2024-02-29', 'day=2024-03-02']);
  });

  it('an Arrow stream is read as a file is', async () => {
    const { size, ...rest } = COLUMNS;
    const content = tableToIPC(tableFromArrays({ size: Float64Array.from(size), ...rest }), 'stream');
    const expected = await loadFile('a.csv', CSV);
    expect((await loadFile('a.arrows', content)).dataset.sha256).toBe(expected.dataset.sha256);
  });

  it('rows of JSON in a file of another name are refused as what they are', async () => {
    for (const content of ['{"x":1,"y":2}\n', '[{"x":1,"y":2}]', '[\n{"x":1,"y":2}]']) {
      expect(await refusalOf('a.csv', content)).toBe(
        'error[E_DATA_FORMAT]: a.csv looks like JSON, not like CSV\n' +
          '  help: give it a name that ends in .json, or .jsonl for a row on each line',
      );
    }
    expect((await loadFile('a.csv', '[x],y\n1,2\n')).featureNames).toEqual(['[x]']);
  });

  it('rows that together name more than 100,000 columns are refused', async () => {
    const row = (from: number): string =>
      JSON.stringify(
        Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`c${from + index}`, 1])),
      );
    expect(await refusalOf('a.jsonl', `${row(0)}\n${row(60_000)}\n`)).toBe(
      'error[E_DATA_COLUMNS]: 120,000 columns; at most 100,000 columns are read\n  --> a.jsonl:2',
    );
  });

  it('an empty first row of JSON Lines is a row', async () => {
    const found = await loadFile('a.jsonl', '{}\n{"x":1,"y":2}\n', { missing: 'drop-row' });
    expect(found.dataset.layout.numRows).toBe(1);
  });

  it.each([{ delimiter: ';' }, { header: false }])(
    'the setting %j is refused for a Parquet file',
    async (data) => {
      expect(await refusalOf('a.parquet', parquet(COLUMNS), data)).toBe(
        `error[E_CONFIG_FORMAT]: data.${Object.keys(data)[0]} is for CSV, and a.parquet is Parquet\n  help: remove it`,
      );
    },
  );
});

describe('a table of several files', () => {
  const PARTS = { 'part-2.csv': 'x,y\n3,4\n', 'part-1.csv': 'x,y\n1,2\n', 'other.csv': 'x,y\n5,6\n' };
  const loadParts = async (train: string | string[], test?: string) => {
    const directory = await directoryOf(PARTS);
    const under = (name: string): string => join(directory, name);
    const file = typeof train === 'string' ? under(train) : train.map(under);
    const data =
      test === undefined
        ? { file, ...NO_SPLIT }
        : { train: file, test: under(test), split: { validation: 0 } };
    return load(configOf({ ...data, target: 'y', standardize: false, shuffle: false })).catch(
      (error: unknown) => {
        throw new Error(formatError(error as LockstepError).replaceAll(`${directory}/`, ''));
      },
    );
  };

  it('the files of a pattern are read in the order of their names, those of a list in its own', async () => {
    const rows = async (files: string | string[]): Promise<(number | undefined)[]> => {
      const found = await loadParts(files);
      return [...found.splits.train].map((row) => featuresOf(found, row)[0]);
    };
    expect(await rows('part-*.csv')).toEqual([1, 3]);
    expect(await rows('{part-2,other}.csv')).toEqual([5, 3]);
    expect(await rows(['part-2.csv', 'part-1.csv'])).toEqual([3, 1]);
  });

  it('each split may be several files', async () => {
    const { splits } = await loadParts('part-*.csv', 'other.csv');
    expect(splits).toEqual({
      train: Uint32Array.of(0, 1),
      validation: new Uint32Array(0),
      test: Uint32Array.of(2),
    });
  });

  it('a directory whose name looks like a pattern is taken by its name', async () => {
    const base = await directoryOf({});
    for (const name of ['d[2]', 'd2', 'd (x)', 'd {a}!']) {
      fs.mkdirSync(join(base, name));
      fs.writeFileSync(join(base, name, 'part-1.csv'), `x,y\n${name.length},2\n`);
      const config = configOf({ file: 'part-*.csv', target: 'y', ...NO_SPLIT, standardize: false });
      const found = await load(resolveConfigPaths(config, join(base, name)));
      expect([found.dataset.layout.numRows, ...featuresOf(found, 0)]).toEqual([1, name.length]);
    }
    const missing = configOf({ file: 'none.csv', target: 'y' });
    const shown = await errorOf(load(resolveConfigPaths(missing, join(base, 'd[2]'))), base);
    expect(shown).toMatch(/^error\[E_DATA_UNREADABLE\]: cannot read d\[2\]\/none\.csv: no such file/);
  });

  it('a file that is named by a link too is named twice', async () => {
    const directory = await directoryOf({ 'a.csv': 'x,y\n1,2\n' });
    fs.symlinkSync(join(directory, 'a.csv'), join(directory, 'b.csv'));
    const config = configOf({ file: join(directory, '*.csv'), target: 'y', ...NO_SPLIT });
    expect(await errorOf(load(config), directory)).toContain('error[E_CONFIG_FILES]: b.csv is named twice');
  });

  it('a pattern without a file, and a file named twice, are refused', async () => {
    await expect(loadParts('none-*.csv')).rejects.toThrow(
      /^error\[E_DATA_UNREADABLE\]: no file matches none-\*\.csv \(cwd /,
    );
    await expect(loadParts(['part-1.csv', 'part-*.csv'])).rejects.toThrow(
      'error[E_CONFIG_FILES]: part-1.csv is named twice\n  help: name each file once',
    );
  });
});
