// Dropout: masks of the twin's generator to the bit, the configured rate, and no dependence on who draws
// them.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PURPOSE } from '../../src/random.ts';
import { philox } from '../helpers/twins/random.ts';
import { randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const WIDTHS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 100];

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

interface Key {
  readonly seed: number;
  readonly layer: number;
  readonly step: number;
}

const KEY: Key = { seed: 0xdeadbeef, layer: 3, step: 41 };

function drop(
  x: Float32Array,
  rate: number,
  samples: readonly number[],
  { seed, layer, step }: Key = KEY,
): Float32Array {
  const y = arena.room(x.byteLength);
  const width = x.length / samples.length;
  arena.kernels.dropout(
    arena.put(x),
    samples.length,
    width,
    Math.round(rate * 2 ** 32),
    1 / (1 - rate),
    seed,
    layer,
    step,
    arena.put(Uint32Array.from(samples)),
    arena.room(64),
    y,
  );
  const result = arena.f32(y, x.length);
  arena.reset();
  return result;
}

function twin(
  x: Float32Array,
  rate: number,
  samples: readonly number[],
  { seed, layer, step }: Key = KEY,
): number[] {
  const width = x.length / samples.length;
  const scale = Math.fround(1 / (1 - rate));
  return Array.from(x, (value, i) => {
    const element = i % width;
    const sample = samples[Math.floor(i / width)] as number;
    const words = philox([Math.floor(element / 4), sample, step, layer], [seed, PURPOSE.dropout]);
    const isKept = (words[element % 4] as number) >= Math.round(rate * 2 ** 32);
    return isKept ? Math.fround(value * scale) : 0;
  });
}

describe('dropout', () => {
  it('dropout matches its twin bit for bit at every width and rate', () => {
    for (const width of WIDTHS) {
      for (const rate of [0, 0.1, 0.5, 0.9]) {
        const x = randomValues(width, 3 * width);
        const samples = [7, 0, 0xffff_fffe];
        expectSameBits(drop(x, rate, samples), twin(x, rate, samples), `width ${width}, rate ${rate}`);
      }
    }
  });

  it('dropout drops the configured share: 0.3 of 1,000,000 values within five deviations', () => {
    const length = 1_000_000;
    const y = drop(new Float32Array(length).fill(1), 0.3, [5]);
    const numDropped = y.filter((value) => value === 0).length;
    expect(Math.abs(numDropped - 0.3 * length)).toBeLessThan(5 * Math.sqrt(length * 0.3 * 0.7));
  });

  it('dropout draws masks that agree only by chance between samples, steps, layers and seeds', () => {
    const length = 100_000;
    const ones = new Float32Array(length).fill(1);
    const base = drop(ones, 0.5, [5]);
    const others = [
      drop(ones, 0.5, [6]),
      drop(ones, 0.5, [5], { ...KEY, step: 42 }),
      drop(ones, 0.5, [5], { ...KEY, layer: 4 }),
      drop(ones, 0.5, [5], { ...KEY, seed: 1 }),
    ];
    for (const other of others) {
      const numEqual = other.filter((value, i) => value === base[i]).length;
      expect(Math.abs(numEqual - length / 2)).toBeLessThan(5 * Math.sqrt(length / 4));
    }
  });

  it('dropout gives a sample the same mask in any row of any batch', () => {
    const [a, b] = [randomValues(1, 37), randomValues(2, 37)];
    const together = drop(Float32Array.of(...a, ...b), 0.4, [11, 12]);
    expectSameBits(drop(b, 0.4, [12]), together.slice(37), 'second row');
    expectSameBits(
      drop(Float32Array.of(...b, ...a), 0.4, [12, 11]).slice(37),
      together.slice(0, 37),
      'swapped',
    );
  });

  it('dropout keeps nothing of a dropped value, not even NaN, and can work in place', () => {
    const x = new Float32Array(64).fill(Number.NaN);
    const y = drop(x, 0.5, [1]);
    expect(y.some((value) => value === 0)).toBe(true);
    expect(y.some((value) => Number.isNaN(value))).toBe(true);
    const values = randomValues(1, 21);
    const at = arena.put(values);
    const samples = arena.put(Uint32Array.of(9));
    arena.kernels.dropout(at, 1, 21, 2 ** 31, 2, KEY.seed, KEY.layer, KEY.step, samples, arena.room(64), at);
    expectSameBits(arena.f32(at, 21), twin(values, 0.5, [9]), 'in place');
  });
});
