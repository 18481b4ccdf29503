// The numerics contract of the engine: bits depend on weights and samples alone, not on which engine
// computed what, in how many microbatches, or in which order the parts arrived.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Engine, TaskRows } from '../../src/engine/engine.ts';
import type { Model } from '../../src/model/model.ts';
import { shardBounds } from '../../src/model/shards.ts';
import { ACTIVATIONS } from '../../src/layers/activation.ts';
import { LOSS_KINDS } from '../../src/losses/registry.ts';
import type { LossKind } from '../../src/losses/registry.ts';
import { ReductionTree } from '../../src/tree.ts';
import {
  createEngine,
  createEngineRoom,
  modelOf,
  randomWeights,
  sumsOfTask,
} from '../helpers/twins/engines.ts';
import type { EngineOptions, EngineRoom, LayerWords, NodeSum } from '../helpers/twins/engines.ts';
import { packSamples, randomSamples } from '../helpers/twins/samples.ts';
import { expectSameBits } from './arena.ts';

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

interface Batch {
  readonly options: EngineOptions;
  readonly model: Model;
  readonly bounds: Uint32Array;
  readonly indices: Uint32Array;
}

interface BatchSpec {
  readonly inputWidth: number;
  readonly layers: readonly LayerWords[];
  readonly loss: LossKind;
  readonly hasSampleWeights: boolean;
  readonly numRows: number;
  readonly shards: number;
  /** Rows of the batch that the engine is planned for; the batch itself may be shorter. */
  readonly batchSize: number;
  readonly seed: number;
}

function createBatch({
  inputWidth,
  layers,
  loss,
  numRows,
  shards,
  batchSize,
  seed,
  hasSampleWeights,
}: BatchSpec): Batch {
  const model = modelOf(inputWidth, layers);
  const isClassification = loss === 'crossEntropy';
  const shape = { numRows, featureWidth: inputWidth, outputWidth: model.outputWidth, isClassification };
  const dataset = packSamples(randomSamples(seed, { ...shape, hasSampleWeights }));
  const options = { model, loss, dataset, weights: randomWeights(seed, model), batchSize, shards };
  // A batch in an order of its own, which need not be the dataset's.
  const indices = Uint32Array.from({ length: numRows }, (_, i) => (i * 7 + 3) % numRows);
  return { options, model, bounds: shardBounds(numRows, shards), indices };
}

/** Shards [from, to) of a batch as the task that an engine is given. */
function taskOf({ bounds, indices }: Batch, from: number, to: number): TaskRows {
  const firstRow = bounds[from] as number;
  return {
    numShards: bounds.length - 1,
    firstShard: from,
    bounds: bounds.subarray(from, to + 1).map((bound) => bound - firstRow),
    indices: indices.subarray(firstRow, bounds[to]),
  };
}

function wholeBatch(batch: Batch, engine: Engine): NodeSum {
  const sums = sumsOfTask(room, batch.model, engine, taskOf(batch, 0, batch.bounds.length - 1));
  expect(sums).toHaveLength(1);
  return sums[0] as NodeSum;
}

/** Adds up sums as they arrive, as the coordinator does, on plain arrays. */
function combine(
  numShards: number,
  arrivals: readonly NodeSum[],
): { gradient: Float32Array; lossSum: number } {
  const tree = new ReductionTree<{ gradient: Float32Array; lossSum: number }>(numShards);
  let sum: { gradient: Float32Array; lossSum: number } | undefined;
  for (const { node, gradient, lossSum } of arrivals) {
    const added = tree.add(node, { gradient: gradient.slice(), lossSum });
    sum = added?.slot ?? sum;
    for (const { left, right } of added?.merges ?? []) {
      left.gradient.set(left.gradient.map((value, i) => value + (right.gradient[i] as number)));
      left.lossSum += right.lossSum;
    }
  }
  if (!sum || !tree.isComplete) throw new Error('the tree is not complete');
  return sum;
}

function sha256(values: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex');
}

/** A shuffle and choices from one seed that fast-check shrinks. */
const arrivalOrder = fc.array(fc.nat(), { minLength: 1, maxLength: 40 });

const layer = fc.tuple(fc.integer({ min: 1, max: 20 }), fc.constantFrom(...ACTIVATIONS), fc.boolean());

