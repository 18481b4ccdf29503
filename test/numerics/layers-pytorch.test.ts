// Layers against PyTorch 1.13.1: y, dX and the gradient of every tensor. scripts/golden/activations.py,
// normalization.py, attention.py and column_embeddings.py wrote the values.
import { beforeAll, describe, expect, it } from 'vitest';
import { Golden, expectNear } from '../helpers/golden.ts';
import { runLayer } from '../helpers/layer-run.ts';
import type { AnyLayerInput } from '../helpers/layer-run.ts';
import { createEngineRoom } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

/** A few roundings on each side of values of the order of the largest. */
const TOLERANCE = 2e-6;

function check(golden: Golden, name: string, layer: AnyLayerInput, isAfterAnother = true): void {
  const { values: x, shape } = golden.tensor(`${name}.x`);
  const weights = golden.under(`${name}.weights.`);
  const layerCase = {
    layer,
    inputShape: shape.slice(1),
    x,
    dY: golden.values(`${name}.dY`),
    weights,
    isAfterAnother,
  };
  const { y, dX, gradients } = runLayer(room, layerCase);
  expectNear(y, golden.values(`${name}.y`), TOLERANCE, 'y');
  if (isAfterAnother) expectNear(dX, golden.values(`${name}.dX`), TOLERANCE, 'dX');
  const expected = golden.under(`${name}.gradients.`);
  const statistics = ['running_mean', 'running_var'];
  expect([...gradients.keys()].filter((key) => !statistics.includes(key))).toEqual([...expected.keys()]);
  for (const [key, values] of expected) {
    expectNear(gradients.get(key) as Float32Array, values, TOLERANCE, key);
  }
}

describe('an activation layer', () => {
  const golden = new Golden('activations');

  it.each(['relu', 'leakyRelu', 'tanh', 'sigmoid', 'elu', 'gelu', 'geluTanh', 'silu', 'softmax'] as const)(
    'an activation layer agrees with PyTorch for %s',
    (name) => {
      check(golden, name, { kind: 'activation', function: name });
    },
  );
});

describe('a norm', () => {
  const golden = new Golden('normalization');

  it('layerNorm agrees with PyTorch over vectors and over the positions of sequences', () => {
    check(golden, 'layerNorm', { kind: 'layerNorm' });
    check(golden, 'layerNormSequence', { kind: 'layerNorm' });
  });

  it.each(['batchNorm', 'batchNormImage'])('%s agrees with PyTorch over a batch in one shard', (name) => {
    check(golden, name, { kind: 'batchNorm' });
  });

  it.each(['batchNorm', 'batchNormImage'])(
    '%s agrees with PyTorch in its running statistics after one step',
    (name) => {
      const { values: x, shape } = golden.tensor(`${name}.x`);
      const [rows = 0, ...inputShape] = shape;
      const dY = golden.values(`${name}.dY`);
      const { gradients } = runLayer(room, { layer: { kind: 'batchNorm' }, inputShape, x, dY });
      const moved = (key: string, initial: number): Float32Array =>
        (gradients.get(key) as Float32Array).map((sum) => initial + 0.1 * (sum / rows - initial));
      expectNear(moved('running_mean', 0), golden.values(`${name}.runningMean`), TOLERANCE, 'mean');
      expectNear(moved('running_var', 1), golden.values(`${name}.runningVar`), TOLERANCE, 'variance');
    },
  );

  it.each(['batchNorm', 'batchNormImage'])(
    '%s agrees with PyTorch at evaluation with running statistics',
    (name) => {
      const { values: x, shape } = golden.tensor(`${name}.x`);
      const weights = new Map([
        ...golden.under(`${name}.weights.`),
        ['running_mean', golden.values(`${name}.runningMean`)],
        ['running_var', golden.values(`${name}.runningVar`)],
      ]);
      const layerCase = { inputShape: shape.slice(1), x, dY: x, weights, isTraining: false };
      const { y } = runLayer(room, { ...layerCase, layer: { kind: 'batchNorm' } });
      expectNear(y, golden.values(`${name}.evaluated`), TOLERANCE, 'y');
    },
  );
});

describe('attention', () => {
  const golden = new Golden('attention');

  it('attention of every position to every other agrees with PyTorch', () => {
    check(golden, 'attention', { kind: 'attention', heads: 3 });
  });

  it('causal attention agrees with PyTorch', () => {
    check(golden, 'causalAttention', { kind: 'attention', heads: 2, causal: true });
  });

  it('attention agrees with PyTorch where backward recomputes the probabilities', () => {
    check(golden, 'longAttention', { kind: 'attention', heads: 2, causal: true });
  });
});

describe('an embedding', () => {
  const golden = new Golden('attention');

  it('an embedding of tokens agrees with PyTorch', () => {
    check(golden, 'embedding', { kind: 'embedding', vocabulary: 11, units: 5 }, false);
  });

  it('embeddings of columns agree with PyTorch, and pass the other numbers on', () => {
    const columns = [
      { place: 1, vocabulary: 6, units: 5 },
      { place: 4, vocabulary: 3, units: 2 },
    ];
    check(new Golden('column-embeddings'), 'columns', { kind: 'columnEmbeddings', columns }, false);
  });

  it('an embedding of positions agrees with PyTorch', () => {
    check(golden, 'positionalEmbedding', { kind: 'positionalEmbedding' });
  });
});

describe('a residual block', () => {
  const golden = new Golden('attention');

  it('a residual block with an identity shortcut agrees with PyTorch', () => {
    check(golden, 'residual', {
      kind: 'residual',
      layers: [{ kind: 'dense', units: 9, activation: 'tanh' }],
    });
  });

  it('a residual block with layers in its shortcut agrees with PyTorch', () => {
    check(golden, 'residualShortcut', {
      kind: 'residual',
      layers: [
        { kind: 'dense', units: 6, activation: 'relu' },
        { kind: 'dense', units: 4 },
      ],
      shortcut: [{ kind: 'dense', units: 4, bias: false }],
    });
  });
});
