// Augmentation: windows of the twin's draws to the bit, the shares and ranges that are configured, and no
// dependence on who draws them.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PURPOSE } from '../../src/random.ts';
import { philox } from '../helpers/twins/random.ts';
import { randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

interface Geometry {
  readonly channels: number;
  readonly size: readonly [number, number];
  readonly out: readonly [number, number];
  readonly shift: readonly [number, number];
  readonly flips: 0 | 1 | 2 | 3;
}

const [SEED, LAYER] = [0xdeadbeef, 3];

function augment(
  x: Float32Array,
  samples: readonly number[],
  step: number,
  geometry: Geometry,
): Float32Array {
  const { channels, size, out, shift, flips } = geometry;
  const length = samples.length * channels * out[0] * out[1];
  const y = arena.room(4 * length);
  arena.kernels.augmentImages(
    arena.put(x),
    samples.length,
    channels,
    ...size,
    ...out,
    flips,
    ...shift,
    SEED,
    LAYER,
    step,
    arena.put(Uint32Array.from(samples)),
    arena.room(16),
    y,
  );
  const result = arena.f32(y, length).slice();
  arena.reset();
  return result;
}

/** The draws of a sample: flips, and the first row and column of its window. */
function draw(sample: number, step: number, { size, out, shift, flips }: Geometry) {
  const words = philox([0, sample, step, LAYER], [SEED, PURPOSE.augment]);
  const start = (word: number, axis: 0 | 1): number => {
    const numStarts = size[axis] - out[axis] + 2 * shift[axis] + 1;
    return Number((BigInt(word) * BigInt(numStarts)) >> 32n) - shift[axis];
  };
  return {
    isMirrored: ((words[0] as number) & flips & 1) > 0,
    isUpsideDown: ((words[0] as number) & flips & 2) > 0,
    top: start(words[1] as number, 0),
    left: start(words[2] as number, 1),
  };
}

function twin(x: Float32Array, samples: readonly number[], step: number, geometry: Geometry): number[] {
  const { channels, size, out } = geometry;
  const [height, width] = size;
  return samples.flatMap((sample, row) => {
    const { isMirrored, isUpsideDown, top, left } = draw(sample, step, geometry);
    const pixels: number[] = [];
    for (let channel = 0; channel < channels; channel++) {
      for (let i = 0; i < out[0]; i++) {
        for (let j = 0; j < out[1]; j++) {
          const line = top + (isUpsideDown ? out[0] - 1 - i : i);
          const column = left + (isMirrored ? out[1] - 1 - j : j);
          const isInside = line >= 0 && line < height && column >= 0 && column < width;
          const at = ((row * channels + channel) * height + line) * width + column;
          pixels.push(isInside ? (x[at] as number) : 0);
        }
      }
    }
    return pixels;
  });
}

const SAMPLES = [7, 0, 0xffff_fffe, 12, 13, 14, 15, 16];

describe('augmentation', () => {
  it.each<Geometry>([
    { channels: 1, size: [1, 1], out: [1, 1], shift: [0, 0], flips: 3 },
    { channels: 2, size: [5, 4], out: [5, 4], shift: [2, 3], flips: 0 },
    { channels: 3, size: [5, 4], out: [5, 4], shift: [4, 3], flips: 3 },
    { channels: 1, size: [28, 28], out: [28, 28], shift: [0, 0], flips: 1 },
    { channels: 2, size: [9, 7], out: [4, 6], shift: [0, 0], flips: 2 },
    { channels: 1, size: [3, 17], out: [2, 11], shift: [1, 5], flips: 3 },
  ])('augmentation matches its twin bit for bit: %j', (geometry) => {
    const { channels, size } = geometry;
    const x = randomValues(5, SAMPLES.length * channels * size[0] * size[1]);
    for (const step of [0, 1, 41]) {
      const y = augment(x, SAMPLES, step, geometry);
      expectSameBits(y, twin(x, SAMPLES, step, geometry), `step ${step}`);
    }
  });

  it('half of 10,000 samples are mirrored, and every window is about as frequent', () => {
    const geometry = { channels: 1, size: [1, 4], out: [1, 4], shift: [0, 2], flips: 1 } as const;
    const samples = Array.from({ length: 10_000 }, (_, sample) => sample);
    const x = Float32Array.from(samples.flatMap(() => [1, 2, 3, 4]));
    const y = augment(x, samples, 9, geometry);
    const counts = new Map<string, number>();
    for (const sample of samples) {
      const image = y.subarray(4 * sample, 4 * sample + 4).join('');
      counts.set(image, (counts.get(image) ?? 0) + 1);
    }
    const windows = ['0012', '0123', '1234', '2340', '3400'];
    const mirrored = windows.map((window) => [...window].reverse().join(''));
    expect([...counts.keys()].sort()).toEqual([...windows, ...mirrored].sort());
    // Five deviations of a binomial count around 1,000.
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  it('a sample is augmented alike in any company, and otherwise at another step', () => {
    const geometry = { channels: 1, size: [8, 8], out: [8, 8], shift: [3, 3], flips: 3 } as const;
    const x = randomValues(6, SAMPLES.length * 64);
    const all = augment(x, SAMPLES, 5, geometry);
    const alone = augment(x.slice(3 * 64, 4 * 64), SAMPLES.slice(3, 4), 5, geometry);
    expectSameBits(alone, all.subarray(3 * 64, 4 * 64), 'alone');
    expect(augment(x, SAMPLES, 6, geometry)).not.toEqual(all);
  });

  it('the middle is cropped at evaluation', () => {
    const x = Float32Array.from({ length: 2 * 5 * 4 }, (_, at) => at);
    const y = arena.room(4 * 2 * 3 * 2);
    arena.kernels.cropImages(arena.put(x), 1, 2, 5, 4, 3, 2, y);
    expect([...arena.f32(y, 12)]).toEqual([5, 6, 9, 10, 13, 14, 25, 26, 29, 30, 33, 34]);
  });
});
