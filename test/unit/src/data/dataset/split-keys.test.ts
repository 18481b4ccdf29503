// Splits that follow classes, groups or time.
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { validateConfig } from '../../../../../src/config/validate.ts';
import type { LoadedData } from '../../../../../src/data/load.ts';
import { CLASSES, errorOf, loadSamples, loadText, modelOf } from '../fixtures.ts';

const SHARES = { validation: 0.2, test: 0.2 } as const;
const SPLITS = ['train', 'validation', 'test'] as const;

/** Loads 100 rows: x counts them, `key` is a column of these cells, y repeats 0, 0, 0, 0, 1. */
function loadRows(
  keyOf: (row: number) => string | number,
  split: NonNullable<ConfigInput['data']>['split'],
  rest: Partial<ConfigInput> = {},
) {
  const rows = Array.from({ length: 100 }, (_, row) => `${row},${keyOf(row)},${row % 5 === 4 ? 1 : 0}\n`);
  return loadText(
    `x,key,y\n${rows.join('')}`,
    { split: { ...SHARES, ...split }, shuffle: true, drop: [] },
    rest,
  );
}

function each<T>({ splits }: LoadedData, valueOf: (row: number) => T): Record<(typeof SPLITS)[number], T[]> {
  const entries = SPLITS.map((name) => [name, Array.from(splits[name], valueOf)] as const);
  return Object.fromEntries(entries) as Record<(typeof SPLITS)[number], T[]>;
}

describe('a stratified split', () => {
  it('each split has the same share of every class, and no row twice', async () => {
    const loaded = await loadRows((row) => row, { stratify: true }, { ...CLASSES, model: modelOf(2) });
    const { train, validation, test } = each(loaded, (row) => row);
    expect([...train, ...validation, ...test].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 100 }, (_, row) => row),
    );
    const ones = each(loaded, (row) => (row % 5 === 4 ? 1 : 0));
    expect(SPLITS.map((name) => [ones[name].length, ones[name].filter(Boolean).length])).toEqual([
      [60, 12],
      [20, 4],
      [20, 4],
    ]);
  });

  it('samples in memory can be stratified too', async () => {
    const targets = Uint8Array.from({ length: 50 }, (_, row) => (row < 10 ? 1 : 0));
    const loaded = await loadSamples(
      {
        train: { features: new Float32Array(100), shape: [50, 2], targets: [...targets] },
        split: { ...SHARES, stratify: true },
      },
      { ...CLASSES, model: modelOf(2) },
    );
    const ones = each(loaded, (row) => targets[row] as number);
    expect(SPLITS.map((name) => ones[name].filter(Boolean).length)).toEqual([6, 2, 2]);
  });
});

describe('a grouped split', () => {
  it('rows of one group stay together, in splits near the sizes that are asked for', async () => {
    const loaded = await loadRows((row) => `g${row % 20}`, { group: 'key' });
    const groups = each(loaded, (row) => row % 20);
    const sets = SPLITS.map((name) => new Set(groups[name]));
    expect(sets.map(({ size }) => size)).toEqual([12, 4, 4]);
    expect(new Set(sets.flatMap((set) => [...set])).size).toBe(20);
    expect(loaded.featureNames).toEqual(['x']);
  });

  it('groups that leave nothing for a split are refused', async () => {
    expect(await errorOf(loadRows((row) => (row < 99 ? 'a' : 'b'), { group: 'key' }))).toMatch(
      /^error\[E_CONFIG_SPLIT\]: the groups of data\.split\.group are too large: no whole one is left for \w+ \(\d+ rows? wanted\)/,
    );
  });
});

describe('a split by time', () => {
  it.each<[string, (row: number) => string | number]>([
    ['numbers', (row) => 1000 - row],
    ['dates', (row) => `${2100 - row}-01-01`],
  ])('the latest rows are the test split, by %s', async (_, keyOf) => {
    const rows = each(await loadRows(keyOf, { time: 'key' }), (row) => row);
    expect([
      Math.min(...rows.train),
      Math.max(...rows.validation),
      Math.min(...rows.validation),
      Math.max(...rows.test),
    ]).toEqual([40, 39, 20, 19]);
  });

  it('texts are no times', async () => {
    expect(await errorOf(loadRows((row) => `day ${row % 7}`, { time: 'key' }))).toBe(
      'error[E_CONFIG_SPLIT]: data.split.time: column "key" holds texts, not numbers or dates\n' +
        '  help: write dates as 2024-12-31, or say in data.columns how they are read',
    );
  });
});

