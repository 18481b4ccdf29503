// Convolution and pooling, a window at a time, in the order of additions that the kernels promise. Images
// are planes of [height, width], one a channel; the border is zeros that take part in no sum of pooling's.
import type { Arithmetic, Values } from './arithmetic.ts';
import { at } from './tree.ts';

/** Sizes of a window on planes, as the kernels have them in their record. */
export interface Geometry {
  readonly height: number;
  readonly width: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideY: number;
  readonly strideX: number;
  readonly padTop: number;
  readonly padLeft: number;
  readonly dilationY: number;
  readonly dilationX: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

export const positionsOf = ({ outHeight, outWidth }: Geometry): number => outHeight * outWidth;
export const tapsOf = ({ kernelHeight, kernelWidth }: Geometry): number => kernelHeight * kernelWidth;
const planeOf = ({ height, width }: Geometry): number => height * width;

/** Index of the value within its plane that window `position` has at its tap, or -1 on the border. */
function indexOf(g: Geometry, position: number, tap: number): number {
  const y =
    Math.floor(position / g.outWidth) * g.strideY + Math.floor(tap / g.kernelWidth) * g.dilationY - g.padTop;
  const x = (position % g.outWidth) * g.strideX + (tap % g.kernelWidth) * g.dilationX - g.padLeft;
  return y < 0 || y >= g.height || x < 0 || x >= g.width ? -1 : y * g.width + x;
}

/** patches[channels x taps, positions] of x[channels, height, width]. */
export function patchesOf(
  arithmetic: Arithmetic,
  g: Geometry,
  channels: number,
  x: ArrayLike<number>,
): Values {
  const [taps, positions] = [tapsOf(g), positionsOf(g)];
  const patches = arithmetic.zeros(channels * taps * positions);
  for (let k = 0; k < channels * taps; k++) {
    for (let p = 0; p < positions; p++) {
      const index = indexOf(g, p, k % taps);
      if (index >= 0) patches[k * positions + p] = at(x, Math.floor(k / taps) * planeOf(g) + index);
    }
  }
  return patches;
}

/** dX[channels, height, width]: for each value its patches, taps in ascending order, from zero. */
export function fold(
  arithmetic: Arithmetic,
  g: Geometry,
  channels: number,
  patches: ArrayLike<number>,
): Values {
  const [taps, positions] = [tapsOf(g), positionsOf(g)];
  const dX = arithmetic.zeros(channels * planeOf(g));
  for (let k = 0; k < channels * taps; k++) {
    for (let p = 0; p < positions; p++) {
      const index = indexOf(g, p, k % taps);
      if (index < 0) continue;
      const to = Math.floor(k / taps) * planeOf(g) + index;
      dX[to] = arithmetic.round(at(dX, to) + at(patches, k * positions + p));
    }
  }
  return dX;
}

export interface Depthwise {
  readonly geometry: Geometry;
  readonly channels: number;
  /** Windows a channel. */
  readonly multiplier: number;
  /** [channels x multiplier, taps] */
  readonly weights: ArrayLike<number>;
}

/** y[channels x multiplier, positions]: taps in ascending order, from zero. */
export function depthwise(
  { round, zeros, ...rest }: Arithmetic,
  { geometry, channels, multiplier, weights }: Depthwise,
  x: ArrayLike<number>,
): Values {
  const [taps, positions] = [tapsOf(geometry), positionsOf(geometry)];
  const patches = patchesOf({ round, zeros, ...rest }, geometry, channels, x);
  const y = zeros(channels * multiplier * positions);
  for (let out = 0; out < channels * multiplier; out++) {
    for (let p = 0; p < positions; p++) {
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) {
        const value = at(patches, (Math.floor(out / multiplier) * taps + tap) * positions + p);
        sum = round(sum + round(at(weights, out * taps + tap) * value));
      }
      y[out * positions + p] = sum;
    }
  }
  return y;
}

/** dX[channels, height, width]: windows of a channel, then their taps, in ascending order. */
export function depthwiseInputGradient(
  arithmetic: Arithmetic,
  { geometry, channels, multiplier, weights }: Depthwise,
  dY: ArrayLike<number>,
): Values {
  const [taps, positions] = [tapsOf(geometry), positionsOf(geometry)];
  const dX = arithmetic.zeros(channels * planeOf(geometry));
  for (let row = 0; row < channels * multiplier * taps; row++) {
    const out = Math.floor(row / taps);
    for (let p = 0; p < positions; p++) {
      const index = indexOf(geometry, p, row % taps);
      if (index < 0) continue;
      const to = Math.floor(out / multiplier) * planeOf(geometry) + index;
      const product = arithmetic.round(at(weights, row) * at(dY, out * positions + p));
      dX[to] = arithmetic.round(at(dX, to) + product);
    }
  }
  return dX;
}

