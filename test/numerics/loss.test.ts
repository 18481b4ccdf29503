// Losses and their gradients: mse to the bit, softmax with cross-entropy within stated errors.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { meanSquaredError, softmaxCrossEntropy } from '../helpers/twins/loss.ts';
import type { RowLosses } from '../helpers/twins/loss.ts';
import { EXTREMES, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257];
const ROWS = [1, 2, 5];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

type Kernel = 'mseForwardBackward' | 'softmaxCrossEntropyForwardBackward';

function run(
  kernel: Kernel,
  y: Float32Array,
  targets: Float32Array | Uint32Array,
  columns: number,
): RowLosses {
  const rows = y.length / columns;
  const dY = arena.room(4 * y.length);
  const rowLoss = arena.room(8 * rows);
  arena.kernels[kernel](arena.put(y), arena.put(targets), rows, columns, dY, rowLoss);
  return { losses: arena.f64(rowLoss, rows), dY: arena.f32(dY, y.length) };
}

/** Gradient of the summed losses by central differences of the float64 twin. */
function centralDifferences(lossOf: (y: Float64Array) => Float64Array, y: Float32Array): number[] {
  const h = 1e-6;
  const at = Float64Array.from(y);
  const total = (): number => lossOf(at).reduce((sum, value) => sum + value, 0);
  return Array.from(at, (value, i) => {
    at[i] = value + h;
    const above = total();
    at[i] = value - h;
    const below = total();
    at[i] = value;
    return (above - below) / (2 * h);
  });
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return Math.max(...Array.from(actual, (value, i) => Math.abs(value - (expected[i] as number))));
}

describe('mseForwardBackward', () => {
  it('gives the bits of its twin at every width', () => {
    for (const columns of WIDTHS) {
      for (const rows of ROWS) {
        const y = randomValues(columns, rows * columns);
        const targets = randomValues(columns + 1, rows * columns);
        const actual = run('mseForwardBackward', y, targets, columns);
        const expected = meanSquaredError(single, y, targets, columns);
        expectSameBits(actual.dY as Float32Array, expected.dY, `dY ${rows} x ${columns}`);
        expect(actual.losses).toEqual(expected.losses);
        arena.reset();
      }
    }
  });

  it('treats extreme values as its twin does', () => {
    const y = Float32Array.from(EXTREMES.flatMap((a) => EXTREMES.map(() => a)));
    const targets = Float32Array.from(EXTREMES.flatMap(() => EXTREMES));
    const actual = run('mseForwardBackward', y, targets, 1);
    const expected = meanSquaredError(single, y, targets, 1);
    expectSameBits(actual.dY as Float32Array, expected.dY, 'dY');
    expect(actual.losses).toEqual(expected.losses);
  });

  it('has the gradient of its loss, by central differences', () => {
    const y = randomValues(1, 15);
    const targets = randomValues(2, 15);
    const expected = centralDifferences((at) => meanSquaredError(double, at, targets, 5).losses, y);
    // Cancellation leaves 2^-53 / h = 1e-10 of a loss of about 1.
    expect(largestDifference(meanSquaredError(double, y, targets, 5).dY, expected)).toBeLessThan(1e-8);
  });

  it('may write its gradient over the outputs, or give the loss alone', () => {
    const y = randomValues(1, 10);
    const targets = randomValues(2, 10);
    const expected = run('mseForwardBackward', y, targets, 5);
    const [yPtr, targetPtr, losses] = [arena.put(y), arena.put(targets), arena.room(16)];
    arena.kernels.mseForwardBackward(yPtr, targetPtr, 2, 5, 0, losses);
    expect(arena.f64(losses, 2)).toEqual(expected.losses);
    expectSameBits(arena.f32(yPtr, 10), y, 'y');
    arena.kernels.mseForwardBackward(yPtr, targetPtr, 2, 5, yPtr, losses);
    expectSameBits(arena.f32(yPtr, 10), expected.dY, 'dY in place');
  });
});

describe('softmaxCrossEntropyForwardBackward', () => {
  it('agrees with its float64 twin at every width', () => {
    for (const classes of WIDTHS) {
      for (const rows of ROWS) {
        const y = randomValues(classes, rows * classes).map((value) => 10 * value);
        const labels = randomWords(classes, rows).map((word) => word % classes);
        const actual = run('softmaxCrossEntropyForwardBackward', y, labels, classes);
        const expected = softmaxCrossEntropy(double, y, labels, classes);
        // The argument's rounding (up to 20 x 2^-24), exp (1 ulp), a sum of up to 257 / 4 + 3 additions, the
        // reciprocal and a product: each term is below 1, so the sum bounds the absolute error.
        const tolerance = (20 + 2 + 68 + 2) * 2 ** -24;
        expect(largestDifference(actual.dY, expected.dY)).toBeLessThan(tolerance);
        expect(largestDifference(actual.losses, expected.losses)).toBeLessThan(tolerance);
        arena.reset();
      }
    }
  });

  it('has the gradient of its loss, by central differences', () => {
    const y = randomValues(1, 15).map((value) => 3 * value);
    const labels = Uint32Array.of(0, 4, 2);
    const expected = centralDifferences((at) => softmaxCrossEntropy(double, at, labels, 5).losses, y);
    expect(largestDifference(softmaxCrossEntropy(double, y, labels, 5).dY, expected)).toBeLessThan(1e-8);
  });

  it('does not overflow for large logits, and its loss then is their difference', () => {
    const { losses, dY } = run(
      'softmaxCrossEntropyForwardBackward',
      Float32Array.of(3e38, -3e38),
      Uint32Array.of(1),
      2,
    );
    expect(losses[0]).toBe(Math.fround(3e38) * 2);
    expectSameBits(dY as Float32Array, [1, -1], 'dY');
  });

  it('gives NaN, never a plausible loss, for a row with NaN or +Infinity', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (let column = 0; column < 7; column++) {
        const y = randomValues(1, 7);
        y[column] = bad;
        const { losses, dY } = run('softmaxCrossEntropyForwardBackward', y, Uint32Array.of(3), 7);
        expect(losses[0]).toBeNaN();
        expect(dY.every(Number.isNaN)).toBe(true);
        arena.reset();
      }
    }
  });

  it('counts a logit of -Infinity as impossible', () => {
    const y = Float32Array.of(0, Number.NEGATIVE_INFINITY, 0);
    const possible = run('softmaxCrossEntropyForwardBackward', y, Uint32Array.of(0), 3);
    expect(possible.losses[0]).toBeCloseTo(Math.LN2, 7);
    expectSameBits(possible.dY as Float32Array, [-0.5, 0, 0.5], 'dY');
    const impossible = run('softmaxCrossEntropyForwardBackward', y, Uint32Array.of(1), 3);
    expect(impossible.losses[0]).toBe(Number.POSITIVE_INFINITY);
  });

  it('may write its gradient over the outputs', () => {
    const y = randomValues(1, 14);
    const labels = Uint32Array.of(6, 0);
    const expected = run('softmaxCrossEntropyForwardBackward', y, labels, 7);
    const yPtr = arena.put(y);
    const losses = arena.room(16);
    arena.kernels.softmaxCrossEntropyForwardBackward(yPtr, arena.put(labels), 2, 7, yPtr, losses);
    expectSameBits(arena.f32(yPtr, 14), expected.dY, 'dY in place');
    expect(arena.f64(losses, 2)).toEqual(expected.losses);
  });
});
