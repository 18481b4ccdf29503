// The reduction tree by its definition: node (level, i) = node (level-1, 2i) + node (level-1, 2i+1), and a
// missing right side leaves the left as it is.
import type { Arithmetic, Values } from './arithmetic.ts';

/** Combines shards along the tree; `add` makes a new value of a left and a right one. */
export function combineAlongTree<T>(shards: readonly T[], add: (left: T, right: T) => T): T {
  const node = (level: number, index: number): T | undefined => {
    if (level === 0) return shards[index];
    const left = node(level - 1, 2 * index);
    const right = node(level - 1, 2 * index + 1);
    return left === undefined || right === undefined ? left : add(left, right);
  };
  const root = node(Math.ceil(Math.log2(shards.length)), 0);
  if (root === undefined) throw new Error('a tree needs a shard');
  return root;
}

export function addValues(arithmetic: Arithmetic, left: Values, right: Values): Values {
  return arithmetic.from(Array.from(left, (value, i) => arithmetic.round(value + at(right, i))));
}

/** values[i], which the caller knows to exist. */
export function at(values: ArrayLike<number>, i: number): number {
  return values[i] as number;
}
