// Batches out of a packed dataset, byte for byte.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const WIDTHS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257, 784];
const NUM_ROWS = 11;
/** Repeated, in no order, the first and the last row among them. */
const INDICES = Uint32Array.of(10, 0, 3, 3, 7, 1, 10);

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

describe('gatherRows', () => {
  it('gatherRows copies the given rows at every width', () => {
    for (const width of WIDTHS) {
      const source = randomValues(width, NUM_ROWS * width);
      const out = arena.room(4 * INDICES.length * width);
      arena.kernels.gatherRows(arena.put(source), 4 * width, arena.put(INDICES), INDICES.length, out);
      const expected = [...INDICES].flatMap((row) => [...source.subarray(row * width, (row + 1) * width)]);
      expectSameBits(arena.f32(out, expected.length), expected, `width ${width}`);
      arena.reset();
    }
  });

  it('gatherRows copies any bits unchanged, such as labels and NaN payloads', () => {
    const source = Uint32Array.of(0, 0xffffffff, 0x7fc01234, 9);
    const out = arena.room(16);
    arena.kernels.gatherRows(arena.put(source), 4, arena.put(Uint32Array.of(3, 2, 1, 0)), 4, out);
    expect(arena.u32(out, 4)).toEqual(source.slice().reverse());
  });
});

describe('gatherScaledBytes', () => {
  it('gatherScaledBytes gives the bits of byte * scale at every width', () => {
    for (const width of WIDTHS) {
      const source = Uint8Array.from(randomWords(width, NUM_ROWS * width));
      const scale = 1 / 255;
      const out = arena.room(4 * INDICES.length * width);
      arena.kernels.gatherScaledBytes(
        arena.put(source),
        width,
        scale,
        arena.put(INDICES),
        INDICES.length,
        out,
      );
      const expected = [...INDICES].flatMap((row) =>
        Array.from(source.subarray(row * width, (row + 1) * width), (byte) =>
          Math.fround(byte * Math.fround(scale)),
        ),
      );
      expectSameBits(arena.f32(out, expected.length), expected, `width ${width}`);
      arena.reset();
    }
  });

  it('gatherScaledBytes reads all 256 bytes as unsigned', () => {
    const source = Uint8Array.from({ length: 256 }, (_, i) => i);
    const out = arena.room(4 * 256);
    arena.kernels.gatherScaledBytes(arena.put(source), 256, 1, arena.put(Uint32Array.of(0)), 1, out);
    expectSameBits(arena.f32(out, 256), source, 'bytes');
  });
});
