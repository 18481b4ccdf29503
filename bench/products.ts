// The matrix products of `lockstep bench kernels`, both operands packed each time.
import {
  TILE_COLUMNS,
  TREE_TILES_LENGTH,
  packedLeftLength,
  packedRightLength,
} from '../src/kernels/kernels.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Memory } from '../src/memory.ts';

/** One product: C[m, n] = A B over depth k. */
export interface ProductShape {
  readonly name: string;
  /** Storage of each operand: as in the formula (N) or transposed (T). */
  readonly layout: 'NN' | 'NT' | 'TN';
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const LAYOUTS = ['NN', 'NT', 'TN'] as const;

/** Squares, and the products of one shard of a 784 to 256 layer. */
export const PRODUCT_SHAPES: readonly ProductShape[] = [
  ...[192, 384, 768, 1024].flatMap((size) =>
    LAYOUTS.map((layout) => ({ name: `${size} square`, layout, m: size, n: size, k: size })),
  ),
  ...[16, 32, 64].flatMap((rows): ProductShape[] => [
    { name: `forward, ${rows} rows`, layout: 'NT', m: rows, n: 256, k: 784 },
    { name: `input gradient, ${rows} rows`, layout: 'NN', m: rows, n: 784, k: 256 },
    { name: `weight gradient, ${rows} rows`, layout: 'TN', m: 256, n: 784, k: rows },
  ]),
];

/** Addresses of operands and scratch, with room for every shape. */
export interface ProductBuffers {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly packedA: number;
  readonly packedB: number;
  readonly bounds: number;
  readonly tiles: number;
}

/** Allocates for all shapes, and fills the operands with normal numbers. */
export function allocateProductBuffers(memory: Memory): ProductBuffers {
  const room = (lengthOf: (shape: ProductShape) => number): number => {
    const length = Math.max(...PRODUCT_SHAPES.map(lengthOf));
    const address = memory.allocate(4 * length, 'the benchmark');
    memory.f32(address, length).fill(0.5);
    return address;
  };
  return {
    a: room(({ m, k }) => m * k),
    b: room(({ n, k }) => n * k),
    c: room(({ m, n }) => m * n),
    packedA: room(({ m, k }) => packedLeftLength(m, k)),
    packedB: room(({ n, k }) => packedRightLength(k, n)),
    bounds: memory.allocate(8, 'the benchmark'),
    tiles: memory.allocate(4 * TREE_TILES_LENGTH, 'the benchmark'),
  };
}

/**
 * A closure that packs both operands and multiplies; a weight gradient by the tree product of one
 * shard.
 */
export function productOf(
  kernels: Kernels,
  memory: Memory,
  buffers: ProductBuffers,
  { name, layout, m, n, k }: ProductShape,
): () => void {
  const { a, b, c, packedA, packedB, bounds, tiles } = buffers;
  const panels = Math.ceil(n / TILE_COLUMNS);
  const isTree = name.startsWith('weight gradient');
  return () => {
    if (layout === 'TN') kernels.packLeftColumns(a, m, k, m, packedA);
    else kernels.packLeftRows(a, m, k, k, packedA);
    if (layout === 'NT') kernels.packRightRows(b, n, k, k, packedB, 0, panels);
    else kernels.packRightColumns(b, n, k, n, packedB, 0, panels);
    if (isTree) {
      memory.u32(bounds, 2).set([0, k]);
      kernels.gemmPackedTree(m, n, k, packedA, packedB, c, n, bounds, 1, tiles);
    } else kernels.gemmPacked(m, n, k, packedA, packedB, c, n, tiles);
  };
}