/** dW[channels x multiplier, taps] of one sample: in four lanes, the rest of a row in the highest. */
export function depthwiseWeightGradient(
  arithmetic: Arithmetic,
  { geometry, channels, multiplier }: Depthwise,
  x: ArrayLike<number>,
  dY: ArrayLike<number>,
): Values {
  const { round } = arithmetic;
  const [taps, positions, width] = [tapsOf(geometry), positionsOf(geometry), geometry.outWidth];
  const patches = patchesOf(arithmetic, geometry, channels, x);
  const dW = arithmetic.zeros(channels * multiplier * taps);
  for (let row = 0; row < dW.length; row++) {
    const out = Math.floor(row / taps);
    const patch = (Math.floor(out / multiplier) * taps + (row % taps)) * positions;
    const lanes = arithmetic.zeros(4);
    for (let p = 0; p < positions; p++) {
      const column = p % width;
      const lane = column < width - (width % 4) ? column % 4 : 4 - (width - column);
      lanes[lane] = round(at(lanes, lane) + round(at(dY, out * positions + p) * at(patches, patch + p)));
    }
    dW[row] = round(round(at(lanes, 0) + at(lanes, 1)) + round(at(lanes, 2) + at(lanes, 3)));
  }
  return dW;
}

/** The sum of each channel of x[channels, positions], in the sixteen lanes of `channelSums`. */
export function channelSums(
  arithmetic: Arithmetic,
  channels: number,
  positions: number,
  x: ArrayLike<number>,
): Values {
  const { round } = arithmetic;
  const sums = arithmetic.zeros(channels);
  for (let channel = 0; channel < channels; channel++) {
    const a = arithmetic.zeros(16);
    for (let p = 0; p < positions; p++) a[p % 16] = round(at(a, p % 16) + at(x, channel * positions + p));
    const b = [0, 1, 2, 3].map((l) =>
      round(round(at(a, l) + at(a, l + 4)) + round(at(a, l + 8) + at(a, l + 12))),
    );
    sums[channel] = round(round(at(b, 0) + at(b, 1)) + round(at(b, 2) + at(b, 3)));
  }
  return sums;
}

/** The window's indices into its plane that are not on the border, in scan order. */
function insideOf(g: Geometry, position: number): number[] {
  return Array.from({ length: tapsOf(g) }, (_, tap) => indexOf(g, position, tap)).filter(
    (index) => index >= 0,
  );
}

/** Index of the value that max pooling takes from a window: the first largest, or the last NaN. */
function largestOf(g: Geometry, plane: ArrayLike<number>, position: number): number {
  const isLarger = (value: number, largest: number): boolean => value > largest || Number.isNaN(value);
  return insideOf(g, position).reduce((best, index) =>
    isLarger(at(plane, index), at(plane, best)) ? index : best,
  );
}

function planesOf(g: Geometry, x: Values): Values[] {
  const size = planeOf(g);
  return Array.from({ length: x.length / size }, (_, plane) => x.subarray(plane * size, (plane + 1) * size));
}

/** y[planes, positions] of x[planes, height, width]. */
export function maxPool(arithmetic: Arithmetic, g: Geometry, x: Values): Values {
  const y = planesOf(g, x).flatMap((plane) =>
    Array.from({ length: positionsOf(g) }, (_, p) => at(plane, largestOf(g, plane, p))),
  );
  return arithmetic.from(y);
}

/** dX[planes, height, width]: windows in ascending order, from zero. */
export function maxPoolBackward(arithmetic: Arithmetic, g: Geometry, x: Values, dY: Values): Values {
  const dX = arithmetic.zeros(x.length);
  for (const [index, plane] of planesOf(g, x).entries()) {
    for (let p = 0; p < positionsOf(g); p++) {
      const to = index * planeOf(g) + largestOf(g, plane, p);
      dX[to] = arithmetic.round(at(dX, to) + at(dY, index * positionsOf(g) + p));
    }
  }
  return dX;
}

/** y[planes, positions]: sums in scan order from zero, divided by the size of the window. */
export function averagePool({ round, from }: Arithmetic, g: Geometry, x: Values): Values {
  const y = planesOf(g, x).flatMap((plane) =>
    Array.from({ length: positionsOf(g) }, (_, p) =>
      round(insideOf(g, p).reduce((sum, index) => round(sum + at(plane, index)), 0) / tapsOf(g)),
    ),
  );
  return from(y);
}

/** dX[planes, height, width]: windows in ascending order, from zero. */
export function averagePoolBackward(arithmetic: Arithmetic, g: Geometry, dY: Values): Values {
  const planes = dY.length / positionsOf(g);
  const dX = arithmetic.zeros(planes * planeOf(g));
  for (let i = 0; i < dY.length; i++) {
    const share = arithmetic.round(at(dY, i) / tapsOf(g));
    for (const index of insideOf(g, i % positionsOf(g))) {
      const to = Math.floor(i / positionsOf(g)) * planeOf(g) + index;
      dX[to] = arithmetic.round(at(dX, to) + share);
    }
  }
  return dX;
}
