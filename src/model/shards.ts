// The cut of a batch into shards: by the config, the model and the number of rows alone, never by
// who computes them. Layers that take statistics of a shard make its size part of what a model
// learns, so their shards are kept large enough.
import { hasStatistics } from '../layers/registry.ts';
import type { ModelSpec } from './model.ts';

/** The part of a config that says how batches are cut. */
export interface Sharding {
  readonly batchSize: number;
  readonly shards: number;
  readonly model: ModelSpec;
}

const DEFAULT_SHARDS = 8;
const MAX_DEFAULT_GROUPS = 8;

/** Rows from which on mean and variance of a shard are good enough: docs/numerics.md has the measurements. */
export const SOUND_ROWS = 32;

/** The number of shards of a config that gives none. */
export function defaultShards({ batchSize, model }: Omit<Sharding, 'shards'>): number {
  if (!hasStatistics(model.layers)) return DEFAULT_SHARDS;
  return Math.max(1, Math.min(DEFAULT_SHARDS, Math.floor(batchSize / SOUND_ROWS)));
}

/** The most groups of a batch in a config that gives none: as many as shards, down to a power of two. */
export function defaultGroups(shards: number): number {
  return 2 ** (31 - Math.clz32(Math.min(shards, MAX_DEFAULT_GROUPS)));
}

/**
 * Tells whether a batch of so many shards may be cut into so many groups. Powers of two, because a
 * short batch then needs no more sums between microbatches than a full one.
 */
export function areGroups(groups: number, shards: number): boolean {
  return groups <= shards && (groups & (groups - 1)) === 0;
}

/**
 * Bounds of the k shards of a batch, k + 1 numbers: shard i is rows `[bounds[i], bounds[i + 1])`. A
 * batch has `shards` shards, none of them empty. Of a model with statistics, a short batch has
 * fewer of them rather than smaller ones than `leastRows`.
 */
export function cutBatch(numRows: number, sharding: Sharding): Uint32Array {
  const fitting = Math.max(1, Math.floor(numRows / leastRows(sharding)));
  return shardBounds(numRows, Math.min(sharding.shards, fitting));
}

/** Bounds of at most `shards` shards whose sizes differ by one row at most, the larger ones first. */
export function shardBounds(numRows: number, shards: number): Uint32Array {
  const numShards = Math.min(numRows, shards);
  return Uint32Array.from({ length: numShards + 1 }, (_, shard) => firstRow(shard, numRows, numShards));
}

/**
 * Most rows that so many neighbouring shards have in any batch: shards of a short one may be larger
 * than those of a full one.
 */
export function mostRows(numShards: number, sharding: Sharding): number {
  const { batchSize, shards } = sharding;
  const least = leastRows(sharding);
  let most = 0;
  for (let cut = 1; cut <= shards; cut++) {
    // The longest batch that is cut into so many.
    const numRows = cut < shards ? Math.min((cut + 1) * least - 1, batchSize) : batchSize;
    most = Math.max(most, firstRow(Math.min(numShards, cut), numRows, cut));
  }
  return most;
}

/**
 * Rows below which no shard of a model with statistics falls: those of a full batch's, or
 * `SOUND_ROWS` where these are larger.
 */
function leastRows({ batchSize, shards, model }: Sharding): number {
  if (!hasStatistics(model.layers)) return 1;
  return Math.max(1, Math.min(SOUND_ROWS, Math.floor(batchSize / shards)));
}

/** The first row of shard `shard` of `numShards`. */
function firstRow(shard: number, numRows: number, numShards: number): number {
  return shard * Math.floor(numRows / numShards) + Math.min(shard, numRows % numShards);
}
