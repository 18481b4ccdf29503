// Softmax, layer and batch normalization against their twins: to the bit in float32, by central differences
// in float64.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { double, single } from '../helpers/twins/arithmetic.ts';
import type { Arithmetic, Values } from '../helpers/twins/arithmetic.ts';
import { centralDifferences, inner, relativeError } from '../helpers/twins/central-differences.ts';
import {
  batchNorm,
  batchNormBackward,
  channelMoments,
  layerNorm,
  layerNormBackward,
  reciprocalDeviations,
  softmax,
  softmaxBackward,
} from '../helpers/twins/normalization.ts';
import type { ChannelSizes } from '../helpers/twins/normalization.ts';
import { randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 20, 21, 31, 33, 63, 64, 65, 257];
const EPSILON = 1e-5;

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

function rowsOf(x: Values, columns: number): Values[] {
  return Array.from({ length: x.length / columns }, (_, row) => x.slice(row * columns, (row + 1) * columns));
}

function flatten(rows: readonly ArrayLike<number>[]): number[] {
  return rows.flatMap((row) => Array.from(row));
}

/** Values around 3: a mean that is not small compared with the deviation. */
function shifted(seed: number, length: number): Float32Array {
  return randomValues(seed, length).map((value) => 2 * value + 3);
}

describe('softmax', () => {
  it('softmax matches its twin bit for bit at every width, forward and backward', () => {
    for (const columns of WIDTHS) {
      const x = randomValues(columns, 3 * columns).map((value) => 20 * value);
      const dY = randomValues(columns + 1, 3 * columns);
      const y = arena.room(x.byteLength);
      arena.kernels.softmaxForward(arena.put(x), 3, columns, y);
      const expected = rowsOf(x, columns).map((row) => softmax(single, row));
      expectSameBits(arena.f32(y, x.length), flatten(expected), `y of ${columns}`);
      const d = arena.put(dY);
      arena.kernels.softmaxBackward(d, y, 3, columns);
      const gradients = rowsOf(dY, columns).map((row, i) =>
        softmaxBackward(single, row, expected[i] as Values),
      );
      expectSameBits(arena.f32(d, x.length), flatten(gradients), `dX of ${columns}`);
      arena.reset();
    }
  });

  it('softmax is exact where one value is far above the others, and NaN where one is NaN', () => {
    const y = arena.room(20);
    arena.kernels.softmaxForward(arena.put(Float32Array.of(-3e38, 3e38, 0, -1, 1)), 1, 5, y);
    expectSameBits(arena.f32(y, 5), [0, 1, 0, 0, 0], 'one above all');
    arena.kernels.softmaxForward(arena.put(Float32Array.of(1, 2, Number.NaN, 1, 1)), 1, 5, y);
    expect([...arena.f32(y, 5)]).toEqual(new Array(5).fill(Number.NaN));
  });

  it('softmax has the gradient of central differences', () => {
    const x = Float64Array.from(randomValues(1, 7), (value) => 3 * value);
    const dY = Float64Array.from(randomValues(2, 7));
    const expected = centralDifferences(x, () => inner(softmax(double, x), dY));
    expect(relativeError(softmaxBackward(double, dY, softmax(double, x)), expected)).toBeLessThan(1e-8);
  });
});

