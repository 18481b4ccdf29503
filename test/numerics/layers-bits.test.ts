// Single layers: the bits of a shard do not depend on the shards computed with it, backward inverts the
// choices of forward, and layers that do not fit are refused.
import { beforeAll, describe, expect, it } from 'vitest';
import { ACTIVATIONS } from '../../src/layers/activation.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import type { Shape } from '../../src/shape.ts';
import { sizeOf } from '../../src/shape.ts';
import { resolveLayer, runLayer } from '../helpers/layer-run.ts';
import type { AnyLayerInput, LayerResult } from '../helpers/layer-run.ts';
import { single } from '../helpers/twins/arithmetic.ts';
import { createEngineRoom } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';
import { randomValues } from '../helpers/twins/samples.ts';
import { addValues, combineAlongTree } from '../helpers/twins/tree.ts';
import { expectSameBits } from './arena.ts';

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

interface Case {
  readonly name: string;
  readonly layer: AnyLayerInput;
  readonly inputShape: Shape;
  readonly outputShape?: Shape;
  /** Ids of tokens instead of values. */
  readonly vocabulary?: number;
  /** Elements of each tensor. */
  readonly weights?: Readonly<Record<string, number>>;
}

const CASES: Case[] = [
  { name: 'gelu', layer: { kind: 'activation', function: 'gelu' }, inputShape: [7] },
  { name: 'softmax', layer: { kind: 'activation', function: 'softmax' }, inputShape: [3, 5] },
  {
    name: 'dense with silu',
    layer: { kind: 'dense', units: 6, activation: 'silu' },
    inputShape: [7],
    outputShape: [6],
    weights: { weight: 42, bias: 6 },
  },
  { name: 'layerNorm', layer: { kind: 'layerNorm' }, inputShape: [3, 5], weights: { weight: 5, bias: 5 } },
  {
    name: 'batchNorm of vectors',
    layer: { kind: 'batchNorm' },
    inputShape: [5],
    weights: { weight: 5, bias: 5 },
  },
  {
    name: 'batchNorm of images',
    layer: { kind: 'batchNorm' },
    inputShape: [2, 3, 3],
    weights: { weight: 2, bias: 2 },
  },
  { name: 'dropout', layer: { kind: 'dropout', rate: 0.4 }, inputShape: [4, 5] },
  {
    name: 'embedding',
    layer: { kind: 'embedding', vocabulary: 6, units: 5 },
    inputShape: [4],
    outputShape: [4, 5],
    vocabulary: 6,
    weights: { weight: 30 },
  },
  {
    name: 'columnEmbeddings',
    layer: {
      kind: 'columnEmbeddings',
      columns: [
        { place: 1, vocabulary: 6, units: 5 },
        { place: 3, vocabulary: 9, units: 2 },
      ],
    },
    inputShape: [6],
    outputShape: [11],
    vocabulary: 6,
    weights: { 'tables.0.weight': 30, 'tables.1.weight': 18 },
  },
  {
    name: 'positionalEmbedding',
    layer: { kind: 'positionalEmbedding' },
    inputShape: [3, 5],
    weights: { weight: 15 },
  },
  {
    name: 'attention',
    layer: { kind: 'attention', heads: 2, causal: true },
    inputShape: [5, 6],
    weights: { in_proj_weight: 108, in_proj_bias: 18, 'out_proj.weight': 36, 'out_proj.bias': 6 },
  },
  {
    name: 'residual with a shortcut',
    layer: {
      kind: 'residual',
      layers: [{ kind: 'layerNorm' }, { kind: 'dense', units: 4, activation: 'gelu' }],
      shortcut: [{ kind: 'dense', units: 4 }],
    },
    inputShape: [3, 5],
    outputShape: [3, 4],
    weights: { 'body.0.weight': 5, 'body.1.weight': 20, 'body.1.bias': 4, 'shortcut.0.weight': 20 },
  },
  {
    name: 'residual in residual',
    layer: {
      kind: 'residual',
      layers: [
        {
          kind: 'residual',
          layers: [
            { kind: 'dense', units: 5, activation: 'tanh' },
            { kind: 'dropout', rate: 0.5 },
          ],
        },
      ],
    },
    inputShape: [5],
    weights: { 'body.0.body.0.weight': 25 },
  },
];

