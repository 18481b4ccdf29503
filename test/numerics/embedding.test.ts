// Tables of vectors: rows are copied and summed to the bit, invalid ids are reported, nothing is written
// outside; and whole vectors are moved and added.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const UNITS = [1, 3, 4, 5, 7, 8, 9, 16, 17];
const VOCABULARY = 11;

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

function randomIds(seed: number, length: number): Float32Array {
  return Float32Array.from(randomWords(seed, length), (word) => word % VOCABULARY);
}

describe('embeddingForward', () => {
  it('embeddingForward copies the rows of its ids at every width', () => {
    for (const units of UNITS) {
      const ids = randomIds(units, 13);
      const table = randomValues(units, VOCABULARY * units);
      const y = arena.room(4 * 13 * units);
      const wrong = arena.kernels.embeddingForward(
        arena.put(ids),
        13,
        arena.put(table),
        VOCABULARY,
        units,
        y,
      );
      const expected = [...ids].flatMap((id) => [...table.slice(id * units, (id + 1) * units)]);
      expect(wrong).toBe(0);
      expectSameBits(arena.f32(y, 13 * units), expected, `${units} units`);
      arena.reset();
    }
  });

  it.each([VOCABULARY, -1, 0.5, 1e10, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'embeddingForward returns the position of the id %d and writes nothing from there on',
    (id) => {
      const table = arena.put(randomValues(1, VOCABULARY * 2));
      const y = arena.put(new Float32Array(8));
      const ids = arena.put(Float32Array.of(3, 4, id, 2));
      expect(arena.kernels.embeddingForward(ids, 4, table, VOCABULARY, 2, y)).toBe(3);
      expect([...arena.f32(y, 8).slice(4)]).toEqual([0, 0, 0, 0]);
    },
  );

  it('embeddingForward treats -0 as 0', () => {
    const y = arena.room(4);
    const table = arena.put(Float32Array.of(7, 8));
    expect(arena.kernels.embeddingForward(arena.put(Float32Array.of(-0)), 1, table, 2, 1, y)).toBe(0);
    expectSameBits(arena.f32(y, 1), [7], 'row 0');
  });
});

describe('embeddingBackward', () => {
  it('embeddingBackward adds the errors of each id in ascending order of positions, and zeros for absent ids', () => {
    for (const units of UNITS) {
      const ids = randomIds(units, 29).map((id) => (id === 5 ? 6 : id));
      const dY = randomValues(units, 29 * units);
      const dTable = arena.room(4 * VOCABULARY * units);
      arena.kernels.embeddingBackward(arena.put(dY), arena.put(ids), 29, VOCABULARY, units, dTable);
      const expected = new Float32Array(VOCABULARY * units);
      ids.forEach((id, n) => {
        for (let j = 0; j < units; j++) {
          expected[id * units + j] = (expected[id * units + j] as number) + (dY[n * units + j] as number);
        }
      });
      expectSameBits(arena.f32(dTable, expected.length), expected, `${units} units`);
      arena.reset();
    }
  });
});

describe('addToRows', () => {
  it('addToRows adds one vector to every row at every width, also in place', () => {
    for (const columns of UNITS) {
      const x = randomValues(columns, 3 * columns);
      const vector = randomValues(columns + 1, columns);
      const expected = x.map((value, i) => value + (vector[i % columns] as number));
      const [at, y] = [arena.put(x), arena.room(x.byteLength)];
      arena.kernels.addToRows(at, arena.put(vector), 3, columns, y);
      expectSameBits(arena.f32(y, x.length), expected, `${columns} columns`);
      arena.kernels.addToRows(at, arena.put(vector), 3, columns, at);
      expectSameBits(arena.f32(at, x.length), expected, `${columns} columns in place`);
      arena.reset();
    }
  });
});

describe('copyValues', () => {
  it('copyValues copies only the given number of values', () => {
    const x = randomValues(1, 9);
    const y = arena.put(new Float32Array(9));
    arena.kernels.copyValues(arena.put(x), 7, y);
    expectSameBits(arena.f32(y, 9), [...x.slice(0, 7), 0, 0], 'seven of nine');
  });
});