describe('layer normalization', () => {
  it('layer normalization matches its twin bit for bit at every width, forward and backward', () => {
    for (const columns of WIDTHS) {
      const rows = 3;
      const x = shifted(columns, rows * columns);
      const dY = randomValues(columns + 1, rows * columns);
      const gain = randomValues(columns + 2, columns);
      const bias = randomValues(columns + 3, columns);
      const y = arena.room(x.byteLength);
      const statistics = arena.room(8 * rows);
      const [xAt, gainAt] = [arena.put(x), arena.put(gain)];
      arena.kernels.layerNormForward(xAt, gainAt, arena.put(bias), rows, columns, EPSILON, y, statistics);
      const expected = rowsOf(x, columns).map((row) => layerNorm(single, row, { gain, bias }, EPSILON));
      expectSameBits(arena.f32(y, x.length), flatten(expected.map((row) => row.y)), `y of ${columns}`);
      const d = arena.put(dY);
      const products = arena.room(x.byteLength);
      arena.kernels.layerNormBackward(d, xAt, gainAt, rows, columns, statistics, products);
      const gradients = rowsOf(dY, columns).map((row, i) => {
        const moments = expected[i]?.moments ?? { mean: 0, reciprocal: 0 };
        return layerNormBackward(single, row, x.slice(i * columns, (i + 1) * columns), gain, moments);
      });
      expectSameBits(arena.f32(d, x.length), flatten(gradients.map(({ dX }) => dX)), `dX of ${columns}`);
      expectSameBits(
        arena.f32(products, x.length),
        flatten(gradients.map((row) => row.products)),
        `products of ${columns}`,
      );
      arena.reset();
    }
  });

  it('layer normalization stays exact for a mean that is 10,000 times the deviation', () => {
    const columns = 100;
    const x = randomValues(1, columns).map((value) => 10_000 + value);
    const ones = arena.put(new Float32Array(columns).fill(1));
    const y = arena.room(4 * columns);
    // prettier-ignore
    arena.kernels.layerNormForward(arena.put(x), ones, arena.put(new Float32Array(columns)), 1, columns, EPSILON, y, arena.room(8));
    const affine = { gain: new Array<number>(columns).fill(1), bias: new Array<number>(columns).fill(0) };
    const exact = layerNorm(double, Float64Array.from(x), affine, EPSILON).y;
    // The mean has an error of a few ulp of 10,000, 1e-3; deviations are of the order of 0.6.
    expect(relativeError(arena.f32(y, columns), exact)).toBeLessThan(3e-3);
  });

  it('layer normalization has the gradients of central differences', () => {
    const columns = 9;
    const [x, gain, bias, dY] = [1, 2, 3, 4].map((seed) =>
      Float64Array.from(randomValues(seed, columns)),
    ) as [Float64Array, Float64Array, Float64Array, Float64Array];
    const loss = (): number => inner(layerNorm(double, x, { gain, bias }, EPSILON).y, dY);
    const { moments } = layerNorm(double, x, { gain, bias }, EPSILON);
    const { dX, products } = layerNormBackward(double, dY, x, gain, moments);
    expect(relativeError(dX, centralDifferences(x, loss))).toBeLessThan(1e-7);
    expect(relativeError(products, centralDifferences(gain, loss))).toBeLessThan(1e-7);
    expect(relativeError(dY, centralDifferences(bias, loss))).toBeLessThan(1e-7);
  });
});

/** Vectors and planes, with widths around the vector's. */
const SIZES: ChannelSizes[] = [
  ...WIDTHS.map((channels) => ({ rows: 5, channels, size: 1 })),
  ...WIDTHS.slice(1).map((size) => ({ rows: 3, channels: 3, size })),
  { rows: 1, channels: 5, size: 1 },
  { rows: 1, channels: 2, size: 9 },
];

interface ChannelCase {
  readonly x: Values;
  readonly dY: Values;
  readonly gain: Values;
  readonly bias: Values;
}

function channelCase(arithmetic: Arithmetic, { rows, channels, size }: ChannelSizes): ChannelCase {
  const length = rows * channels * size;
  return {
    x: arithmetic.from(shifted(length, length)),
    dY: arithmetic.from(randomValues(length + 1, length)),
    gain: arithmetic.from(randomValues(length + 2, channels)),
    bias: arithmetic.from(randomValues(length + 3, channels)),
  };
}