/** Shards of 3, 2, 2, 4 and 2 rows. */
const BOUNDS = [0, 3, 5, 7, 11, 13];
const ROWS = 13;
const SAMPLES = Array.from({ length: ROWS }, (_, row) => (row * 5) % ROWS);

function run(
  { layer, inputShape, outputShape = inputShape, vocabulary, weights = {} }: Case,
  from: number,
  to: number,
): LayerResult {
  const [inputs, outputs] = [sizeOf(inputShape), sizeOf(outputShape)];
  const values = randomValues(1, ROWS * inputs);
  const x =
    vocabulary === undefined ? values : values.map((value) => Math.floor(((value + 1) / 2) * vocabulary));
  const start = BOUNDS[from] as number;
  const end = BOUNDS[to] as number;
  return runLayer(room, {
    layer,
    inputShape,
    x: x.slice(start * inputs, end * inputs),
    dY: randomValues(2, ROWS * outputs).slice(start * outputs, end * outputs),
    weights: new Map(Object.entries(weights).map(([name, length], i) => [name, randomValues(3 + i, length)])),
    bounds: BOUNDS.slice(from, to + 1).map((bound) => bound - start),
    sampleIndices: SAMPLES.slice(start, end),
    step: 7,
    isAfterAnother: vocabulary === undefined,
  });
}

describe('a shard', () => {
  it.each(CASES)('a shard has the same bits alone and among others: $name', (testCase) => {
    const together = run(testCase, 0, 5);
    const alone = [0, 1, 2, 3, 4].map((shard) => run(testCase, shard, shard + 1));
    const joined = (key: 'y' | 'dX'): number[] => alone.flatMap((result) => [...result[key]]);
    expectSameBits(together.y, joined('y'), 'y');
    expectSameBits(together.dX, joined('dX'), 'dX');
    for (const [name, sum] of together.gradients) {
      const shards = alone.map(({ gradients }) => gradients.get(name) as Float32Array);
      expect(
        sum.some((value) => value !== 0),
        name,
      ).toBe(true);
      expectSameBits(
        sum,
        combineAlongTree(shards, (a, b) => addValues(single, a, b) as Float32Array),
        name,
      );
    }
  });

  it.each([
    ['vectors', [4], 1],
    ['images of one pixel', [4, 1, 1], 1],
  ] as const)(
    'a shard with one value per channel has a variance of NaN, which no step applies: %s',
    (_, inputShape, rows) => {
      const x = randomValues(1, 4 * rows);
      const layerCase = { layer: { kind: 'batchNorm' } as const, inputShape, x, dY: randomValues(2, 4) };
      const { gradients } = runLayer(room, layerCase);
      expectSameBits(gradients.get('running_mean') as Float32Array, x, 'mean');
      expect(gradients.get('running_var')).toEqual(new Float32Array(4).fill(Number.NaN));
    },
  );
});

describe('dropout', () => {
  const x = randomValues(1, 60);
  const dY = randomValues(2, 60);
  const layerCase = { layer: { kind: 'dropout', rate: 0.5 } as const, inputShape: [20], x, dY };

  it('dropout sends errors back through the values that it kept, with their scale', () => {
    const { y, dX } = runLayer(room, layerCase);
    expectSameBits(
      dX,
      dY.map((value, i) => (y[i] === 0 ? 0 : 2 * value)),
      'dX',
    );
    expect(y.filter((value) => value === 0).length).toBeGreaterThan(10);
  });

  it('dropout draws another mask at every step', () => {
    expect([...runLayer(room, { ...layerCase, step: 1 }).y]).not.toEqual([
      ...runLayer(room, { ...layerCase, step: 2 }).y,
    ]);
  });

  it('dropout changes nothing at evaluation', () => {
    expectSameBits(runLayer(room, { ...layerCase, isTraining: false }).y, x, 'y');
  });
});

