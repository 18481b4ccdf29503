// Convolution and pooling as layers: against PyTorch 1.13.1 (scripts/golden/convolution.py), to the bit
// against their twins, by central differences, and whole models of them for any division of a batch.
import { beforeAll, describe, expect, it } from 'vitest';
import type { Conv2dLayer } from '../../src/layers/conv2d/conv2d.ts';
import { sizeOf } from '../../src/shape.ts';
import type { Shape } from '../../src/shape.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { shardBounds } from '../../src/model/shards.ts';
import { Golden, expectNear, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import { numParametersOf, resolveLayer, runLayer } from '../helpers/layer-run.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { centralDifference, inner } from '../helpers/twins/central-differences.ts';
import { backward, forward } from '../helpers/twins/conv2d.ts';
import { createEngine, createEngineRoom, sumsOfTask } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';
import { packSamples, randomSamples, randomValues } from '../helpers/twins/samples.ts';
import { expectSameBits } from './arena.ts';

interface Recorded {
  readonly cases: readonly { name: string; spec: LayerInput; inputShape: Shape }[];
  readonly batchSize: number;
  readonly losses: readonly number[];
}

const recorded = readRecorded<Recorded>('convolution');

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

describe('a layer on images', () => {
  const golden = new Golden('convolution');
  // Up to 33 x 9 = 297 products summed in another order: a walk of 2^-24 sqrt(297) = 1e-6.
  const TOLERANCE = 2e-6;

  it.each(recorded.cases)(
    'the layer $name agrees with PyTorch forward and backward',
    ({ name, spec, inputShape }) => {
      const { values: dY, shape } = golden.tensor(`${name}.dY`);
      const { outputShape } = resolveLayer(spec, inputShape);
      expect(outputShape).toEqual(spec.kind === 'globalAvgPool2d' ? [5] : shape.slice(1));
      const { y, dX, gradients } = runLayer(room, {
        layer: spec,
        inputShape,
        x: golden.values(`${name}.x`),
        dY,
        weights: golden.under(`${name}.`),
        bounds: [0, 2, 3],
      });
      expectNear(y, golden.values(`${name}.y`), TOLERANCE, 'y');
      expectNear(dX, golden.values(`${name}.dX`), TOLERANCE, 'dX');
      const expected = golden.under(`${name}.d.`);
      expect([...gradients.keys()]).toEqual([...expected.keys()]);
      for (const [tensor, gradient] of gradients) {
        expectNear(gradient, expected.get(tensor) as Float32Array, TOLERANCE, tensor);
      }
    },
  );
});

type ConvolutionCase = readonly [spec: Partial<LayerInput>, inputShape: Shape];

/**
 * Sizes around tiles and vectors; both sides of the weight gradient, slices of all three products, groups,
 * every option.
 */
const CONVOLUTIONS: readonly ConvolutionCase[] = [
  [{ filters: 5, kernelSize: 3, padding: 'same', activation: 'relu' }, [3, 7, 9]],
  [{ filters: 9, kernelSize: [2, 3], stride: [2, 1], bias: false }, [4, 9, 8]],
  [{ filters: 17, kernelSize: 1 }, [20, 6, 6]],
  [{ filters: 6, kernelSize: 3, dilation: 2, groups: 3, padding: 'same' }, [6, 8, 8]],
  [{ filters: 40, kernelSize: 1, groups: 2, stride: 2, activation: 'relu' }, [10, 5, 5]],
  [{ filters: 12, kernelSize: 3, groups: 6, padding: 1, activation: 'relu' }, [6, 9, 7]],
  [{ filters: 4, kernelSize: 5, groups: 4, stride: 2, bias: false }, [4, 11, 11]],
  [{ filters: 33, kernelSize: 3, padding: 1, activation: 'leakyRelu' }, [1, 17, 17]],
  [{ filters: 7, kernelSize: 3, padding: 1 }, [41, 12, 12]],
  [{ filters: 3, kernelSize: 3, padding: 1, activation: 'relu' }, [13, 34, 34]],
];

function convolution([spec, inputShape]: ConvolutionCase): Conv2dLayer {
  return resolveLayer({ kind: 'conv2d', ...spec } as LayerInput, inputShape) as Conv2dLayer;
}

describe('conv2d', () => {
  it.each(CONVOLUTIONS)('conv2d matches its float32 twin bit for bit for %o on %o', (...testCase) => {
    const layer = convolution(testCase);
    const bounds = Uint32Array.of(0, 2, 3, 5);
    const weights = randomValues(3, numParametersOf(layer));
    const x = randomValues(4, 5 * sizeOf(layer.inputShape));
    const dY = randomValues(5, 5 * sizeOf(layer.outputShape));
    const twin = { arithmetic: single, layer, weights };
    const layerCase = { layer: layer.spec, inputShape: layer.inputShape, weights, x, dY, bounds };
    const { y, gradient, dX } = runLayer(room, layerCase);
    expectSameBits(y, forward(twin, x), 'y');
    const expected = backward(twin, x, dY, bounds);
    expectSameBits(gradient, expected.gradient, 'gradient');
    expectSameBits(dX, expected.dX, 'dX');
    const first = runLayer(room, { ...layerCase, isAfterAnother: false });
    expectSameBits(first.gradient, expected.gradient, 'gradient of a first layer');
    expect(first.dX).toHaveLength(0);
  });

  it.each(CONVOLUTIONS.slice(0, 7))(
    'conv2d has the gradients of central differences for %o on %o',
    (spec, shape) => {
      // A smooth function: the slopes of the others jump.
      const layer = convolution([{ ...spec, activation: 'tanh' }, shape]);
      const weights = Float64Array.from(randomValues(3, numParametersOf(layer)));
      const x = Float64Array.from(randomValues(4, 2 * sizeOf(layer.inputShape)));
      const dY = Float64Array.from(randomValues(5, 2 * sizeOf(layer.outputShape)));
      const twin = { arithmetic: double, layer, weights };
      const objective = (): number => inner(forward(twin, x), dY);
      const exact = backward(twin, x, dY, [0, 1, 2]);
      // Only some of each, since every one takes two forward passes.
      for (const [values, gradient] of [
        [weights, exact.gradient],
        [x, exact.dX],
      ] as const) {
        const largest = Math.max(...gradient.map(Math.abs));
        for (let i = 0; i < values.length; i += Math.ceil(values.length / 15)) {
          const difference = centralDifference(values, i, objective);
          // h^2 f''' / 6 is about 1e-10 here, cancellation 2^-53 f / h about 1e-9.
          expect(Math.abs((gradient[i] as number) - difference) / largest).toBeLessThan(1e-7);
        }
      }
    },
  );
});

/** The model of scripts/golden/convolution.py: every layer of the topic. */
function goldenModel(): Model {
  const layers = [
    { kind: 'conv2d', filters: 6, kernelSize: 3, padding: 'same', activation: 'relu' },
    { kind: 'maxPool2d', size: 2 },
    { kind: 'conv2d', filters: 6, kernelSize: 3, padding: 1, groups: 6, activation: 'relu' },
    { kind: 'conv2d', filters: 12, kernelSize: 1, activation: 'tanh' },
    { kind: 'avgPool2d', size: 2 },
    { kind: 'conv2d', filters: 8, kernelSize: 3, stride: 2, padding: 1, activation: 'relu' },
    { kind: 'flatten' },
    { kind: 'dense', units: 4 },
  ].map((layer) => layerSchema.parse(layer));
  return resolveModel({ layers }, [2, 12, 12]);
}

describe('20 steps of Adam', () => {
  it('20 steps of Adam agree with PyTorch on a CNN', async () => {
    const model = goldenModel();
    const data = new Golden('convolution-data');
    const trained = await trainGolden({
      model,
      loss: 'crossEntropy',
      dataset: packSamples({
        featureWidth: sizeOf(model.inputShape),
        features: data.values('features'),
        targets: Uint32Array.from(data.values('targets')),
        numClasses: 4,
      }),
      initial: new Golden('convolution-initial').file(),
      batchSize: recorded.batchSize,
      shards: 8,
      learningRate: 1e-3,
      numSteps: recorded.losses.length,
    });
    expectLosses(trained, recorded.losses, 1e-5);
    // A step moves a weight by up to 1e-3.
    const final = new Golden('convolution-final').under();
    expectWeights(trained, final, 1e-5);
  });
});

describe('a model of images', () => {
  const ROWS = 23;

  it('a model of images has the same bits for any number of shards in a microbatch and any division into tasks', () => {
    const model = goldenModel();
    const shape = { numRows: ROWS, featureWidth: 288, outputWidth: 4, isClassification: true };
    const dataset = packSamples(randomSamples(5, shape));
    const weights = randomValues(6, model.numParameters).map((value) => value / 3);
    const bounds = shardBounds(ROWS, 8);
    const indices = Uint32Array.from({ length: ROWS }, (_, i) => (i * 5) % ROWS);
    const options = { model, loss: 'crossEntropy' as const, dataset, weights, batchSize: ROWS, shards: 8 };
    const sums = [1, 2, 4, 8].map((shardsPerMicrobatch, i) => {
      const engine = createEngine(room, { ...options, shardsPerMicrobatch, numParts: i + 1 });
      const [sum] = sumsOfTask(room, model, engine, { numShards: 8, firstShard: 0, bounds, indices });
      // The right half alone, as another worker would be given it.
      const firstRow = bounds[4] as number;
      const half = bounds.subarray(4).map((bound) => bound - firstRow);
      const task = { numShards: 8, firstShard: 4, bounds: half, indices: indices.subarray(firstRow) };
      const [right] = sumsOfTask(room, model, engine, task);
      return { gradient: sum?.gradient, lossSum: sum?.lossSum, right: right?.gradient };
    });
    const [first, ...others] = sums;
    expect(first?.gradient?.some((value) => value !== 0)).toBe(true);
    for (const sum of others) {
      expectSameBits(sum.gradient as Float32Array, first?.gradient as Float32Array, 'whole batch');
      expectSameBits(sum.right as Float32Array, first?.right as Float32Array, 'right half');
      expect(sum.lossSum).toBe(first?.lossSum);
    }
  });

  it('a model can reshape rows of numbers into images and images into rows', () => {
    const layers = [
      { kind: 'reshape', shape: [2, 4, 4] },
      { kind: 'conv2d', filters: 3, kernelSize: 3 },
      { kind: 'dense', units: 5 },
    ].map((layer) => layerSchema.parse(layer));
    const model = resolveModel({ layers }, [32]);
    expect(model.outputShape).toEqual([5]);
    expect(model.tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ['1.weight', [3, 2, 3, 3]],
      ['1.bias', [3]],
      ['3.weight', [5, 12]],
      ['3.bias', [5]],
    ]);
  });
});