describe('batch normalization', () => {
  it('batch normalization matches its twin bit for bit for vectors and planes of every size, forward and backward', () => {
    for (const sizes of SIZES) {
      checkBatchNorm(sizes);
      arena.reset();
    }
  });

  function checkBatchNorm(sizes: ChannelSizes): void {
    const { rows, channels, size } = sizes;
    const name = `${rows} x ${channels} x ${size}`;
    const { x, dY, gain, bias } = channelCase(single, sizes) as Record<keyof ChannelCase, Float32Array>;
    const { kernels } = arena;
    const [xAt, gainAt, biasAt] = [arena.put(x), arena.put(gain), arena.put(bias)];
    const room = (): number => arena.room(4 * channels);
    const [mean, variance, reciprocal, y] = [room(), room(), room(), arena.room(x.byteLength)];
    kernels.channelMoments(xAt, rows, channels, size, mean, variance);
    kernels.reciprocalDeviations(variance, channels, EPSILON, reciprocal);
    kernels.batchNormForward(xAt, rows, channels, size, mean, reciprocal, gainAt, biasAt, y);
    const { means, variances } = channelMoments(single, x, sizes);
    const reciprocals = reciprocalDeviations(single, variances, EPSILON);
    expectSameBits(arena.f32(mean, channels), means, `means of ${name}`);
    expectSameBits(arena.f32(variance, channels), variances, `variances of ${name}`);
    const expected = batchNorm(single, x, sizes, { means, reciprocals, gain, bias });
    expectSameBits(arena.f32(y, x.length), expected, `y of ${name}`);
    const [dAt, dGain, dBias] = [arena.put(dY), room(), room()];
    // prettier-ignore
    kernels.batchNormParameterGradients(dAt, xAt, rows, channels, size, mean, reciprocal, dGain, dBias);
    // prettier-ignore
    kernels.batchNormInputGradient(dAt, xAt, rows, channels, size, mean, reciprocal, gainAt, dGain, dBias);
    const gradients = batchNormBackward(single, dY, x, sizes, { means, reciprocals, gain });
    expectSameBits(arena.f32(dGain, channels), gradients.dGain, `dGain of ${name}`);
    expectSameBits(arena.f32(dBias, channels), gradients.dBias, `dBias of ${name}`);
    expectSameBits(arena.f32(dAt, x.length), gradients.dX, `dX of ${name}`);
  }

  it('weighMoments weights moments by the samples of a shard and makes its variance unbiased', () => {
    const [means, variances] = [arena.room(8), arena.room(8)];
    const [mean, variance] = [arena.put(Float32Array.of(0.5, -2)), arena.put(Float32Array.of(6, 0))];
    arena.kernels.weighMoments(mean, variance, 4, 2, 1, means, variances);
    expectSameBits(arena.f32(means, 2), [2, -8], '4 times the mean');
    expectSameBits(arena.f32(variances, 2), [32, 0], '4 times 4/3 of the variance');
    arena.kernels.weighMoments(mean, variance, 1, 2, 1, means, variances);
    expect(arena.f32(variances, 2)).toEqual(Float32Array.of(NaN, NaN));
    arena.kernels.weighMoments(mean, variance, 1, 2, 3, means, variances);
    expectSameBits(arena.f32(variances, 2), [9, 0], 'three values of one sample have');
  });

  it.each([
    { rows: 5, channels: 3, size: 1 },
    { rows: 2, channels: 2, size: 5 },
  ])('batch normalization of $rows x $channels x $size has the gradients of central differences', (sizes) => {
    const { x, dY, gain, bias } = channelCase(double, sizes) as Record<keyof ChannelCase, Float64Array>;
    const momentsNow = (): { means: Values; reciprocals: Values } => {
      const { means, variances } = channelMoments(double, x, sizes);
      return { means, reciprocals: reciprocalDeviations(double, variances, EPSILON) };
    };
    const loss = (): number => inner(batchNorm(double, x, sizes, { ...momentsNow(), gain, bias }), dY);
    const { dX, dGain, dBias } = batchNormBackward(double, dY, x, sizes, { ...momentsNow(), gain });
    expect(relativeError(dX, centralDifferences(x, loss))).toBeLessThan(1e-7);
    expect(relativeError(dGain, centralDifferences(gain, loss))).toBeLessThan(1e-7);
    expect(relativeError(dBias, centralDifferences(bias, loss))).toBeLessThan(1e-7);
  });
});
