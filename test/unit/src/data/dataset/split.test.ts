import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  epochOrder,
  numBatches,
  splitRows,
  type SourceRows,
  type SplitOptions,
} from '../../../../../src/data/dataset/split.ts';
import { errorOf } from '../fixtures.ts';

const OPTIONS: SplitOptions = { split: { validation: 0.1 }, seed: 7, shuffle: true, batchSize: 1 };

function split(rows: Partial<SourceRows> & { train: number }, options: Partial<SplitOptions> = {}) {
  return splitRows({ validation: 0, test: 0, ...rows }, { ...OPTIONS, ...options });
}

function sizes(rows: Partial<SourceRows> & { train: number }, options: Partial<SplitOptions> = {}) {
  const { train, validation, test: tested } = split(rows, options);
  return [train.length, validation.length, tested.length];
}

describe('splitRows', () => {
  test('splitRows gives every row to one split, in ascending order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 20, max: 300 }), fc.integer({ min: 0, max: 99 }), (rows, seed) => {
        const { train, validation, test: tested } = split({ train: rows }, { seed });
        const all = [...train, ...validation, ...tested].sort((a, b) => a - b);
        expect(all).toEqual(Array.from({ length: rows }, (_, row) => row));
        for (const part of [train, validation, tested]) expect(part).toEqual(part.slice().sort());
      }),
    );
  });

  test('splitRows rounds half up and leaves the rest to train', () => {
    expect(sizes({ train: 15 })).toEqual([11, 2, 2]);
    expect(sizes({ train: 25_357 }, { split: { train: 0.8, validation: 0.1, test: 0.1 } })).toEqual([
      20_285, 2536, 2536,
    ]);
    expect(sizes({ train: 10 }, { split: { train: 0.7, validation: 0.2, test: 0.1 } })).toEqual([7, 2, 1]);
  });

  test('splitRows leaves rows unused if the fractions sum to less than 1', () => {
    expect(sizes({ train: 100 }, { split: { train: 0.5, validation: 0.1, test: 0.1 } })).toEqual([
      50, 10, 10,
    ]);
  });

  test('splitRows keeps file order without shuffling: train, validation, test', () => {
    expect(split({ train: 10 }, { shuffle: false, split: { validation: 0.2, test: 0.1 } })).toEqual({
      train: Uint32Array.of(0, 1, 2, 3, 4, 5, 6),
      validation: Uint32Array.of(7, 8),
      test: Uint32Array.of(9),
    });
  });

  test('splitRows takes from train only the splits without a file of their own', () => {
    const { train, validation, test: tested } = split({ train: 10, test: 3 });
    expect([train.length, validation.length]).toEqual([9, 1]);
    expect(tested).toEqual(Uint32Array.of(10, 11, 12));
    expect(split({ train: 10, validation: 2, test: 3 }).validation).toEqual(Uint32Array.of(10, 11));
    expect(sizes({ train: 10, validation: 2 })).toEqual([9, 2, 1]);
    expect(sizes({ train: 10, validation: 2 }, { split: { train: 1, validation: 0.1, test: 0 } })).toEqual([
      10, 2, 0,
    ]);
  });

  test.each([
    [
      { train: 4 },
      {},
      'error[E_CONFIG_SPLIT]: validation 0.1 of 4 rows is 0 rows\n' +
        '  help: raise data.split.validation, or set it to 0',
    ],
    [
      { train: 187 },
      { batchSize: 512 },
      'error[E_CONFIG_BATCH_SIZE]: batchSize 512 > 149 training rows (the split leaves them of 187)\n' +
        '  help: set batchSize to 149 or less',
    ],
    [
      { train: 5, validation: 1, test: 1 },
      { batchSize: 6 },
      'error[E_CONFIG_BATCH_SIZE]: batchSize 6 > 5 training rows\n  help: set batchSize to 5 or less',
    ],
  ])('splitRows refuses to split %j with %j', async (rows, options, message) => {
    expect(await errorOf(Promise.resolve().then(() => split(rows, options)))).toBe(message);
  });
});

describe('epochOrder', () => {
  const train = Uint32Array.of(3, 5, 8, 13, 21, 34);

  test('epochOrder visits every training row once, in another order each epoch', () => {
    const orders = [0, 1].map((epoch) => epochOrder(train, { seed: 7, epoch, shuffle: true }));
    for (const order of orders) expect(order.slice().sort()).toEqual(train);
    expect(orders[0]).not.toEqual(orders[1]);
    expect(epochOrder(train, { seed: 7, epoch: 1, shuffle: true })).toEqual(orders[1]);
  });

  test('epochOrder keeps file order without shuffling', () => {
    expect(epochOrder(train, { seed: 7, epoch: 4, shuffle: false })).toEqual(train);
  });
});

describe('numBatches', () => {
  test('numBatches counts a short last batch', () => {
    expect([0, 1, 255, 256, 257].map((rows) => numBatches(rows, 256))).toEqual([0, 1, 1, 1, 2]);
  });
});
