// The values that a search tries: flags to dimensions, draws and grids.
import { describe, expect, it } from 'vitest';
import { drawPoint, gridPoints, overridesOf, readDimensions } from '../../../../src/config/search-space.ts';
import { errorOf } from '../data/fixtures.ts';

const FLAGS = ['a.rate=log:1e-4..0.1', 'b=1..3', 'c=[x, 2, {k: 1}]', 'd=-0.5..0.5'];

function draw(flags: readonly string[], trial: number, seed = 0) {
  return drawPoint(readDimensions(flags), { seed, trial, math: Math });
}

describe('the values of a search', () => {
  it('lists are choices, and ranges are whole numbers if both ends are', () => {
    expect(readDimensions(FLAGS)).toEqual([
      { key: 'a.rate', kind: 'range', low: 1e-4, high: 0.1, isLog: true, isWhole: false },
      { key: 'b', kind: 'range', low: 1, high: 3, isLog: false, isWhole: true },
      { key: 'c', kind: 'choice', values: ['x', 2, { k: 1 }] },
      { key: 'd', kind: 'range', low: -0.5, high: 0.5, isLog: false, isWhole: false },
    ]);
  });

  it('a trial has the same values in every search with its seed, and others with another', () => {
    expect(draw(FLAGS, 7)).toEqual(draw(FLAGS, 7));
    expect(draw(FLAGS, 7)).not.toEqual(draw(FLAGS, 8));
    expect(draw(FLAGS, 7)).not.toEqual(draw(FLAGS, 7, 1));
    // The values of a key do not depend on those after it.
    expect(draw(FLAGS.slice(0, 1), 7)).toEqual({ 'a.rate': draw(FLAGS, 7)['a.rate'] });
  });

  it('draws are spread over a range, by their logarithm where it says so', () => {
    const points = Array.from({ length: 3000 }, (_, index) => draw(FLAGS, index + 1));
    const share = (isCounted: (point: (typeof points)[0]) => boolean): number =>
      points.filter(isCounted).length / points.length;
    // Five deviations of a share of a half, a third and a third of 3,000.
    expect(share((point) => (point['a.rate'] as number) < Math.sqrt(1e-5))).toBeCloseTo(1 / 2, 1);
    expect(share(({ b }) => b === 1)).toBeCloseTo(1 / 3, 1);
    expect(share(({ b }) => b === 3)).toBeCloseTo(1 / 3, 1);
    expect(share(({ c }) => c === 2)).toBeCloseTo(1 / 3, 1);
    for (const { d } of points) expect(Math.abs(d as number)).toBeLessThanOrEqual(0.5);
    expect(new Set(points.map(({ b }) => b))).toEqual(new Set([1, 2, 3]));
  });

  it('a grid has all combinations, the last key fastest, as flags for a config', () => {
    const points = gridPoints(readDimensions(['a=[1, 2]', 'b.c=[x, [3]]']));
    expect(points.map(overridesOf)).toEqual([
      ['a=1', 'b.c="x"'],
      ['a=1', 'b.c=[3]'],
      ['a=2', 'b.c="x"'],
      ['a=2', 'b.c=[3]'],
    ]);
  });

  it.each([
    ['rate', 'expected KEY=VALUES'],
    ['=[1]', 'expected KEY=VALUES'],
    ['rate=0.1', 'neither a list nor a range'],
    ['rate=[]', 'neither a list nor a range'],
    ['rate=2..1', 'no range from a number to a greater one'],
    ['rate=a..b', 'no range from a number to a greater one'],
    ['rate=log:0..1', 'a logarithmic range starts above 0'],
  ])('the flag %s is refused', async (flag, message) => {
    expect(await errorOf(Promise.resolve().then(() => readDimensions([flag])))).toContain(message);
  });

  it('a key given twice, and a range in a grid, are refused', async () => {
    const refused = (action: () => unknown) => errorOf(Promise.resolve().then(action));
    expect(await refused(() => readDimensions(['a=[1]', 'a=[2]']))).toContain('--vary a is given twice');
    expect(await refused(() => gridPoints(readDimensions(['a=1..2'])))).toContain('a grid takes lists');
    const many = ['a', 'b', 'c', 'd', 'e'].map(
      (key) => `${key}=[${Array.from({ length: 7 }).fill(1).join()}]`,
    );
    expect(await refused(() => gridPoints(readDimensions(many)))).toContain('more than 10000 points');
  });
});
