// Packing and matrix products of both builds against their twins, to the bit.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { fused, single } from '../helpers/twins/arithmetic.ts';
import type { Arithmetic, Values } from '../helpers/twins/arithmetic.ts';
import { multiply, multiplyTree, transpose } from '../helpers/twins/matrix.ts';
import {
  TILE_COLUMNS,
  TILE_LENGTH,
  TREE_TILES_LENGTH,
  packedLeftLength,
  packedRightLength,
} from '../../src/kernels/kernels.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { KERNEL_WIDTHS } from '../../src/kernels/kernel-width.ts';
import type { KernelWidth } from '../../src/kernels/kernel-width.ts';
import { EXTREMES, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

// Below, at, above and at a multiple of the tile (5 x 8; 5 x 16 where vectors are wide), of the four steps of a loop, of a depth block
// (400), and past the columns of B that a block of depth 400 holds (160).
const SMALL = [1, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 31, 33];
const LARGE = [59, 60, 61, 120, 399, 400, 401, 800, 801];

let arena: Arena;
let arithmetic: Arithmetic;
beforeAll(() => useBuild('strict', 128));

async function useBuild(numerics: Numerics, width: KernelWidth): Promise<void> {
  arena = await Arena.create(numerics, width);
  arithmetic = numerics === 'fused' ? fused : single;
}
afterEach(() => arena.reset());

interface Sizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** Puts a [length, depth] matrix, or its transpose, into memory with rows `extra` longer than needed. */
function putSource(
  matrix: Values,
  length: number,
  depth: number,
  from: 'rows' | 'columns',
  extra: number,
): { source: number; stride: number } {
  const [rows, columns] = from === 'rows' ? [length, depth] : [depth, length];
  const values = from === 'rows' ? matrix : transpose(matrix, length, depth);
  return { source: arena.put(widen(values, rows, columns, extra)), stride: columns + extra };
}

function packLeft(a: Values, m: number, k: number, from: 'rows' | 'columns', extra: number): number {
  const packed = arena.room(4 * packedLeftLength(m, k));
  const { source, stride } = putSource(a, m, k, from, extra);
  const run = from === 'rows' ? arena.kernels.packLeftRows : arena.kernels.packLeftColumns;
  run(source, m, k, stride, packed);
  return packed;
}

function packRight(b: Values, n: number, k: number, from: 'rows' | 'columns', extra: number): number {
  const panels = Math.ceil(n / TILE_COLUMNS);
  const packed = arena.room(4 * packedRightLength(k, n));
  const { source, stride } = putSource(b, n, k, from, extra);
  const run = from === 'rows' ? arena.kernels.packRightRows : arena.kernels.packRightColumns;
  // In two parts, as two threads would do it.
  const half = Math.floor(panels / 2);
  run(source, n, k, stride, packed, half, panels);
  run(source, n, k, stride, packed, 0, half);
  return packed;
}

/** Copies x[rows, columns] into rows of columns + extra, the rest NaN. */
function widen(x: Values, rows: number, columns: number, extra: number): Float32Array {
  const wide = new Float32Array(rows * (columns + extra)).fill(Number.NaN);
  for (let row = 0; row < rows; row++)
    wide.set(x.subarray(row * columns, (row + 1) * columns), row * (columns + extra));
  return wide;
}

interface Operands {
  /** [M, K] */
  readonly a: Values;
  /** [K, N] */
  readonly b: Values;
}

function randomOperands({ m, n, k }: Sizes): Operands {
  return { a: randomValues(m + 1000 * k, m * k), b: randomValues(n + 1000 * k + 7, k * n) };
}

type Product = 'NN' | 'NT' | 'TN' | 'TT';

/** C of the kernel; its rows are `extra` longer than N. */
function runKernel(
  { m, n, k }: Sizes,
  { a, b }: Operands,
  product: Product,
  extra = 0,
  bounds?: Uint32Array,
): Float32Array {
  const packedA = packLeft(a, m, k, product[0] === 'N' ? 'rows' : 'columns', extra);
  const packedB = packRight(transpose(b, k, n), n, k, product[1] === 'N' ? 'columns' : 'rows', extra);
  const stride = n + extra;
  const c = arena.put(new Float32Array(m * stride).fill(77));
  if (bounds) {
    const tiles = arena.room(4 * TREE_TILES_LENGTH);
    arena.kernels.gemmPackedTree(
      m,
      n,
      k,
      packedA,
      packedB,
      c,
      stride,
      arena.put(bounds),
      bounds.length - 1,
      tiles,
    );
  } else {
    arena.kernels.gemmPacked(m, n, k, packedA, packedB, c, stride, arena.room(4 * TILE_LENGTH));
  }
  return withoutStride(arena.f32(c, m * stride), m, n, extra);
}

/** The used columns, after a check that the others were left alone. */
function withoutStride(wide: Float32Array, rows: number, columns: number, extra: number): Float32Array {
  const stride = columns + extra;
  expect(wide.every((value, i) => i % stride < columns || value === 77)).toBe(true);
  return wide.filter((_, i) => i % stride < columns).subarray(0, rows * columns);
}

function checkProduct(sizes: Sizes, products: readonly Product[], extra = 0): void {
  const operands = randomOperands(sizes);
  const expected = multiply(arithmetic, { ...sizes, ...operands });
  for (const product of products) {
    const what = `${product} ${sizes.m} x ${sizes.n} x ${sizes.k}`;
    expectSameBits(runKernel(sizes, operands, product, extra), expected, what);
    arena.reset();
  }
}

describe.each(KERNEL_WIDTHS)('gemmPacked with %i-bit vectors', (width) => {
  beforeAll(() => useBuild('strict', width));

  it.each(SMALL)(
    'gemmPacked matches its twin bit for bit for %i rows and every width and depth around a tile',
    (m) => {
      for (const n of SMALL) for (const k of SMALL) checkProduct({ m, n, k }, ['NN', 'NT', 'TN', 'TT']);
    },
  );

  it.each(LARGE)('gemmPacked matches its twin bit for bit where one size is %i', (large) => {
    for (const other of [1, 5, 9]) {
      checkProduct({ m: large, n: other, k: other }, ['NN', 'TN']);
      checkProduct({ m: other, n: large, k: other }, ['NN', 'NT']);
      checkProduct({ m: other, n: other, k: large }, ['NN', 'NT', 'TN']);
    }
  });

  it('gemmPacked matches its twin bit for bit where several sizes cross a block', () => {
    for (const [m, n, k] of [
      [61, 33, 401],
      [6, 161, 400],
      [60, 16, 800],
      [65, 17, 801],
      [121, 8, 400],
    ] as const) {
      checkProduct({ m, n, k }, ['NN']);
    }
  });

  it('gemmPacked reads and writes rows of any stride', () => {
    for (const n of [1, 7, 8, 9]) checkProduct({ m: 5, n, k: 500 }, ['NN', 'NT', 'TN', 'TT'], 3);
  });

  it('gemmPacked gives an element the same bits wherever its tile lies', () => {
    const operands = randomOperands({ m: 9, n: 17, k: 500 });
    const whole = runKernel({ m: 9, n: 17, k: 500 }, operands, 'NN');
    for (let i = 0; i < 9; i++) {
      for (let j = 0; j < 17; j++) {
        const a = operands.a.slice(i * 500, (i + 1) * 500);
        const b = operands.b.filter((_, p) => p % 17 === j);
        arena.reset();
        expectSameBits(
          runKernel({ m: 1, n: 1, k: 500 }, { a, b }, 'NN'),
          [whole[i * 17 + j] as number],
          `${i}, ${j}`,
        );
      }
    }
  });

  it('gemmPacked carries NaN, infinities and denormals as its twin does', () => {
    const sizes = { m: 10, n: 10, k: 10 };
    const choose = (word: number): number => EXTREMES[word % EXTREMES.length] as number;
    for (let seed = 0; seed < 20; seed++) {
      const operands = {
        a: Float32Array.from(randomWords(seed, 100), (word) =>
          word % 3 === 0 ? choose(word >>> 8) : word / 2 ** 32,
        ),
        b: Float32Array.from(randomWords(seed + 100, 100), (word) =>
          word % 9 === 0 ? choose(word >>> 8) : word / 2 ** 32,
        ),
      };
      expectSameBits(
        runKernel(sizes, operands, 'NN'),
        multiply(arithmetic, { ...sizes, ...operands }),
        `seed ${seed}`,
      );
      arena.reset();
    }
  });
});

describe.each(KERNEL_WIDTHS)('gemmPackedInto with %i-bit vectors', (width) => {
  beforeAll(() => useBuild('strict', width));

  it.each([1, 5, 9, 61])('gemmPackedInto adds the product to the values of %i rows of C', (m) => {
    for (const n of [1, 8, 17]) for (const k of [1, 9, 400, 500, 801]) checkInto({ m, n, k });
  });

  it('gemmPackedInto leaves the gaps between the rows of C alone', () => {
    for (const n of [7, 8, 9]) checkInto({ m: 6, n, k: 20 }, 3);
  });
});

function checkInto(sizes: Sizes, extra = 0): void {
  const { m, n, k } = sizes;
  const { a, b } = randomOperands(sizes);
  const into = randomValues(m + n + k, m * n);
  const wide = widen(into, m, n, extra).map((value) => (Number.isNaN(value) ? 77 : value));
  const packedA = packLeft(a, m, k, 'rows', 0);
  const packedB = packRight(transpose(b, k, n), n, k, 'columns', 0);
  const c = arena.put(wide);
  const tile = arena.room(4 * TILE_LENGTH);
  arena.kernels.gemmPackedInto(m, n, k, packedA, packedB, c, n + extra, tile);
  const actual = withoutStride(arena.f32(c, wide.length), m, n, extra);
  expectSameBits(actual, multiply(arithmetic, { ...sizes, a, b }, into), `${m} x ${n} x ${k}`);
  arena.reset();
}

describe.each(KERNEL_WIDTHS)('gemmPackedTree with %i-bit vectors', (width) => {
  beforeAll(() => useBuild('strict', width));

  it('gemmPackedTree sums 1 to 40 shards along the tree', () => {
    for (let numShards = 1; numShards <= 40; numShards++) {
      const bounds = Uint32Array.from({ length: numShards + 1 }, (_, s) => s + Math.floor(s / 3));
      checkTree({ m: 5, n: 9, k: bounds[numShards] as number }, bounds);
    }
  });

  it('gemmPackedTree sums 1024 shards, the most that a batch may have', () => {
    for (const numShards of [1023, 1024]) {
      const bounds = Uint32Array.from({ length: numShards + 1 }, (_, s) => s);
      checkTree({ m: 4, n: 8, k: numShards }, bounds);
      checkTree({ m: 3, n: 7, k: numShards }, bounds);
    }
  });

  it.each(SMALL)('gemmPackedTree matches its twin bit for bit for %i rows of C', (m) => {
    for (const n of SMALL) checkTree({ m, n, k: 23 }, Uint32Array.of(0, 4, 8, 12, 17, 20, 23));
  });

  it('gemmPackedTree sums a shard deeper than a block of gemmPacked in one go', () => {
    checkTree({ m: 5, n: 9, k: 1200 }, Uint32Array.of(0, 401, 800, 1200));
  });

  it('gemmPackedTree sums several blocks of columns as it sums one', () => {
    checkTree({ m: 6, n: 130, k: 500 }, Uint32Array.of(0, 100, 300, 500));
  });

  it('gemmPackedTree writes rows of any stride', () => {
    checkTree({ m: 5, n: 8, k: 9 }, Uint32Array.of(0, 2, 5, 9), 3);
    checkTree({ m: 8, n: 8, k: 9 }, Uint32Array.of(0, 2, 5, 7, 9), 3);
  });

  it('gemmPackedTree equals gemmPacked for one shard within a depth block', () => {
    const sizes = { m: 17, n: 19, k: 400 };
    const operands = randomOperands(sizes);
    const tree = runKernel(sizes, operands, 'TN', 0, Uint32Array.of(0, 400));
    expectSameBits(tree, runKernel(sizes, operands, 'TN'), 'one shard');
  });
});

function checkTree(sizes: Sizes, bounds: Uint32Array, extra = 0): void {
  const operands = randomOperands(sizes);
  const expected = multiplyTree(arithmetic, { ...sizes, ...operands }, bounds);
  const actual = runKernel(sizes, operands, 'TN', extra, bounds);
  expectSameBits(actual, expected, `${sizes.m} x ${sizes.n} x [${bounds.join()}]`);
  arena.reset();
}

describe.each(KERNEL_WIDTHS)('the fused build with %i-bit vectors', (width) => {
  beforeAll(() => useBuild('fused', width));

  it('the fused build rounds each a * b + c once at every size around a tile', () => {
    for (const m of [1, 4, 5, 6, 11]) {
      for (const n of [1, 7, 8, 9, 17])
        for (const k of [1, 2, 3, 4, 5, 401]) checkProduct({ m, n, k }, ['NN', 'NT']);
    }
  });

  it('the fused build rounds once in sums along the tree and in products that are added to C', () => {
    checkTree({ m: 6, n: 9, k: 23 }, Uint32Array.of(0, 4, 8, 12, 17, 20, 23));
    checkInto({ m: 6, n: 9, k: 401 });
  });

  it('the fused build gives other bits than the strict one', () => {
    const operands = randomOperands({ m: 5, n: 8, k: 50 });
    const strict = multiply(single, { m: 5, n: 8, k: 50, ...operands });
    expect(runKernel({ m: 5, n: 8, k: 50 }, operands, 'NN')).not.toEqual(strict);
  });
});
