// The kernels of pooling against their twins, to the bit.
import { afterEach, beforeAll, describe, it } from 'vitest';
import { single } from '../helpers/twins/arithmetic.ts';
import {
  averagePool,
  averagePoolBackward,
  channelSums,
  maxPool,
  maxPoolBackward,
  positionsOf,
} from '../helpers/twins/image.ts';
import { EXTREMES, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';
import { windowCase } from './image-geometry.ts';
import type { WindowCase } from './image-geometry.ts';

const PLANES = 3;

/**
 * Adjacent windows of 2 x 2, which have a vector path of their own, at widths around it; and others, at every
 * distance, where rows of windows are narrower than a vector, and at widths around one.
 */
const POOLS: readonly WindowCase[] = [
  ...[2, 3, 7, 8, 9, 10, 15, 16, 17, 18, 28, 33].map((width) =>
    windowCase({ height: 6, width, size: 2, stride: 2 }),
  ),
  windowCase({ height: 7, width: 9, size: 2, stride: 2 }),
  windowCase({ height: 8, width: 8, size: 2, stride: 1 }),
  windowCase({ height: 8, width: 8, size: 2, stride: 2, padding: 1 }),
  windowCase({ height: 9, width: 11, size: 3, stride: 2, padding: 1 }),
  windowCase({ height: 9, width: 12, size: 3, stride: 3 }),
  windowCase({ height: 9, width: 12, size: [1, 4], stride: [2, 3], padding: [0, 2] }),
  windowCase({ height: 5, width: 5, size: 5 }),
  windowCase({ height: 3, width: 3, size: 1, stride: 2 }),
  windowCase({ height: 4, width: 5, size: 3, stride: 3, padding: 1 }),
  ...[3, 4, 7, 8, 9, 10, 14].flatMap((width) => [
    windowCase({ height: 6, width, size: 3, stride: 1, padding: 1 }),
    windowCase({ height: 6, width: 2 * width, size: 3, stride: 2, padding: 1 }),
    windowCase({ height: 6, width: 4 * width, size: [2, 4], stride: [1, 4], padding: [0, 2] }),
  ]),
];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

/**
 * Few different values, so that most windows have ties; among them zeros of both signs, NaN and infinities,
 * and windows of nothing but -Infinity, which a border must not win.
 */
function images({ geometry: { height, width } }: WindowCase): Float32Array[] {
  const length = PLANES * height * width;
  const pick = (values: readonly number[]) => (word: number) => values[word % values.length] as number;
  return [
    randomValues(height, length),
    Float32Array.from(randomWords(width, length), pick([0, -0, 1, -1])),
    Float32Array.from(randomWords(width, length), pick(EXTREMES)),
    Float32Array.from(randomWords(height, length), (word) => (word % 16 === 0 ? 1 : -Infinity)),
  ];
}

interface Put {
  readonly x: number;
  readonly geometry: number;
  readonly dY: number;
  readonly scratch: number;
}

function forEachPool(check: (pool: WindowCase, x: Float32Array, dY: Float32Array, put: Put) => void): void {
  for (const pool of POOLS) {
    for (const x of images(pool)) {
      const dY = randomValues(2, PLANES * positionsOf(pool.geometry));
      dY[0] = -0;
      const scratch = arena.room(4 * pool.scratchLength);
      check(pool, x, dY, { x: arena.put(x), geometry: arena.put(pool.record), dY: arena.put(dY), scratch });
      arena.reset();
    }
  }
}

describe('max pooling', () => {
  it('max pooling takes the first largest value of a window, or its last NaN', () => {
    forEachPool((pool, x, dY, put) => {
      const y = arena.room(4 * dY.length);
      arena.kernels.maxPoolForward(put.x, put.geometry, PLANES, put.scratch, y);
      expectSameBits(arena.f32(y, dY.length), maxPool(single, pool.geometry, x), pool.name);
    });
  });

  it('max pooling gives the error to the value that was taken', () => {
    forEachPool((pool, x, dY, put) => {
      const dX = arena.room(4 * x.length);
      arena.kernels.maxPoolBackward(put.dY, put.x, put.geometry, PLANES, put.scratch, dX);
      expectSameBits(arena.f32(dX, x.length), maxPoolBackward(single, pool.geometry, x, dY), pool.name);
    });
  });
});

describe('average pooling', () => {
  it('average pooling divides sums in scan order by the whole window', () => {
    forEachPool((pool, x, dY, put) => {
      const y = arena.room(4 * dY.length);
      arena.kernels.averagePoolForward(put.x, put.geometry, PLANES, put.scratch, y);
      expectSameBits(arena.f32(y, dY.length), averagePool(single, pool.geometry, x), pool.name);
    });
  });

  it('average pooling distributes the error over the window', () => {
    forEachPool((pool, x, dY, put) => {
      const dX = arena.room(4 * x.length);
      arena.kernels.averagePoolBackward(put.dY, put.geometry, PLANES, put.scratch, dX);
      expectSameBits(arena.f32(dX, x.length), averagePoolBackward(single, pool.geometry, dY), pool.name);
    });
  });

  it('average pooling takes the mean of whole channels and distributes their error', () => {
    for (const positions of [1, 3, 4, 5, 16, 17, 49]) {
      const x = randomValues(positions, PLANES * positions);
      const y = arena.room(4 * PLANES);
      arena.kernels.channelMeans(arena.put(x), PLANES, positions, y);
      const means = channelSums(single, PLANES, positions, x).map((sum) => sum / positions);
      expectSameBits(arena.f32(y, PLANES), means, `${positions}`);
      const dX = arena.room(4 * x.length);
      arena.kernels.channelMeansBackward(y, PLANES, positions, dX);
      const expected = x.map((_, i) => (means[Math.floor(i / positions)] as number) / positions);
      expectSameBits(arena.f32(dX, x.length), expected, `${positions}`);
      arena.reset();
    }
  });
});
