// LSTM and GRU as layers: the same bits as their float32 twin for any shards, central differences in
// float64, and samples that are not sequences.
import { beforeAll, describe, expect, it } from 'vitest';
import type { Shape } from '../../src/shape.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import { shardBounds } from '../../src/model/shards.ts';
import { resolveLayer, runLayer } from '../helpers/layer-run.ts';
import type { LayerCase } from '../helpers/layer-run.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { centralDifferences, inner } from '../helpers/twins/central-differences.ts';
import { createEngine, createEngineRoom, sumsOfTask } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';
import { STEP_TWINS } from '../helpers/twins/recurrent-steps.ts';
import { runRecurrent } from '../helpers/twins/recurrent.ts';
import type { RecurrentCase, RecurrentRun } from '../helpers/twins/recurrent.ts';
import { packSamples, randomSamples, randomValues } from '../helpers/twins/samples.ts';
import { expectSameBits } from './arena.ts';

const KINDS = ['lstm', 'gru'] as const;

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

function caseOf(
  { kind, units, returnSequences, positions, inputs }: RecurrentCase,
  run: RecurrentRun,
): LayerCase {
  return { layer: { kind, units, returnSequences }, inputShape: [positions, inputs], ...run };
}

function makeRun(layer: RecurrentCase, bounds: readonly number[], seed = 1): RecurrentRun {
  const { kind, positions, inputs, units, returnSequences } = layer;
  const rows = bounds.at(-1) as number;
  const columns = STEP_TWINS[kind].numGates * units;
  return {
    weights: randomValues(seed, columns * (inputs + units + 2)).map((value) => value / Math.sqrt(units)),
    x: randomValues(seed + 1, rows * positions * inputs),
    dY: randomValues(seed + 2, rows * (returnSequences ? positions : 1) * units),
    bounds: Uint32Array.from(bounds),
  };
}

function checkBits(layer: RecurrentCase, bounds: readonly number[]): void {
  const run = makeRun(layer, bounds);
  const actual = runLayer(room, caseOf(layer, run));
  const expected = runRecurrent(single, layer, run);
  const what = `${JSON.stringify(layer)} in shards ${bounds.join(' ')}`;
  expectSameBits(actual.y, expected.y, `${what}: y`);
  expectSameBits(actual.gradient, expected.gradient, `${what}: gradient`);
  expectSameBits(actual.dX, expected.dX, `${what}: dX`);
}

describe.each(KINDS)('a model with %s', (kind) => {
  it(`a model with ${kind} gives the same bits for any number of shards in a microbatch, and its buckets in order`, () => {
    const layers: LayerInput[] = [
      { kind, units: 190, returnSequences: true },
      { kind, units: 9 },
      { kind: 'dense', units: 2 },
    ];
    const model = resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, [3, 120]);
    // The first layer alone is larger than the 512 KiB of a bucket.
    expect(model.buckets.length).toBeGreaterThan(1);
    const numRows = 11;
    const shape = { numRows, featureWidth: 360, outputWidth: 2, isClassification: false };
    const dataset = packSamples(randomSamples(3, shape));
    const weights = randomValues(4, model.numParameters).map((value) => value / 12);
    const bounds = shardBounds(numRows, 5);
    const indices = Uint32Array.from({ length: numRows }, (_, i) => i);
    const gradients = [1, 2, 4, 8].map((shardsPerMicrobatch) => {
      const options = {
        model,
        loss: 'mse' as const,
        dataset,
        weights,
        batchSize: numRows,
        shards: 5,
        shardsPerMicrobatch,
      };
      const engine = createEngine(room, { ...options, numParts: shardsPerMicrobatch });
      const [sum] = sumsOfTask(room, model, engine, { numShards: 5, firstShard: 0, bounds, indices });
      return sum?.gradient as Float32Array;
    });
    for (const gradient of gradients) expectSameBits(gradient, gradients[0] as Float32Array, 'gradient');
  });
});

