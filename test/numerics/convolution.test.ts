// The kernels of convolution against their twins, to the bit.
import { afterEach, beforeAll, describe, it } from 'vitest';
import { ACTIVATIONS, activationNumber } from '../../src/layers/activation.ts';
import type { Activation } from '../../src/layers/activation.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { activate } from '../helpers/twins/activation.ts';
import { fused, single } from '../helpers/twins/arithmetic.ts';
import type { Arithmetic, Values } from '../helpers/twins/arithmetic.ts';
import {
  channelSums,
  depthwise,
  depthwiseInputGradient,
  depthwiseWeightGradient,
  fold,
  patchesOf,
  positionsOf,
  tapsOf,
} from '../helpers/twins/image.ts';
import { multiply, transpose } from '../helpers/twins/matrix.ts';
import { EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';
import { WINDOWS } from './image-geometry.ts';
import type { WindowCase } from './image-geometry.ts';

const TILE_ROWS = 5;
const TILE_COLUMNS = 8;
const CHANNELS = [1, 2, 5];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

/** Puts x[channels, height, width] into memory within its border. */
function putPadded(window: WindowCase, channels: number, x: Values): { geometry: number; padded: number } {
  const geometry = arena.put(window.record);
  const padded = arena.room(4 * channels * window.paddedLength);
  arena.kernels.padImage(arena.put(x), geometry, channels, padded);
  return { geometry, padded };
}

function randomImage({ geometry: { height, width } }: WindowCase, channels: number): Float32Array {
  return randomValues(1000 * height + width, channels * height * width);
}

/** Panels of `columns` columns from source[depth, length], zeros after the last. */
function panelsOf(source: Values, depth: number, length: number, columns: number): Float32Array {
  const panels = Math.ceil(length / columns);
  return Float32Array.from({ length: panels * depth * columns }, (_, i) => {
    const column = Math.floor(i / (depth * columns)) * columns + (i % columns);
    const row = Math.floor(i / columns) % depth;
    return column < length ? (source[row * length + column] as number) : 0;
  });
}

/** The activation of y[channels, positions] + bias[channels]. */
function withBias(y: Values, bias: Values, activation: Activation): Values {
  const positions = y.length / bias.length;
  return y.map((sum, i) =>
    activate(single, activation, Math.fround(sum + (bias[Math.floor(i / positions)] as number))),
  );
}

function forEachCase(check: (window: WindowCase, channels: number) => void): void {
  for (const window of WINDOWS) {
    for (const channels of CHANNELS) {
      check(window, channels);
      arena.reset();
    }
  }
}

describe('padImage', () => {
  it('padImage surrounds each plane with zeros', () => {
    forEachCase((window, channels) => {
      const { height, width, padTop, padLeft } = window.geometry;
      const x = randomImage(window, channels);
      const { padded } = putPadded(window, channels, x);
      const paddedWidth = window.record[13] as number;
      const expected = new Float32Array(channels * window.paddedLength);
      x.forEach((value, i) => {
        const [plane, row, column] = [
          Math.floor(i / (height * width)),
          Math.floor(i / width) % height,
          i % width,
        ];
        expected[plane * window.paddedLength + (row + padTop) * paddedWidth + padLeft + column] = value;
      });
      expectSameBits(arena.f32(padded, expected.length), expected, window.name);
    });
  });
});

describe('packed patches', () => {
  it('patches are packed as right panels over positions', () => {
    forEachCase((window, channels) => {
      const depth = channels * tapsOf(window.geometry);
      const positions = positionsOf(window.geometry);
      const x = randomImage(window, channels);
      const expected = panelsOf(
        patchesOf(single, window.geometry, channels, x),
        depth,
        positions,
        TILE_COLUMNS,
      );
      const { geometry, padded } = putPadded(window, channels, x);
      const numPanels = Math.ceil(positions / TILE_COLUMNS);
      const half = Math.floor(numPanels / 2);
      for (const [first, end] of [
        [0, half],
        [half, numPanels],
      ] as const) {
        const length = (end - first) * depth * TILE_COLUMNS;
        const packed = arena.room(4 * length);
        arena.kernels.packPatchColumns(padded, geometry, channels, packed, first, end);
        const wanted = expected.subarray(first * depth * TILE_COLUMNS, end * depth * TILE_COLUMNS);
        expectSameBits(arena.f32(packed, length), wanted, `${window.name}, panels ${first} to ${end}`);
      }
    });
  });

  it('patches are packed as right panels over taps', () => {
    forEachCase((window, channels) => {
      const depth = channels * tapsOf(window.geometry);
      const positions = positionsOf(window.geometry);
      const x = randomImage(window, channels);
      const patches = transpose(patchesOf(single, window.geometry, channels, x), depth, positions);
      const expected = panelsOf(patches, positions, depth, TILE_COLUMNS);
      const { geometry, padded } = putPadded(window, channels, x);
      const numPanels = Math.ceil(depth / TILE_COLUMNS);
      const half = Math.floor(numPanels / 2);
      for (const [first, end] of [
        [0, half],
        [half, numPanels],
      ] as const) {
        const length = (end - first) * positions * TILE_COLUMNS;
        const packed = arena.room(4 * length);
        arena.kernels.packPatchRows(padded, geometry, channels, packed, first, end);
        const wanted = expected.subarray(first * positions * TILE_COLUMNS, end * positions * TILE_COLUMNS);
        expectSameBits(arena.f32(packed, length), wanted, `${window.name}, panels ${first} to ${end}`);
      }
    });
  });

  it('patches are packed as left panels over taps', () => {
    forEachCase((window, channels) => {
      const depth = channels * tapsOf(window.geometry);
      const positions = positionsOf(window.geometry);
      const x = randomImage(window, channels);
      const patches = transpose(patchesOf(single, window.geometry, channels, x), depth, positions);
      const expected = panelsOf(patches, positions, depth, TILE_ROWS);
      const { geometry, padded } = putPadded(window, channels, x);
      const packed = arena.room(4 * expected.length);
      arena.kernels.packPatchesLeft(padded, geometry, channels, packed);
      expectSameBits(arena.f32(packed, expected.length), expected, window.name);
    });
  });
});

describe('foldPatches', () => {
  it('foldPatches adds each patch to the values that it came from', () => {
    forEachCase((window, channels) => {
      const { height, width } = window.geometry;
      const patches = randomValues(7, channels * tapsOf(window.geometry) * positionsOf(window.geometry));
      const dX = arena.room(4 * channels * height * width);
      const plane = arena.room(4 * window.paddedLength);
      arena.kernels.foldPatches(arena.put(patches), arena.put(window.record), channels, plane, dX);
      const expected = fold(single, window.geometry, channels, patches);
      expectSameBits(arena.f32(dX, expected.length), expected, window.name);
    });
  });

  it('foldPatches carries NaN, infinities and zeros of both signs to their own values only', () => {
    for (const window of WINDOWS) {
      const { height, width } = window.geometry;
      const length = tapsOf(window.geometry) * positionsOf(window.geometry);
      const patches = randomValues(8, length).map((value, i) =>
        i % 7 === 0 ? (EXTREMES[(i / 7) % EXTREMES.length] as number) : value,
      );
      const dX = arena.room(4 * height * width);
      const plane = arena.room(4 * window.paddedLength);
      arena.kernels.foldPatches(arena.put(patches), arena.put(window.record), 1, plane, dX);
      const expected = fold(single, window.geometry, 1, patches);
      expectSameBits(arena.f32(dX, expected.length), expected, window.name);
      arena.reset();
    }
  });
});

describe('depthwise convolution', () => {
  function forEachMultiplier(
    check: (window: WindowCase, channels: number, multiplier: number) => void,
  ): void {
    for (const multiplier of [1, 3]) forEachCase((window, channels) => check(window, channels, multiplier));
  }

  function randomWeights({ geometry }: WindowCase, outputs: number): Float32Array {
    return randomValues(outputs + 99, outputs * tapsOf(geometry));
  }

  it('depthwise convolution matches its twin bit for bit forward, with bias and activation', () => {
    forEachMultiplier((window, channels, multiplier) => {
      const x = randomImage(window, channels);
      const weights = randomWeights(window, channels * multiplier);
      const bias = randomValues(8, channels * multiplier);
      const { geometry, padded } = putPadded(window, channels, x);
      const positions = positionsOf(window.geometry);
      const y = arena.room(4 * bias.length * positions);
      const [w, b] = [arena.put(weights), arena.put(bias)];
      const relu = activationNumber('relu');
      arena.kernels.depthwiseForward(relu, padded, geometry, w, b, channels, multiplier, y);
      const sums = depthwise(single, { geometry: window.geometry, channels, multiplier, weights }, x);
      expectSameBits(arena.f32(y, sums.length), withBias(sums, bias, 'relu'), window.name);
    });
  });

  it('depthwise convolution matches its twin bit for bit in the gradient of the input', () => {
    forEachMultiplier((window, channels, multiplier) => {
      const { height, width } = window.geometry;
      const weights = randomWeights(window, channels * multiplier);
      const dY = randomValues(5, channels * multiplier * positionsOf(window.geometry));
      const dX = arena.room(4 * channels * height * width);
      const plane = arena.room(4 * Math.max(window.paddedLength, (height + 2) * (width + 2)));
      const geometry = arena.put(window.record);
      const [d, w] = [arena.put(dY), arena.put(weights)];
      arena.kernels.depthwiseInputGradient(d, geometry, w, channels, multiplier, plane, dX);
      const twin = { geometry: window.geometry, channels, multiplier, weights };
      const expected = depthwiseInputGradient(single, twin, dY);
      expectSameBits(arena.f32(dX, expected.length), expected, window.name);
    });
  });

  it('depthwise convolution matches its twin bit for bit in the gradient of the weights, and can add to a sum', () => {
    forEachMultiplier((window, channels, multiplier) => {
      const x = randomImage(window, channels);
      const dY = randomValues(6, channels * multiplier * positionsOf(window.geometry));
      const twin = { geometry: window.geometry, channels, multiplier, weights: [] };
      const once = depthwiseWeightGradient(single, twin, x, dY);
      const { geometry, padded } = putPadded(window, channels, x);
      const dW = arena.room(4 * once.length);
      const d = arena.put(dY);
      arena.kernels.depthwiseWeightGradient(padded, geometry, d, channels, multiplier, dW, false);
      expectSameBits(arena.f32(dW, once.length), once, window.name);
      arena.kernels.depthwiseWeightGradient(padded, geometry, d, channels, multiplier, dW, true);
      expectSameBits(
        arena.f32(dW, once.length),
        once.map((value) => 2 * value),
        window.name,
      );
    });
  });
});

describe('a single channel', () => {
  async function expectProducts(numerics: Numerics, arithmetic: Arithmetic): Promise<void> {
    arena = await Arena.create(numerics);
    const filters = 7;
    for (const window of WINDOWS) {
      const geometry = arena.put(window.record);
      if (!arena.kernels.hasThreeByThree(geometry)) continue;
      const x = randomImage(window, 1);
      const weights = randomValues(9, filters * 9);
      const bias = randomValues(8, filters);
      const positions = positionsOf(window.geometry);
      const y = arena.room(4 * filters * positions);
      const panels = arena.put(panelsOf(transpose(weights, filters, 9), 9, filters, TILE_ROWS));
      const { padded } = putPadded(window, 1, x);
      const kind = activationNumber('leakyRelu');
      arena.kernels.singleChannelForward(kind, padded, geometry, panels, arena.put(bias), filters, y);
      const patches = patchesOf(arithmetic, window.geometry, 1, x);
      const product = { m: filters, n: positions, k: 9, a: weights, b: patches };
      const expected = withBias(multiply(arithmetic, product), bias, 'leakyRelu');
      expectSameBits(arena.f32(y, expected.length), expected, window.name);
      arena.reset();
    }
  }

  it('a single channel gets the bits of the matrix product', () => expectProducts('strict', single));

  it('a single channel gets the bits of the fused matrix product', () => expectProducts('fused', fused));
});

describe('channels', () => {
  const LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 19, 20, 31, 33, 64, 196];

  it('each channel gets its own bias, then the activation', () => {
    const channels = 3;
    for (const activation of ['linear', 'relu', 'leakyRelu'] as const) {
      for (const positions of LENGTHS) {
        const y = randomValues(positions, channels * positions);
        const bias = randomValues(3, channels);
        const address = arena.put(y);
        const kind = activationNumber(activation);
        arena.kernels.channelBiasActivation(kind, address, arena.put(bias), channels, positions);
        expectSameBits(
          arena.f32(address, y.length),
          withBias(y, bias, activation),
          `${activation}, ${positions}`,
        );
        arena.reset();
      }
    }
  });

  it('channels get the same bits from every activation as rows of a dense layer', () => {
    for (const activation of ACTIVATIONS) {
      const kind = activationNumber(activation);
      const y = randomValues(3, 33);
      const [channel, row] = [arena.put(y), arena.put(y)];
      arena.kernels.channelBiasActivation(kind, channel, arena.put(Float32Array.of(0.25)), 1, 33);
      arena.kernels.biasActivationForward(kind, row, arena.put(new Float32Array(33).fill(0.25)), 1, 33);
      expectSameBits(arena.f32(channel, 33), arena.f32(row, 33), activation);
      arena.reset();
    }
  });

  it('channels are summed in sixteen lanes and optionally added to a sum', () => {
    for (const positions of LENGTHS) {
      const x = randomValues(positions, 3 * positions);
      const expected = channelSums(single, 3, positions, x);
      const address = arena.put(x);
      const sums = arena.room(12);
      arena.kernels.channelSums(address, 3, positions, sums, false);
      expectSameBits(arena.f32(sums, 3), expected, `${positions}`);
      arena.kernels.channelSums(address, 3, positions, sums, true);
      expectSameBits(
        arena.f32(sums, 3),
        expected.map((value) => 2 * value),
        `twice ${positions}`,
      );
      arena.reset();
    }
  });
});

describe('transpose', () => {
  it('transpose turns rows into columns', () => {
    for (const [rows, columns] of [
      [1, 1],
      [1, 9],
      [9, 1],
      [5, 7],
      [8, 12],
    ] as const) {
      const matrix = randomValues(1, rows * columns);
      const to = arena.room(4 * matrix.length);
      arena.kernels.transpose(arena.put(matrix), rows, columns, to);
      const result = arena.f32(to, matrix.length);
      expectSameBits(result, transpose(matrix, rows, columns), `${rows} x ${columns}`);
      arena.reset();
    }
  });
});
