// Matrix products and column sums, in the order of additions that assembly/gemm.ts promises.
// Letters: M rows and N columns of C, K the depth.
import type { Arithmetic, Values } from './arithmetic.ts';
import { addValues, at, combineAlongTree } from './tree.ts';

/** Depth of one block: its sum starts at zero and is then added to C. */
const BLOCK_DEPTH = 400;

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** [M, K] */
  readonly a: ArrayLike<number>;
  /** [K, N] */
  readonly b: ArrayLike<number>;
}

/** C[M, N] = A B, or `into` + A B: blocks of the depth one after the other, k ascending within a block. */
export function multiply(arithmetic: Arithmetic, product: Product, into?: ArrayLike<number>): Values {
  const { m, n, k } = product;
  const c = arithmetic.zeros(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = into && at(into, i * n + j);
      for (let start = 0; start < k; start += BLOCK_DEPTH) {
        const block = dot(arithmetic, product, i, j, start, Math.min(k, start + BLOCK_DEPTH));
        sum = sum === undefined ? block : arithmetic.round(sum + block);
      }
      c[i * n + j] = sum ?? 0;
    }
  }
  return c;
}

/** C[M, N] = the tree sum over the parts [bounds[s], bounds[s + 1]) of the depth. */
export function multiplyTree(arithmetic: Arithmetic, product: Product, bounds: ArrayLike<number>): Values {
  const { m, n } = product;
  const sums = Array.from({ length: bounds.length - 1 }, (_, s) => {
    const c = arithmetic.zeros(m * n);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        c[i * n + j] = dot(arithmetic, product, i, j, at(bounds, s), at(bounds, s + 1));
      }
    }
    return c;
  });
  return combineAlongTree(sums, (left, right) => addValues(arithmetic, left, right));
}

function dot(
  arithmetic: Arithmetic,
  { n, k, a, b }: Product,
  i: number,
  j: number,
  start: number,
  end: number,
): number {
  let sum = 0;
  for (let p = start; p < end; p++) sum = arithmetic.multiplyAdd(at(a, i * k + p), at(b, p * n + j), sum);
  return sum;
}

/** out[N] = the tree sum over shards of the column sums of x[rows, N]. */
export function columnSum(
  arithmetic: Arithmetic,
  x: ArrayLike<number>,
  columns: number,
  bounds: ArrayLike<number>,
): Values {
  const row = (r: number): Values =>
    arithmetic.from(Array.from({ length: columns }, (_, j) => at(x, r * columns + j)));
  const sums = Array.from({ length: bounds.length - 1 }, (_, s) => {
    let sum = row(at(bounds, s));
    for (let r = at(bounds, s) + 1; r < at(bounds, s + 1); r++) sum = addValues(arithmetic, sum, row(r));
    return sum;
  });
  return combineAlongTree(sums, (left, right) => addValues(arithmetic, left, right));
}

/** The transpose of x[rows, columns]. */
export function transpose(x: Values, rows: number, columns: number): Values {
  const result = x.slice();
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = at(x, i * columns + j);
  }
  return result;
}