describe('augment', () => {
  const x = randomValues(1, 2 * 18);
  const layer: LayerInput = { kind: 'augment', flip: 'both', shift: 1, crop: [2, 3] };
  const layerCase = { layer, inputShape: [2, 3, 3], x, dY: new Float32Array(24), isAfterAnother: false };

  it('augment draws other windows at every step, and crops the middle at evaluation', () => {
    const at = (step: number) => [...runLayer(room, { ...layerCase, step }).y];
    expect(at(1)).not.toEqual(at(2));
    const middle = [0, 1, 2, 3].flatMap((channel) => [...x.subarray(9 * channel, 9 * channel + 6)]);
    expectSameBits(runLayer(room, { ...layerCase, isTraining: false }).y, middle, 'y');
  });

  it('augment without a crop changes nothing at evaluation', () => {
    const whole = { ...layerCase, layer: { kind: 'augment', shift: 1 } as const, isTraining: false };
    expectSameBits(runLayer(room, { ...whole, dY: x }).y, x, 'y');
  });
});

describe('an activation of a layer', () => {
  const elsewhere = ACTIVATIONS.filter((name) => name !== 'linear');

  it.each(elsewhere)(
    'an activation of a layer gives the same bits as an activation layer: %s',
    (activation) => {
      const layers: [
        Extract<LayerInput, { kind: 'dense' | 'conv2d' }>,
        Shape,
        number,
        Record<string, number>,
      ][] = [
        [{ kind: 'dense', units: 6 }, [7], 6, { weight: 42, bias: 6 }],
        [{ kind: 'conv2d', filters: 4, kernelSize: 3, padding: 1 }, [2, 3, 3], 36, { weight: 72, bias: 4 }],
        [{ kind: 'conv2d', filters: 4, kernelSize: 2, groups: 2 }, [2, 3, 3], 16, { weight: 16, bias: 4 }],
      ];
      for (const [layer, inputShape, outputs, sizes] of layers) {
        const weights = new Map(
          Object.entries(sizes).map(([name, size], i) => [name, randomValues(3 + i, size)]),
        );
        const x = randomValues(1, 5 * sizeOf(inputShape)).map((value) => 3 * value);
        const dY = randomValues(2, 5 * outputs);
        const bounds = [0, 2, 5];
        const inside = runLayer(room, {
          layer: { ...layer, activation },
          inputShape,
          x,
          dY,
          weights,
          bounds,
        });
        const linear = runLayer(room, { layer, inputShape, x, dY, weights, bounds });
        const apart: LayerInput = { kind: 'activation', function: activation };
        const end = runLayer(room, { layer: apart, inputShape: [outputs], x: linear.y, dY });
        const start = runLayer(room, { layer, inputShape, x, dY: end.dX, weights, bounds });
        expectSameBits(inside.y, end.y, 'y');
        expectSameBits(inside.dX, start.dX, 'dX');
        for (const [name, values] of inside.gradients) {
          expectSameBits(values, start.gradients.get(name) as Float32Array, name);
        }
      }
    },
  );
});

describe('causal attention', () => {
  it('causal attention gives a position the same bits as in a sequence that ends there', () => {
    const x = randomValues(1, 5 * 6);
    const weights = new Map([
      ['in_proj_weight', randomValues(2, 108)],
      ['out_proj.weight', randomValues(3, 36)],
    ]);
    const outputOf = (positions: number): Float32Array => {
      const part = x.slice(0, positions * 6);
      const layer = { kind: 'attention', heads: 2, causal: true } as const;
      return runLayer(room, { layer, inputShape: [positions, 6], x: part, dY: part, weights }).y;
    };
    const whole = outputOf(5);
    for (let length = 1; length <= 5; length++) {
      expectSameBits(
        outputOf(length).slice(-6),
        whole.slice(6 * (length - 1), 6 * length),
        `position ${length}`,
      );
    }
  });
});

