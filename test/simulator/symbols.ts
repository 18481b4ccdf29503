// Values of a simulated training: hashes in place of tensors. Adding two sums hashes both in order, so any
// other grouping, any other shard and any other weights give another value; and the right one is known
// without any worker.
import { shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

/** A hash of 53 bits; NaN for a value that is not finite. */
export type Value = number;

/** Finite, but too large to be added to anything: only a liar sends it. */
export const HUGE: Value = -1;

/** The inputs of a round: all of them affect every shard's value. */
export interface Work {
  readonly kind: 'train' | 'evaluate';
  readonly step: number;
  readonly weights: Value;
  readonly numShards: number;
  /** The training diverges at this step, in shard 0. */
  readonly divergesAt: number | undefined;
}

/** Hashes numbers in order (cyrb53). */
export function hashOf(...values: readonly number[]): Value {
  let h1 = 0xdeadbeef;
  let h2 = 0x41c6ce57;
  for (const value of values) {
    for (const word of [value >>> 0, Math.floor(value / 2 ** 32) >>> 0]) {
      h1 = Math.imul(h1 ^ word, 0x9e3779b1);
      h2 = Math.imul(h2 ^ word, 0x5f356495);
      h1 ^= h2 >>> 15;
      h2 ^= h1 >>> 13;
    }
  }
  return (h2 & 0x1fffff) * 2 ** 32 + (h1 >>> 0);
}

/** left + right. */
export function add(left: Value, right: Value): Value {
  if (Number.isNaN(left) || Number.isNaN(right) || left === HUGE || right === HUGE) return Number.NaN;
  return hashOf(1, left, right);
}

/** The value of a shard for a bucket. */
function shardValue(work: Work, shard: number, bucket: number): Value {
  if (work.kind === 'train' && work.divergesAt === work.step && shard === 0) return Number.NaN;
  return hashOf(work.kind === 'train' ? 2 : 3, work.step, work.weights, shard, bucket);
}

/** The right sum under a node. */
export function sumUnder(work: Work, node: TreeNode, bucket: number): Value {
  const { from, to } = shardsUnder(node, work.numShards);
  let sums = Array.from({ length: to - from }, (_, shard) => shardValue(work, from + shard, bucket));
  while (sums.length > 1) {
    const pairs: Value[] = [];
    for (let i = 0; i < sums.length; i += 2) {
      const [left, right] = [sums[i] as Value, sums[i + 1]];
      pairs.push(right === undefined ? left : add(left, right));
    }
    sums = pairs;
  }
  return sums[0] as Value;
}

/** The weights of a bucket after a step with this gradient. */
export function nextWeights(weights: Value, gradient: Value): Value {
  return hashOf(4, weights, gradient);
}

/** One value for all buckets. */
export function combine(buckets: readonly Value[]): Value {
  return hashOf(5, ...buckets);
}
