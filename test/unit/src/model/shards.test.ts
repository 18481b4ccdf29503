// Batches cut into shards, in the same way for every model except those whose layers
// take statistics of a shard.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LayerInput } from '../../../../src/layers/registry.ts';
import { layerSchema } from '../../../../src/layers/registry.ts';
import type { ModelSpec } from '../../../../src/model/model.ts';
import { cutBatch, defaultShards, mostRows, shardBounds } from '../../../../src/model/shards.ts';

const DENSE: LayerInput = { kind: 'dense', units: 1 };
const PLAIN = modelOf([DENSE]);
const NORMED = modelOf([{ kind: 'batchNorm' }, DENSE]);

function modelOf(layers: readonly LayerInput[]): ModelSpec {
  return { layers: layers.map((layer) => layerSchema.parse(layer)) };
}

/** Rows of each shard. */
function sizes(bounds: Uint32Array): number[] {
  return Array.from(bounds.subarray(1), (end, shard) => end - (bounds[shard] as number));
}

/** The config of a batch, and a batch of at most its size. */
const batches = fc
  .record({ batchSize: fc.integer({ min: 1, max: 3000 }), shards: fc.integer({ min: 1, max: 1024 }) })
  .chain((config) =>
    fc.record({ config: fc.constant(config), rows: fc.integer({ min: 1, max: config.batchSize }) }),
  );

describe('shardBounds', () => {
  test('shardBounds gives the first shards one row more', () => {
    expect(shardBounds(10, 4)).toEqual(Uint32Array.of(0, 3, 6, 8, 10));
    expect(shardBounds(8, 4)).toEqual(Uint32Array.of(0, 2, 4, 6, 8));
  });

  test('shardBounds leaves out empty shards', () => {
    expect(shardBounds(3, 8)).toEqual(Uint32Array.of(0, 1, 2, 3));
    expect(shardBounds(0, 8)).toEqual(Uint32Array.of(0));
  });

  test('shardBounds covers all rows without an empty shard', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 1024 }), (rows, shards) => {
        const bounds = shardBounds(rows, shards);
        const lengths = sizes(bounds);
        expect(bounds.at(-1)).toBe(rows);
        expect(Math.min(...lengths)).toBeGreaterThan(0);
        expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('the default number of shards', () => {
  test('the default number of shards is 8 without batchNorm, for any batch', () => {
    expect([1, 16, 256, 1_048_576].map((batchSize) => defaultShards({ batchSize, model: PLAIN }))).toEqual([
      8, 8, 8, 8,
    ]);
  });

  test.each([
    [1, 1],
    [16, 1],
    [32, 1],
    [63, 1],
    [64, 2],
    [100, 3],
    [255, 7],
    [256, 8],
    [100_000, 8],
  ])('a batch of %i samples with batchNorm has %i shards by default', (batchSize, expected) => {
    expect(defaultShards({ batchSize, model: NORMED })).toBe(expected);
  });

  test('the default number of shards takes account of batchNorm inside residual blocks and their shortcuts', () => {
    const inBody = modelOf([
      { kind: 'residual', layers: [{ kind: 'residual', layers: [{ kind: 'batchNorm' }] }] },
    ]);
    const inShortcut = modelOf([{ kind: 'residual', layers: [DENSE], shortcut: [{ kind: 'batchNorm' }] }]);
    const without = modelOf([{ kind: 'residual', layers: [DENSE], shortcut: [{ kind: 'layerNorm' }] }]);
    const counts = [inBody, inShortcut, without].map((model) => defaultShards({ batchSize: 32, model }));
    expect(counts).toEqual([1, 1, 8]);
  });
});

describe('the shards of a batch', () => {
  test('a batch without batchNorm is cut into as many shards as the config says, down to single rows', () => {
    fc.assert(
      fc.property(batches, ({ config, rows }) => {
        expect(cutBatch(rows, { ...config, model: PLAIN })).toEqual(shardBounds(rows, config.shards));
      }),
    );
  });

  test('a full batch has as many shards with batchNorm as without', () => {
    fc.assert(
      fc.property(batches, ({ config }) => {
        const { batchSize, shards } = config;
        expect(cutBatch(batchSize, { ...config, model: NORMED })).toEqual(shardBounds(batchSize, shards));
      }),
    );
  });

  test.each([
    // 208 rows in batches of 100 leave eight.
    [8, { batchSize: 100, shards: 3 }, [8]],
    [8, { batchSize: 100, shards: 8 }, [8]],
    [63, { batchSize: 256, shards: 8 }, [63]],
    [64, { batchSize: 256, shards: 8 }, [32, 32]],
    [100, { batchSize: 256, shards: 8 }, [34, 33, 33]],
    [300, { batchSize: 1024, shards: 8 }, [38, 38, 38, 38, 37, 37, 37, 37]],
    // This config asks for shards of two.
    [7, { batchSize: 16, shards: 8 }, [3, 2, 2]],
    [1, { batchSize: 16, shards: 8 }, [1]],
  ])('a short batch of %i rows with batchNorm, under %j, has shards of %j', (rows, config, expected) => {
    expect(sizes(cutBatch(rows, { ...config, model: NORMED }))).toEqual(expected);
  });

  test('a batch with batchNorm has no shard smaller than 32 rows, a full shard, or itself', () => {
    fc.assert(
      fc.property(batches, ({ config, rows }) => {
        const { batchSize, shards } = config;
        const lengths = sizes(cutBatch(rows, { ...config, model: NORMED }));
        const least = Math.min(rows, 32, Math.max(1, Math.floor(batchSize / shards)));
        expect(Math.min(...lengths)).toBeGreaterThanOrEqual(least);
        expect(lengths.reduce((sum, length) => sum + length)).toBe(rows);
        // With one shard more, some shard would be too small.
        if (lengths.length < Math.min(shards, rows)) expect(rows).toBeLessThan((lengths.length + 1) * least);
      }),
    );
  });
});

describe('mostRows', () => {
  test.each([PLAIN, NORMED])(
    'mostRows gives the most rows of that many shards, in a batch of any length (%#)',
    (model) => {
      const small = fc.record({
        batchSize: fc.integer({ min: 1, max: 400 }),
        shards: fc.integer({ min: 1, max: 20 }),
      });
      fc.assert(
        fc.property(small, fc.integer({ min: 1, max: 32 }), (config, numShards) => {
          const sharding = { ...config, model };
          const rows = Array.from({ length: config.batchSize }, (_, i) => {
            const bounds = cutBatch(i + 1, sharding);
            return bounds[Math.min(numShards, bounds.length - 1)] as number;
          });
          expect(mostRows(numShards, sharding)).toBe(Math.max(...rows));
        }),
      );
    },
  );
});