describe('folds', () => {
  const NUM_ROWS = 100;
  const rowsOf = async (split: NonNullable<ConfigInput['data']>['split'], of: number) => {
    const keyOf = (row: number): number => row % 23;
    const loaded = await Promise.all(
      Array.from({ length: of }, (_, at) => {
        const { validation } = SHARES;
        return loadRows(keyOf, { ...split, validation, test: undefined, fold: { number: at + 1, of } }, {});
      }),
    );
    return loaded.map((fold) => each(fold, (row) => row));
  };

  it.each([{}, { group: 'key' }])('split by %j, each row is in the test split of one fold', async (split) => {
    const folds = await rowsOf(split, 7);
    const tested = folds.flatMap(({ test }) => test);
    expect(tested.toSorted((a, b) => a - b)).toEqual(Array.from({ length: NUM_ROWS }, (_, row) => row));
    for (const { train, validation, test } of folds) {
      expect(new Set([...train, ...validation, ...test]).size).toBe(NUM_ROWS);
      expect(train.length + validation.length + test.length).toBe(NUM_ROWS);
    }
  });

  it('folds differ by at most one row, and keep groups whole', async () => {
    const sizes = (await rowsOf({}, 7)).map(({ test }) => test.length);
    expect([Math.min(...sizes), Math.max(...sizes)]).toEqual([14, 15]);
    for (const { train, validation, test } of await rowsOf({ group: 'key' }, 3)) {
      const groups = [train, validation, test].map((rows) => new Set(rows.map((row) => row % 23)));
      expect(groups.reduce((sum, { size }) => sum + size, 0)).toBe(23);
    }
  });

  it('stratified folds have the same shares of the classes', async () => {
    const split = { stratify: true, validation: 0.1, test: undefined, fold: { number: 2, of: 5 } } as const;
    const loaded = await loadRows((row) => row, split, { ...CLASSES, model: modelOf(2) });
    const ones = each(loaded, (row) => (row % 5 === 4 ? 1 : 0));
    expect(SPLITS.map((name) => [ones[name].length, ones[name].filter(Boolean).length])).toEqual([
      [70, 14],
      [10, 2],
      [20, 4],
    ]);
  });
});

describe('the config of a split', () => {
  const base = {
    name: 't',
    data: { file: 'f', target: 'y' },
    model: modelOf(2),
    loss: 'crossEntropy',
  } as const;

  it.each<[ConfigInput['data']['split'], string, string]>([
    [{ group: 'a', time: 'b' }, 'crossEntropy', 'does not go with group: rows are split by one of them'],
    [{ fold: { number: 3, of: 2 } }, 'mse', 'is 3 of 2'],
    [{ fold: { number: 1, of: 2 }, test: 0.2 }, 'mse', 'does not go with data.split.test'],
    [{ fold: { number: 1, of: 2 }, time: 'key' }, 'mse', 'does not go with data.split.time'],
    [{ fold: { number: 1, of: 2 }, validation: 0.5 }, 'mse', 'validation 0.5 and test 0.5 leave nothing'],
    [{ stratify: true }, 'mse', 'only goes with loss crossEntropy or binaryCrossEntropy'],
  ])('%j with loss %s is refused', (split, loss, message) => {
    const result = validateConfig({ ...base, data: { ...base.data, split }, loss: loss as 'mse' });
    expect(JSON.stringify(result)).toContain(message);
  });

  it('groups are for tables', () => {
    const data = { train: { folder: 'f' }, split: { group: 'a' } };
    expect(JSON.stringify(validateConfig({ ...base, data }))).toContain(
      'is for tables, but data.train is images',
    );
  });
});
