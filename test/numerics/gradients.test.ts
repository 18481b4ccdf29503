// Gradients of whole models: the float64 twin by central differences, the engine against the float64 twin,
// and the engine to the bit where the float32 twin is exact.
import { beforeAll, describe, expect, it } from 'vitest';
import type { DenseLayer } from '../../src/layers/dense.ts';
import { resolveLoss } from '../../src/losses/registry.ts';
import type { Model } from '../../src/model/model.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import type { Values } from '../helpers/twins/arithmetic.ts';
import { centralDifferences, relativeError } from '../helpers/twins/central-differences.ts';
import { createEngineRoom, denseLayers, modelOf } from '../helpers/twins/engines.ts';
import type { EngineRoom, LayerWords } from '../helpers/twins/engines.ts';
import { runNetwork } from '../helpers/twins/network.ts';
import { expectSameBits } from './arena.ts';
import { CASES, prepareCase } from './gradient-cases.ts';
import type { GradientCase } from './gradient-cases.ts';

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

/** Weight and bias of each layer, as parts of a flat vector. */
function tensorsOf(model: Model, values: Values): { name: string; values: Values }[] {
  return model.tensors.map(({ name, offset, length }) => ({
    name,
    values: values.subarray(offset, offset + length),
  }));
}

describe('the float64 twin', () => {
  it.each(CASES)(
    'the float64 twin has the gradient of its loss by central differences: $name',
    (testCase) => {
      const { model, loss, weights, batch } = prepareCase(room, testCase);
      const at = Float64Array.from(weights);
      const { gradient } = runNetwork({ arithmetic: double, model, loss }, at, batch);
      const lossAt = (): number => runNetwork({ arithmetic: double, model, loss }, at, batch).lossSum;
      const differences = centralDifferences(at, lossAt, 1e-6);
      // The truncation h^2 f''' / 6 is about 1e-12; cancellation leaves 2^-53 x loss / h, about 1e-9.
      expect(relativeError(gradient, differences)).toBeLessThan(1e-7);
    },
  );
});

describe('the engine', () => {
  it.each(CASES)('the engine agrees with the float64 twin: $name', (testCase) => {
    const { model, loss, weights, batch, engineSum } = prepareCase(room, testCase);
    const exact = runNetwork({ arithmetic: double, model, loss }, weights, batch);
    expect(Math.abs(engineSum.lossSum / exact.lossSum - 1)).toBeLessThan(1e-5);
    const exactTensors = tensorsOf(model, exact.gradient);
    tensorsOf(model, engineSum.gradient).forEach(({ name, values }, i) => {
      // Each value passes through 5 layers of sums of up to 17 terms, forward and back: at most about 2 x 5
      // x 17 roundings of 2^-24 = 1e-5, against the largest value since small ones come from cancellation.
      expect(relativeError(values, (exactTensors[i] as { values: Values }).values), name).toBeLessThan(1e-5);
    });
  });

  it.each(CASES.filter(isExact))('the engine matches its float32 twin bit for bit: $name', (testCase) => {
    checkBits(testCase);
  });

  it('the engine matches its float32 twin bit for bit where sizes cross tiles and blocks', () => {
    for (const [rows, shards] of [
      [97, 8],
      [33, 5],
      [64, 1],
      [130, 16],
    ] as const) {
      const layers: LayerWords[] = [
        [33, 'relu', true],
        [17, 'leakyRelu', false],
        [3, 'linear', true],
      ];
      checkBits({ loss: 'mse', inputWidth: 300, layers, rows, shards });
      checkBits({
        loss: 'mse',
        inputWidth: 7,
        layers: [[300, 'relu', true], ...layers],
        rows: rows % 40,
        shards,
      });
    }
  });

  it('the engine reports buckets of 512 KiB across the boundaries of layers with the same bits', () => {
    const layers: LayerWords[] = [
      [1050, 'relu', true],
      [20, 'relu', true],
      [4, 'linear', true],
    ];
    const model = modelOf(1010, layers);
    const end = model.numParameters;
    expect(model.buckets.map(({ offset }) => offset)).toEqual([
      ...[1, 2, 3, 4, 5, 6, 7, 8].map((bucket) => end - 131_072 * bucket),
      0,
    ]);
    checkBits({ loss: 'mse', inputWidth: 1010, layers, rows: 3, shards: 2 });
  });

  it('the engine reports a layer whose rows are longer than a bucket with the same bits', () => {
    const layers: LayerWords[] = [[6, 'linear', true]];
    const lengths = modelOf(200_000, layers).buckets.map(({ length }) => length);
    expect(lengths).toEqual([...Array<number>(9).fill(131_072), 1_200_006 - 9 * 131_072]);
    checkBits({ loss: 'mse', inputWidth: 200_000, layers, rows: 2, shards: 2 });
  });
});

/** The twin takes logarithms from the host: close, but not the same bits. */
function isExact({ loss }: GradientCase): boolean {
  return EXACT_LOSSES.has(resolveLoss(loss).kind);
}

const EXACT_LOSSES: ReadonlySet<string> = new Set(['mse', 'mae', 'huber']);

function checkBits(testCase: Omit<GradientCase, 'name'>): void {
  const { model, loss, weights, batch, engineSum } = prepareCase(room, testCase);
  const expected = runNetwork({ arithmetic: single, model, loss }, weights, batch);
  expectSameBits(engineSum.gradient, expected.gradient, 'gradient');
  expect(engineSum.lossSum).toBe(expected.lossSum);
}

describe('a layer of the float64 twin', () => {
  it('a layer of the float64 twin has the column sums of dY as its bias gradient', () => {
    const { model, loss, weights, batch } = prepareCase(room, CASES[0] as GradientCase);
    const { gradient, outputs } = runNetwork({ arithmetic: double, model, loss }, weights, batch);
    const { bias } = denseLayers(model)[0] as DenseLayer;
    const expected = Array.from(outputs, (y, i) => 2 * (y - (batch.targets[i] as number))).reduce(
      (a, b) => a + b,
      0,
    );
    expect(gradient[bias?.offset as number]).toBeCloseTo(expected, 12);
  });
});
