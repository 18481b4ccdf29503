// Softmax, layer and batch normalization, forward and backward, in the orders of additions of the kernels.
// Letters: B rows, C columns or channels, S values of a channel in a sample.
import type { Arithmetic, Values } from './arithmetic.ts';
import { exponential } from './transcendental.ts';
import { at } from './tree.ts';

/**
 * The sum of `term(i)` as the kernels take it over a row: blocks of 4 `vectors` lanes, then of 4 in
 * the first lanes, the lanes in pairs, and the rest one by one.
 */
function sumInLanes(
  { round }: Arithmetic,
  length: number,
  vectors: 1 | 4,
  term: (i: number) => number,
): number {
  const lanes = Array.from({ length: 4 * vectors }, () => 0);
  let i = 0;
  for (; i + lanes.length <= length; i += lanes.length) {
    lanes.forEach((sum, lane) => (lanes[lane] = round(sum + term(i + lane))));
  }
  for (; i + 4 <= length; i += 4) {
    for (let lane = 0; lane < 4; lane++) lanes[lane] = round(at(lanes, lane) + term(i + lane));
  }
  const joined = [0, 1, 2, 3].map((lane) =>
    vectors === 1
      ? at(lanes, lane)
      : round(
          round(at(lanes, lane) + at(lanes, lane + 4)) + round(at(lanes, lane + 8) + at(lanes, lane + 12)),
        ),
  );
  let sum = round(round(at(joined, 0) + at(joined, 1)) + round(at(joined, 2) + at(joined, 3)));
  for (; i < length; i++) sum = round(sum + term(i));
  return sum;
}

/** y[C] = softmax of `scale` x. */
export function softmax(arithmetic: Arithmetic, x: Values, scale = 1): Values {
  const { round } = arithmetic;
  const max = Math.max(...x);
  const y = x.map((value) => exponential(arithmetic, round(round(value - max) * scale)));
  const factor = round(1 / sumInLanes(arithmetic, x.length, 1, (i) => at(y, i)));
  return y.map((value) => round(value * factor));
}

/** dX[C] = scale y (dY - sum dY y). */
export function softmaxBackward(arithmetic: Arithmetic, dY: Values, y: Values, scale = 1): Values {
  const { round } = arithmetic;
  const sum = sumInLanes(arithmetic, y.length, 1, (i) => round(at(dY, i) * at(y, i)));
  return dY.map((d, i) => round(round(at(y, i) * round(d - sum)) * scale));
}

/** Mean, and reciprocal of the deviation, of one row or of one channel. */
export interface Moments {
  readonly mean: number;
  readonly reciprocal: number;
}

function reciprocalDeviation({ round }: Arithmetic, variance: number, epsilon: number): number {
  return round(1 / round(Math.sqrt(round(variance + round(epsilon)))));
}

interface Affine {
  readonly gain: ArrayLike<number>;
  readonly bias: ArrayLike<number>;
}

/** y[C] of one row x[C]. */
export function layerNorm(
  arithmetic: Arithmetic,
  x: Values,
  { gain, bias }: Affine,
  epsilon: number,
): { y: Values; moments: Moments } {
  const { round } = arithmetic;
  const mean = round(sumInLanes(arithmetic, x.length, 4, (i) => at(x, i)) / x.length);
  const square = (i: number): number => {
    const distance = round(at(x, i) - mean);
    return round(distance * distance);
  };
  const variance = round(sumInLanes(arithmetic, x.length, 4, square) / x.length);
  const reciprocal = reciprocalDeviation(arithmetic, variance, epsilon);
  const y = x.map((value, i) =>
    round(round(round(round(value - mean) * reciprocal) * at(gain, i)) + at(bias, i)),
  );
  return { y, moments: { mean, reciprocal } };
}