const batchSpec: fc.Arbitrary<BatchSpec> = fc.record({
  inputWidth: fc.integer({ min: 1, max: 20 }),
  layers: fc
    .tuple(fc.array(layer, { maxLength: 3 }), layer)
    .map(([inner, [units, activation, bias]]) => [...inner, [units + 1, activation, bias] as LayerWords]),
  loss: fc.constantFrom(...LOSS_KINDS),
  hasSampleWeights: fc.boolean(),
  numRows: fc.integer({ min: 1, max: 40 }),
  shards: fc.integer({ min: 1, max: 20 }),
  batchSize: fc.integer({ min: 40, max: 50 }),
  seed: fc.integer({ min: 0, max: 1_000_000 }),
});

describe('a batch cut into tasks', () => {
  it('a batch has the same bits for any tasks, engines, microbatches, order of arrival and duplicates', () => {
    fc.assert(
      fc.property(
        batchSpec,
        fc.uniqueArray(fc.nat({ max: 19 }), { maxLength: 6 }),
        fc.array(fc.constantFrom(1, 2, 4, 8, 32), { minLength: 2, maxLength: 3 }),
        arrivalOrder,
        (spec, cuts, shardsPerMicrobatch, order) => {
          const batch = createBatch(spec);
          const numShards = batch.bounds.length - 1;
          const expected = wholeBatch(batch, createEngine(room, batch.options));
          const engines = shardsPerMicrobatch.map((shards, i) =>
            createEngine(room, { ...batch.options, shardsPerMicrobatch: shards, numParts: i + 1 }),
          );
          const edges = [...new Set([0, ...cuts.filter((cut) => cut < numShards), numShards])].sort(
            (a, b) => a - b,
          );
          const partition = edges.slice(1).map((to, i) => [edges[i] as number, to] as const);
          // Besides the partition, tasks that overlap it, as copies of late tasks do.
          const extra = order.slice(0, 3).map((n) => {
            const from = n % numShards;
            return [from, from + 1 + (n % (numShards - from))] as const;
          });
          const sums = [...partition, ...extra].flatMap(([from, to], i) =>
            sumsOfTask(room, batch.model, engines[i % engines.length] as Engine, taskOf(batch, from, to)),
          );
          const arrivals = sums.map((sum, i) => ({ sum, key: order[i % order.length] as number }));
          arrivals.sort((a, b) => a.key - b.key);
          const actual = combine(
            numShards,
            arrivals.map(({ sum }) => sum),
          );
          expect(sha256(actual.gradient)).toBe(sha256(expected.gradient));
          expect(actual.lossSum).toBe(expected.lossSum);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('a batch has the same bits from an engine that was used before on other rows', () => {
    const batch = createBatch({ ...MIXED, numRows: 40 });
    const engine = createEngine(room, { ...batch.options, shardsPerMicrobatch: 2 });
    const expected = sha256(wholeBatch(batch, engine).gradient);
    for (const [from, to] of [
      [3, 7],
      [0, 1],
      [5, 8],
    ] as const) {
      sumsOfTask(room, batch.model, engine, taskOf(batch, from, to));
    }
    engine.evaluate(taskOf(batch, 2, 6));
    expect(sha256(wholeBatch(batch, engine).gradient)).toBe(expected);
  });

  it('an engine needs no more memory for later tasks than for the first of each kind', () => {
    const batch = createBatch({ ...MIXED, numRows: 40, shards: 32 });
    const engine = createEngine(room, { ...batch.options, shardsPerMicrobatch: 1 });
    const before = room.memory.usedBytes;
    wholeBatch(batch, engine);
    const vectors = (room.memory.usedBytes - before) / (Math.ceil((4 * batch.model.numParameters) / 64) * 64);
    // One partial sum a level of a tree of 32 shards, and the microbatch at work.
    expect(vectors).toBe(6);
    const after = room.memory.usedBytes;
    wholeBatch(batch, engine);
    expect(room.memory.usedBytes).toBe(after);
  });
});

const MIXED: BatchSpec = {
  inputWidth: 9,
  layers: [
    [17, 'relu', true],
    [12, 'tanh', false],
    [7, 'sigmoid', true],
    [5, 'leakyRelu', true],
  ],
  loss: 'crossEntropy',
  hasSampleWeights: false,
  numRows: 40,
  shards: 8,
  batchSize: 40,
  seed: 5,
};

describe('a short batch', () => {
  it('a short batch has the same bits as with an engine planned for exactly its rows', () => {
    for (const numRows of [1, 3, 7, 8, 9, 39]) {
      const batch = createBatch({ ...MIXED, numRows });
      const fitted = createEngine(room, { ...batch.options, batchSize: numRows });
      const expected = wholeBatch(batch, fitted);
      const actual = wholeBatch(batch, createEngine(room, batch.options));
      expectSameBits(actual.gradient, expected.gradient, `${numRows} rows`);
      expect(actual.lossSum).toBe(expected.lossSum);
    }
  });

  it('a batch with fewer rows than shards has one shard per row and no empty ones', () => {
    const batch = createBatch({ ...MIXED, numRows: 3, shards: 8 });
    expect([...batch.bounds]).toEqual([0, 1, 2, 3]);
    const { gradient } = wholeBatch(batch, createEngine(room, batch.options));
    const rowByRow = createBatch({ ...MIXED, numRows: 3, shards: 3 });
    expectSameBits(
      gradient,
      wholeBatch(rowByRow, createEngine(room, rowByRow.options)).gradient,
      'three shards',
    );
  });
});

describe('evaluate', () => {
  const outputsOf = (batch: Batch, engine: Engine): Float32Array =>
    engine.evaluate(taskOf(batch, 0, batch.bounds.length - 1)).outputs;

  it('evaluate gives a row the same bits alone as in any batch', () => {
    const batch = createBatch(MIXED);
    const engine = createEngine(room, batch.options);
    const { outputWidth } = batch.model;
    const whole = outputsOf(batch, engine);
    for (let row = 0; row < 40; row++) {
      const alone = engine.evaluate({
        numShards: 1,
        firstShard: 0,
        bounds: Uint32Array.of(0, 1),
        indices: batch.indices.subarray(row, row + 1),
      });
      expectSameBits(alone.outputs, whole.subarray(row * outputWidth, (row + 1) * outputWidth), `row ${row}`);
    }
  });

  it('evaluate gives the same outputs and shard losses for any size of microbatch', () => {
    const batch = createBatch(MIXED);
    const task = taskOf(batch, 0, 8);
    const expected = createEngine(room, batch.options).evaluate(task);
    for (const shardsPerMicrobatch of [1, 2, 4]) {
      expect(createEngine(room, { ...batch.options, shardsPerMicrobatch }).evaluate(task)).toEqual(expected);
    }
  });

  it('evaluate gives the shard losses that training sums', () => {
    const batch = createBatch(MIXED);
    const engine = createEngine(room, batch.options);
    const { lossSums } = engine.evaluate(taskOf(batch, 0, 8));
    lossSums.forEach((lossSum, shard) => {
      const [sum] = sumsOfTask(room, batch.model, engine, taskOf(batch, shard, shard + 1));
      expect(sum?.lossSum).toBe(lossSum);
    });
  });
});

describe('samples stored as bytes', () => {
  it('samples stored as bytes train to the same bits as when stored as scaled float32', () => {
    const batch = createBatch(MIXED);
    const numValues = 40 * MIXED.inputWidth;
    const bytes = Uint8Array.from({ length: numValues }, (_, i) => (i * 37) % 256);
    const scale = 1 / 255;
    const floats = Float32Array.from(bytes, (byte) => byte * Math.fround(scale));
    const targets = Uint32Array.from({ length: 40 }, (_, i) => i % 5);
    const asFloats = packSamples({
      featureWidth: MIXED.inputWidth,
      features: floats,
      targets,
      numClasses: 5,
    });
    const layout = { ...asFloats.layout, featureType: 'u8' as const, featureScale: scale };
    const blob = new Uint8Array(Math.ceil(numValues / 16) * 16 + 160);
    blob.set(bytes);
    blob.set(new Uint8Array(targets.buffer), Math.ceil(numValues / 16) * 16);
    const run = (dataset: typeof asFloats): NodeSum =>
      wholeBatch(batch, createEngine(room, { ...batch.options, dataset }));
    expectSameBits(run({ ...asFloats, layout, blob }).gradient, run(asFloats).gradient, 'gradient');
  });
});
