// Tensors are named as in the nn.Sequential that one writes for a model: names and shapes of every kind of
// layer, and a whole state_dict, against PyTorch 1.13.1 (scripts/golden/state_dicts.py wrote both).
import { describe, expect, it } from 'vitest';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { sizeOf } from '../../src/shape.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { expectNear, Golden, readRecorded } from '../helpers/golden.ts';
import { trainGolden } from '../helpers/golden-training.ts';
import { packSamples } from '../helpers/twins/samples.ts';

const IMAGE = [1, 8, 8];
const OUTPUT: LayerInput = { kind: 'dense', units: 2 };

/** Models by the names that the script gives them. */
const MODELS: Readonly<Record<string, { readonly shape: readonly number[]; readonly layers: LayerInput[] }>> =
  {
    dense: {
      shape: [5],
      layers: [
        { kind: 'dense', units: 4, activation: 'relu' },
        { kind: 'dense', units: 4, bias: false },
        { kind: 'dense', units: 3 },
        { kind: 'activation', function: 'softmax' },
        OUTPUT,
      ],
    },
    'dense after an image': {
      shape: IMAGE,
      layers: [{ kind: 'dense', units: 4, activation: 'tanh' }, OUTPUT],
    },
    'dense after layers on images': {
      shape: IMAGE,
      layers: [
        { kind: 'conv2d', filters: 3, kernelSize: 3, activation: 'relu' },
        { kind: 'maxPool2d', size: 2 },
        { kind: 'dropout', rate: 0.1 },
        OUTPUT,
      ],
    },
    'flatten before dense': {
      shape: IMAGE,
      layers: [
        { kind: 'conv2d', filters: 3, kernelSize: 3 },
        { kind: 'avgPool2d', size: 2 },
        { kind: 'flatten' },
        { kind: 'dense', units: 4, activation: 'gelu' },
        OUTPUT,
      ],
    },
    'dense on a sequence': {
      shape: [6, 5],
      layers: [{ kind: 'dense', units: 4, activation: 'silu' }, { kind: 'flatten' }, OUTPUT],
    },
    'convolutions with norms': {
      shape: IMAGE,
      layers: [
        { kind: 'conv2d', filters: 4, kernelSize: 3, padding: 1, bias: false },
        { kind: 'batchNorm' },
        { kind: 'activation', function: 'relu' },
        { kind: 'conv2d', filters: 4, kernelSize: 3, groups: 4 },
        { kind: 'globalAvgPool2d' },
        { kind: 'batchNorm' },
        OUTPUT,
      ],
    },
    'residual blocks on images': {
      shape: IMAGE,
      layers: [
        { kind: 'conv2d', filters: 4, kernelSize: 3, padding: 1, activation: 'elu' },
        {
          kind: 'residual',
          layers: [
            { kind: 'conv2d', filters: 4, kernelSize: 3, padding: 1, activation: 'relu' },
            {
              kind: 'residual',
              layers: [
                { kind: 'batchNorm' },
                { kind: 'conv2d', filters: 4, kernelSize: 1, activation: 'relu' },
              ],
              shortcut: [{ kind: 'batchNorm' }],
            },
            { kind: 'batchNorm' },
          ],
        },
        {
          kind: 'residual',
          layers: [
            { kind: 'dense', units: 6, activation: 'sigmoid' },
            { kind: 'dense', units: 3 },
          ],
          shortcut: [{ kind: 'globalAvgPool2d' }, { kind: 'dense', units: 3, activation: 'relu' }],
        },
        OUTPUT,
      ],
    },
    reshapes: {
      shape: [36],
      layers: [
        { kind: 'reshape', shape: [4, 9] },
        { kind: 'layerNorm' },
        { kind: 'reshape', shape: [1, 6, 6] },
        { kind: 'dense', units: 4, activation: 'leakyRelu' },
        { kind: 'layerNorm' },
        OUTPUT,
      ],
    },
    'a transformer': {
      shape: [6],
      layers: [
        { kind: 'embedding', vocabulary: 11, units: 8 },
        { kind: 'positionalEmbedding' },
        {
          kind: 'residual',
          layers: [
            { kind: 'layerNorm' },
            { kind: 'attention', heads: 2, causal: true },
            { kind: 'dropout', rate: 0.1 },
          ],
        },
        {
          kind: 'residual',
          layers: [
            { kind: 'layerNorm' },
            { kind: 'dense', units: 16, activation: 'gelu' },
            { kind: 'dense', units: 8 },
          ],
        },
        { kind: 'layerNorm' },
        { kind: 'dense', units: 11 },
      ],
    },
    'a cropped image': {
      shape: IMAGE,
      layers: [
        { kind: 'augment', flip: 'both', shift: 1 },
        { kind: 'augment', crop: [7, 6] },
        { kind: 'conv2d', filters: 3, kernelSize: 3 },
        OUTPUT,
      ],
    },
    'recurrent layers': {
      shape: [6, 5],
      layers: [
        { kind: 'lstm', units: 4, returnSequences: true },
        { kind: 'dropout', rate: 0.2 },
        { kind: 'gru', units: 3 },
        { kind: 'dense', units: 4, activation: 'tanh' },
        OUTPUT,
      ],
    },
  };