describe.each(KINDS)('%s', (kind) => {
  const base = { kind, positions: 4, inputs: 3, units: 6, returnSequences: true };

  it(`${kind} matches its float32 twin bit for bit at every width`, () => {
    for (const units of [1, 3, 4, 5, 8, 9, 16, 17]) {
      for (const inputs of [1, 7, 8, 9]) checkBits({ ...base, units, inputs }, [0, 2, 3]);
    }
  });

  it(`${kind} matches its float32 twin bit for bit for one position and many, all outputs and the last`, () => {
    for (const positions of [1, 2, 33]) {
      checkBits({ ...base, positions }, [0, 2, 5]);
      checkBits({ ...base, positions, returnSequences: false }, [0, 2, 5]);
    }
  });

  it(`${kind} matches its float32 twin bit for bit across slices and blocks of the products`, () => {
    // 65 samples exceed a slice of rows, and 280 columns of an LSTM's gates the depth of a block.
    checkBits({ ...base, positions: 3, inputs: 5, units: 7 }, [0, 20, 41, 65]);
    checkBits({ ...base, positions: 2, inputs: 2, units: 70, returnSequences: false }, [0, 1, 3]);
  });

  it(`${kind} matches its float32 twin bit for bit for one shard, one per sample, and an odd number of shards`, () => {
    for (const bounds of [
      [0, 7],
      [0, 1, 2, 3, 4, 5, 6, 7],
      [0, 3, 5, 7],
      [0, 1, 2, 4, 6, 7],
    ]) {
      checkBits(base, bounds);
    }
  });

  it(`${kind} gives a shard the same sum of gradients alone and among others`, () => {
    const run = makeRun(base, [0, 3, 7]);
    const { gradient } = runLayer(room, caseOf(base, run));
    const part = (from: number, to: number): Float32Array => {
      const cut = (values: ArrayLike<number>): number[] => {
        const width = values.length / 7;
        return Array.from(values).slice(from * width, to * width);
      };
      const bounds = Uint32Array.of(0, to - from);
      return runLayer(room, caseOf(base, { ...run, x: cut(run.x), dY: cut(run.dY), bounds })).gradient;
    };
    const [left, right] = [part(0, 3), part(3, 7)];
    expectSameBits(
      gradient,
      left.map((value, i) => value + (right[i] as number)),
      'sum of both shards',
    );
  });

  it.each([true, false])(
    `${kind} has the gradient of its outputs by central differences (returnSequences: %s)`,
    (returnSequences) => {
      const layer = { ...base, positions: 3, units: 5, returnSequences };
      const run = makeRun(layer, [0, 1, 3]);
      const weights = Float64Array.from(run.weights);
      const x = Float64Array.from(run.x);
      const { gradient, dX } = runRecurrent(double, layer, { ...run, weights, x });
      const value = (): number => inner(runRecurrent(double, layer, { ...run, weights, x }).y, run.dY);
      const differences = (at: Float64Array): Float64Array => centralDifferences(at, value, 1e-6);
      // Truncation h^2 f''' / 6 is about 1e-12, cancellation leaves 2^-53 x sum / h, about 1e-9.
      differences(weights).forEach((slope, i) =>
        expect(Math.abs(slope - (gradient[i] as number))).toBeLessThan(1e-8),
      );
      differences(x).forEach((slope, i) => expect(Math.abs(slope - (dX[i] as number))).toBeLessThan(1e-8));
    },
  );

  it(`${kind} stays close to float64 over 200 positions`, () => {
    const layer = { ...base, positions: 200, returnSequences: false };
    const run = makeRun(layer, [0, 2]);
    const actual = runLayer(room, caseOf(layer, run));
    const exact = runRecurrent(double, layer, run);
    const largest = Math.max(...Array.from(exact.gradient, Math.abs));
    // Each of 200 positions adds a few roundings of 2^-24 to a state that the gates keep contracting.
    actual.gradient.forEach((value, i) => {
      expect(Math.abs(value - (exact.gradient[i] as number)) / largest).toBeLessThan(1e-5);
    });
  });

  it(`${kind} gives no error to the layer below where none is needed`, () => {
    const layerCase = caseOf(base, makeRun(base, [0, 2]));
    const first = runLayer(room, { ...layerCase, isAfterAnother: false });
    expect(first.dX).toHaveLength(0);
    expectSameBits(first.gradient, runLayer(room, layerCase).gradient, 'gradient');
  });

  it(`${kind} starts from uniform values within 1 / sqrt(units), including biases, as in PyTorch`, () => {
    const layer = resolveLayer({ kind, units: 16 }, [5, 3]);
    const columns = STEP_TWINS[kind].numGates * 16;
    expect(layer.tensors.map(({ name, shape, role, initial }) => ({ name, shape, role, initial }))).toEqual(
      (
        [
          ['0.weight_ih_l0', [columns, 3], 'weight'],
          ['0.weight_hh_l0', [columns, 16], 'weight'],
          ['0.bias_ih_l0', [columns], 'bias'],
          ['0.bias_hh_l0', [columns], 'bias'],
        ] as const
      ).map(([name, shape, role]) => ({ name, shape, role, initial: { kind: 'uniform', scale: 0.25 } })),
    );
    expect(layer.describe()).toBe(`${kind} 5x3 -> 16`);
  });

  it.each<Shape>([[12], [3, 8, 8]])(`${kind} refuses samples that are not sequences: %j`, (...shape) => {
    expect(() => resolveLayer({ kind, units: 4 }, shape)).toThrow(
      'expected samples of [positions, features]',
    );
  });
});