/** dX[C] and products[C] = dY n of one row, n = (x - mean) reciprocal. */
export function layerNormBackward(
  arithmetic: Arithmetic,
  dY: Values,
  x: Values,
  gain: ArrayLike<number>,
  { mean, reciprocal }: Moments,
): { dX: Values; products: Values } {
  const { round } = arithmetic;
  const n = x.map((value) => round(round(value - mean) * reciprocal));
  const products = dY.map((d, i) => round(d * at(n, i)));
  const average = (term: (i: number) => number): number =>
    round(sumInLanes(arithmetic, x.length, 1, term) / x.length);
  const dMean = average((i) => round(at(dY, i) * at(gain, i)));
  const dnMean = average((i) => round(at(products, i) * at(gain, i)));
  const dX = dY.map((d, i) => {
    const centred = round(round(d * at(gain, i)) - dMean);
    return round(reciprocal * round(centred - round(at(n, i) * dnMean)));
  });
  return { dX, products };
}

/** Sizes of x[B, C, S]. */
export interface ChannelSizes {
  readonly rows: number;
  readonly channels: number;
  readonly size: number;
}

/** Sum over the samples of a channel, in order; planes are summed first. */
function sumOfChannel(
  arithmetic: Arithmetic,
  { rows, channels, size }: ChannelSizes,
  channel: number,
  vectors: 1 | 4,
  term: (i: number) => number,
): number {
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const plane = (row * channels + channel) * size;
    sum = arithmetic.round(sum + sumInLanes(arithmetic, size, vectors, (i) => term(plane + i)));
  }
  return sum;
}

/** Mean and biased variance of each channel. */
export function channelMoments(
  arithmetic: Arithmetic,
  x: Values,
  sizes: ChannelSizes,
): { means: Values; variances: Values } {
  const { round } = arithmetic;
  const { rows, channels, size } = sizes;
  const means = arithmetic.zeros(channels);
  const variances = arithmetic.zeros(channels);
  for (let c = 0; c < channels; c++) {
    means[c] = round(sumOfChannel(arithmetic, sizes, c, 4, (i) => at(x, i)) / (rows * size));
    const square = (i: number): number => {
      const distance = round(at(x, i) - at(means, c));
      return round(distance * distance);
    };
    variances[c] = round(sumOfChannel(arithmetic, sizes, c, 4, square) / (rows * size));
  }
  return { means, variances };
}

export function reciprocalDeviations(arithmetic: Arithmetic, variances: Values, epsilon: number): Values {
  return variances.map((variance) => reciprocalDeviation(arithmetic, variance, epsilon));
}

/** y = (x - mean) (reciprocal gain) + bias. */
export function batchNorm(
  { round }: Arithmetic,
  x: Values,
  { channels, size }: ChannelSizes,
  { means, reciprocals, gain, bias }: { means: Values; reciprocals: Values } & Affine,
): Values {
  return x.map((value, i) => {
    const c = Math.floor(i / size) % channels;
    const factor = round(at(reciprocals, c) * at(gain, c));
    return round(round(round(value - at(means, c)) * factor) + at(bias, c));
  });
}

/** Gradients of one shard. */
export function batchNormBackward(
  arithmetic: Arithmetic,
  dY: Values,
  x: Values,
  sizes: ChannelSizes,
  { means, reciprocals, gain }: { means: Values; reciprocals: Values; gain: ArrayLike<number> },
): { dX: Values; dGain: Values; dBias: Values } {
  const { round } = arithmetic;
  const { rows, channels, size } = sizes;
  const count = rows * size;
  const channelOf = (i: number): number => Math.floor(i / size) % channels;
  const n = x.map((value, i) =>
    round(round(value - at(means, channelOf(i))) * at(reciprocals, channelOf(i))),
  );
  const dGain = arithmetic.zeros(channels);
  const dBias = arithmetic.zeros(channels);
  for (let c = 0; c < channels; c++) {
    dGain[c] = sumOfChannel(arithmetic, sizes, c, 1, (i) => round(at(dY, i) * at(n, i)));
    dBias[c] = sumOfChannel(arithmetic, sizes, c, 4, (i) => at(dY, i));
  }
  const dX = dY.map((d, i) => {
    const c = channelOf(i);
    const centred = round(d - round(at(dBias, c) / count));
    const slope = round(centred - round(at(n, i) * round(at(dGain, c) / count)));
    return round(round(at(reciprocals, c) * at(gain, c)) * slope);
  });
  return { dX, dGain, dBias };
}