function modelOf(layers: readonly LayerInput[], shape: readonly number[]): Model {
  return resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, shape);
}

/** The kinds of layers, including nested ones. */
function kindsOf(layers: readonly LayerInput[]): LayerInput['kind'][] {
  return layers.flatMap((layer) =>
    layer.kind === 'residual'
      ? [layer.kind, ...kindsOf(layer.layers), ...kindsOf(layer.shortcut ?? [])]
      : [layer.kind],
  );
}

describe('the tensors of a model', () => {
  const recorded = readRecorded<Record<string, Record<string, number[]>>>('state-dicts');

  it.each(Object.keys(recorded))(
    'the tensors of the model %s have the names, shapes and order of a Sequential',
    (name) => {
      const { shape, layers } = MODELS[name] ?? { shape: [], layers: [] };
      const tensors = modelOf(layers, shape).tensors.map((tensor) => [tensor.name, tensor.shape]);
      expect(tensors).toEqual(Object.entries(recorded[name] ?? {}));
    },
  );

  it('the compared models contain every kind of layer', () => {
    const compared = new Set(Object.keys(recorded).flatMap((name) => kindsOf(MODELS[name]?.layers ?? [])));
    const kinds = layerSchema.options.map(({ shape }) => shape.kind.value);
    expect([...compared].sort()).toEqual([...kinds].sort());
  });
});

describe('a state_dict with the counters of its norms', () => {
  it('a state_dict with the counters of its norms gives the same outputs as its model in PyTorch', async () => {
    const data = new Golden('state-dict-data');
    const layers: LayerInput[] = [
      { kind: 'conv2d', filters: 3, kernelSize: 3, bias: false },
      { kind: 'batchNorm' },
      { kind: 'activation', function: 'relu' },
      {
        kind: 'residual',
        layers: [{ kind: 'batchNorm' }, { kind: 'conv2d', filters: 3, kernelSize: 3, padding: 1 }],
      },
      { kind: 'dense', units: 4 },
    ];
    const { values: features, shape } = data.tensor('features');
    const [numRows = 0, featureWidth = 0] = shape;
    const outputs = data.values('outputs');
    const { engine } = await trainGolden({
      model: modelOf([{ kind: 'reshape', shape: [...IMAGE] }, ...layers], [sizeOf(IMAGE)]),
      loss: 'mse',
      dataset: packSamples({ featureWidth, features, targets: outputs, numClasses: 0 }),
      initial: new Golden('state-dict').file(),
      batchSize: numRows,
      shards: 1,
      learningRate: 1,
      numSteps: 0,
    });
    const rows = Uint32Array.from({ length: numRows }, (_, row) => row);
    // The same arithmetic in another order: a few units in the last place of sums of some hundred products.
    expectNear(engine.evaluateRows(rows, numRows).outputs, outputs, 2e-6, 'outputs');
  });
});
