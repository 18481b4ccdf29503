import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { divideShards } from '../../../../coordinator/scheduler/divide-shards.ts';

const cuts = (from: number, to: number, speeds: readonly number[], groupShards?: number): number[][] =>
  divideShards(
    { from, to },
    speeds.map((speed, id) => ({ id, speed })),
    groupShards,
  ).map((task) => [task.worker, task.from, task.to]);

describe('divideShards', () => {
  test('workers of equal speed get equal subtrees', () => {
    expect(cuts(0, 8, [1, 1])).toEqual([
      [0, 0, 4],
      [1, 4, 8],
    ]);
  });

  test('speeds within 25 % of each other count as equal', () => {
    expect(cuts(0, 8, [1.2, 1])).toEqual(cuts(0, 8, [1, 1]));
  });

  test('the cut stays at a subtree if the ideal place is near', () => {
    expect(cuts(0, 8, [1.4, 1])).toEqual([
      [0, 0, 4],
      [1, 4, 8],
    ]);
  });

  test('a worker with three times the speed gets three times the shards', () => {
    expect(cuts(0, 16, [3, 1])).toEqual([
      [0, 0, 12],
      [1, 12, 16],
    ]);
  });

  test('the slowest worker gets nothing if there are too few shards', () => {
    expect(cuts(3, 5, [2, 1, 3])).toEqual([
      [0, 3, 4],
      [2, 4, 5],
    ]);
  });

  test('the cut is between groups where that makes the slowest task longer by a half at most', () => {
    const ends = (speeds: readonly number[], groupShards?: number): unknown[] =>
      cuts(0, 64, speeds, groupShards).map(([, , end]) => end);
    expect(ends([1, 1, 1, 1, 1])).toEqual([12, 26, 40, 52, 64]);
    expect(ends([1, 1, 1, 1, 1], 8)).toEqual([16, 24, 40, 56, 64]);
    expect(ends([1.6, 1], 8)).toEqual([40, 64]);
    expect(ends([1, 1, 1, 1, 1], 32)).toEqual(ends([1, 1, 1, 1, 1]));
  });

  test('the tasks cover every shard once, and none is empty, for any speeds', () => {
    const speeds = fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.nat(50), fc.integer({ min: 1, max: 1024 }), speeds, (from, count, values) => {
        let next = from;
        for (const [, start, end] of cuts(from, from + count, values) as [number, number, number][]) {
          expect(start).toBe(next);
          expect(end).toBeGreaterThan(start);
          next = end;
        }
        expect(next).toBe(from + count);
      }),
    );
  });
});