describe('a layer that does not fit', () => {
  const build = (layer: LayerInput, inputShape: Shape, isAfterAnother = true): void => {
    const x = new Float32Array(sizeOf(inputShape));
    runLayer(room, { layer, inputShape, x, dY: x, isAfterAnother });
  };

  it.each([
    [{ kind: 'layerNorm' }, [2, 3, 3], 'layerNorm on 2x3x3: layerNorm takes vectors or sequences'],
    [{ kind: 'batchNorm' }, [2, 3], 'batchNorm on 2x3: batchNorm takes vectors or images'],
    [
      { kind: 'positionalEmbedding' },
      [3],
      'positionalEmbedding on 3: positionalEmbedding takes [positions, units]',
    ],
    [{ kind: 'attention', heads: 2 }, [6], 'attention on 6: attention takes [positions, units]'],
    [{ kind: 'attention', heads: 4 }, [5, 6], 'attention on 5x6: 6 units do not divide into 4 heads'],
    [
      { kind: 'embedding', vocabulary: 2, units: 2 },
      [3],
      'embedding on 3: token ids cannot come from layers that learn: they have no gradient',
    ],
    [
      { kind: 'augment', shift: 1 },
      [1, 3, 3],
      'augment on 1x3x3: samples are augmented as they are, not after layers that learn',
    ],
    [
      { kind: 'residual', layers: [{ kind: 'dense', units: 4 }] },
      [3],
      'residual on 3: the layers give 4, the shortcut 3',
    ],
    [
      { kind: 'residual', layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 4 }] },
      [5, 6],
      'model.layers.1.layers.1: attention on 5x6: 6 units do not divide into 4 heads',
    ],
  ] as [LayerInput, Shape, string][])(
    'a layer that does not fit is refused: %j on %j',
    (layer, inputShape, message) => {
      expect(() => build(layer, inputShape)).toThrow(message);
    },
  );

  it.each([
    [{ kind: 'augment', flip: 'both' }, [9], 'augment takes images, [channels, height, width]'],
    [{ kind: 'augment', crop: [4, 2] }, [1, 3, 3], 'a crop of 4x2 is larger than an image of 3x3'],
    [{ kind: 'augment', shift: [1, 3] }, [1, 3, 3], 'a shift of 1x3 moves images of 3x3 away'],
  ] as [LayerInput, Shape, string][])(
    'augmentation that does not fit is refused: %j on %j',
    (layer, shape, message) => {
      expect(() => build(layer, shape, false)).toThrow(message);
    },
  );

  it('an embedding is refused where its input is not a vector of positions', () => {
    const layer: LayerInput = { kind: 'embedding', vocabulary: 2, units: 2 };
    expect(() => build(layer, [3, 3], false)).toThrow(
      'model.layers.0: embedding on 3x3: embedding takes [positions] of token ids',
    );
  });

  it.each<[string, Shape, number[]]>([
    ['places that do not ascend', [4], [2, 1]],
    ['a place outside the row', [4], [4]],
    ['sequences', [2, 4], [1]],
  ])('columnEmbeddings are refused for %s', (_, inputShape, places) => {
    const columns = places.map((place) => ({ place, vocabulary: 2, units: 3 }));
    expect(() => resolveLayer({ kind: 'columnEmbeddings', columns }, inputShape)).toThrow(
      'columnEmbeddings takes rows of numbers, with ids at ascending places',
    );
  });

  it('columnEmbeddings refuse an id outside a vocabulary when they run', () => {
    const columns = [{ place: 1, vocabulary: 2, units: 1 }];
    const layer: AnyLayerInput = { kind: 'columnEmbeddings', columns };
    const wrong = { layer, inputShape: [2], x: [5, 1, 5, 2], dY: [0, 0, 0, 0], isAfterAnother: false };
    expect(() => runLayer(room, wrong)).toThrow('2 is not a token id of a vocabulary of 2');
  });

  it('an embedding refuses an id outside its vocabulary when it runs', () => {
    const layer: LayerInput = { kind: 'embedding', vocabulary: 3, units: 2 };
    const x = Float32Array.of(0, 2, 3);
    expect(() =>
      runLayer(room, { layer, inputShape: [3], x, dY: new Float32Array(6), isAfterAnother: false }),
    ).toThrow('3 is not a token id of a vocabulary of 3: ids are whole numbers from 0 to 2');
  });
});
