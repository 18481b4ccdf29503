// Losses, weights and metrics in the config: their forms, and which go together.
import { describe, expect, it } from 'vitest';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

interface Parts {
  readonly data?: string;
  readonly layer?: string;
  readonly loss?: string;
  readonly rest?: string;
}

/** A config in which line 2 is data, line 3 the one layer, line 4 the loss, and line 5 everything else. */
function configText(parts: Parts): string {
  const { data = 'file: a.csv, target: y', layer = 'units: 1', loss = 'mse', rest = 'epochs: 1' } = parts;
  return `name: t\ndata: { ${data} }\nmodel: { layers: [{ kind: dense, ${layer} }] }\nloss: ${loss}\n${rest}\n`;
}

const IMAGES = 'train: { images: i, labels: l }';
const classes = { layer: 'units: 3', loss: 'crossEntropy' };
const binary = { loss: 'binaryCrossEntropy' };

describe('a loss', () => {
  it.each([
    ['mae', { kind: 'mae' }],
    ['huber', { kind: 'huber', delta: 1 }],
    ['{ kind: huber, delta: 2.5 }', { kind: 'huber', delta: 2.5 }],
    ['binaryCrossEntropy', { kind: 'binaryCrossEntropy' }],
  ])('a loss may be written %s', async (loss, resolved) => {
    const { config } = await loadText(configText({ loss }));
    expect(config.loss).toEqual(resolved);
  });

  it('a loss for classes smooths no labels by default', async () => {
    const { config } = await loadText(configText(classes));
    expect(config.loss).toEqual({ kind: 'crossEntropy', labelSmoothing: 0 });
  });
});

describe('weights of classes', () => {
  it.each([
    ['balanced', 'balanced'],
    ['[1, 2, 0.5]', [1, 2, 0.5]],
    ['{ cat: 2, dog: 0 }', { cat: 2, dog: 0 }],
  ])('the weights of classes may be %s', async (text, expected) => {
    const { config } = await loadText(configText({ ...classes, rest: `classWeights: ${text}` }));
    expect(config.classWeights).toEqual(expected);
  });
});

describe('a config with a loss that is refused', () => {
  it.each<[Parts, string, string, string?]>([
    [{ loss: '{ kind: huber, delta: 0 }' }, 'loss.delta: expected number > 0, got 0', '4:29'],
    [
      { loss: '{ kind: crossEntropy, labelSmoothing: 1 }', layer: 'units: 3' },
      'loss.labelSmoothing: expected number < 1, got 1',
      '4:45',
    ],
    [
      { loss: '{ kind: hubr }' },
      'loss.kind: expected one of "mse", "mae", "huber", "binaryCrossEntropy", "crossEntropy", got "hubr"',
      '4:15',
      'did you mean "huber"?',
    ],
    [
      { ...classes, rest: 'classWeights: { cat: -1 }' },
      'classWeights.cat: expected number >= 0, got -1',
      '5:22',
    ],
    [
      { ...classes, rest: 'classWeights: equal' },
      'classWeights: expected "balanced" or list of at least 2 or mapping, got "equal"',
      '5:15',
    ],
    [{ ...classes, rest: 'metrics: { topK: 1 }' }, 'metrics.topK: expected integer >= 2, got 1', '5:18'],
    [
      { rest: 'classWeights: balanced' },
      'classWeights: only goes with loss crossEntropy or binaryCrossEntropy',
      '5:15',
      'remove it',
    ],
    [{ rest: 'metrics: { topK: 5 }' }, 'metrics.topK: only goes with loss crossEntropy', '5:18', 'remove it'],
    [
      { data: 'file: a, target: y, ignoreIndex: 0' },
      'data.ignoreIndex: only goes with loss crossEntropy',
      '2:42',
      'remove it',
    ],
    [
      { ...binary, data: 'file: a, target: y, ignoreIndex: 0' },
      'data.ignoreIndex: only goes with loss crossEntropy',
      '2:42',
      'remove it',
    ],
    [
      { ...binary, data: 'file: a, target: y, targetUnit: USD' },
      'data.targetUnit: only goes with loss mse, mae or huber',
      '2:41',
      'remove it',
    ],
    [
      {
        loss: '{ kind: crossEntropy, labelSmoothing: 0.1 }',
        layer: 'units: 3',
        rest: 'classWeights: balanced',
      },
      'loss.labelSmoothing: does not go with classWeights, which weigh a row by its one class',
      '4:45',
      'remove one of them',
    ],
    [
      { ...binary, data: 'file: a, target: [y, z]', layer: 'units: 2', rest: 'classWeights: [1, 2]' },
      'classWeights: takes one target column of two classes',
      '5:15',
      'name one column',
    ],
    [
      { ...binary, layer: 'units: 2' },
      'model.layers.0.units: the last layer has 2 units, data.target has 1 column',
      '3:41',
      'set units to 1',
    ],
    [
      { ...binary, data: IMAGES, layer: 'units: 2' },
      'model.layers.0.units: the last layer has 2 units, images have one label',
      '3:41',
      'set units to 1',
    ],
    [
      { ...binary, layer: 'units: 1, activation: sigmoid' },
      "model.layers.0.activation: binaryCrossEntropy takes the last layer's outputs as they are, not through sigmoid",
      '3:56',
      'set it to linear; the sigmoid is part of the loss',
    ],
    [
      { ...classes, data: `${IMAGES}, weights: w` },
      'data.weights: is for tables, but data.train is images',
      '2:51',
      'remove it',
    ],
    [{ data: 'file: a, target: y, weights: y' }, 'data.weights: "y" is also in data.target', '2:38'],
    [
      { data: 'file: a, target: y, features: [w], weights: w' },
      'data.weights: "w" is also in data.features',
      '2:53',
    ],
    [{ data: 'file: a, target: y, drop: [w], weights: w' }, 'data.weights: "w" is also in data.drop', '2:49'],
    [
      { data: 'file: a, target: y, categorical: [w], weights: w' },
      'data.weights: "w" is also in data.categorical',
      '2:56',
    ],
  ])('a broken rule of losses has its own message: %j', async (parts, message, place, help) => {
    const expected = `error[E_CONFIG_INVALID]: ${message}\n  --> house.yaml:${place}`;
    const text = await errorText(loadText(configText(parts)));
    expect(text).toBe(help === undefined ? expected : `${expected}\n  help: ${help}`);
  });

  it('an option of another loss is reported as an unknown key', async () => {
    expect(await errorText(loadText(configText({ loss: '{ kind: mae, delta: 2 }' })))).toMatch(
      /^error\[E_CONFIG_INVALID\]: unknown key "delta" in loss\n/,
    );
  });
});

/** A config with its layers on line 3. */
function modelText(layers: string, loss: string): string {
  return `name: t\ndata: { file: a.csv, target: y }\nmodel: { layers: [${layers}] }\nloss: ${loss}\n`;
}

const DENSE = '{ kind: dense, units: 3 }';
const SOFTMAX = '{ kind: activation, function: softmax }';
const SIGMOID = '{ kind: activation, function: sigmoid }';
const FLATTEN = '{ kind: flatten }';
const DROPOUT = '{ kind: dropout, rate: 0.1 }';
const RESHAPE = '{ kind: reshape, shape: [3] }';
const CONVOLUTION = '{ kind: conv2d, filters: 3, kernelSize: 1, activation: sigmoid }';

describe('a model whose last activation is part of the loss', () => {
  it.each([
    ['crossEntropy', [DENSE, SOFTMAX], '1.function', 'softmax'],
    ['crossEntropy', [DENSE, SIGMOID], '1.function', 'sigmoid'],
    ['crossEntropy', [DENSE, '{ kind: activation, function: relu }'], '1.function', 'relu'],
    ['{ kind: crossEntropy, labelSmoothing: 0.1 }', [DENSE, SOFTMAX], '1.function', 'softmax'],
    ['binaryCrossEntropy', [DENSE, SIGMOID], '1.function', 'sigmoid'],
    ['binaryCrossEntropy', [DENSE, SIGMOID, FLATTEN, DROPOUT, RESHAPE], '1.function', 'sigmoid'],
    ['crossEntropy', ['{ kind: dense, units: 3, activation: sigmoid }', DROPOUT], '0.activation', 'sigmoid'],
    ['binaryCrossEntropy', [CONVOLUTION, FLATTEN], '0.activation', 'sigmoid'],
    ['binaryCrossEntropy', [CONVOLUTION, '{ kind: globalAvgPool2d }'], '0.activation', 'sigmoid'],
    [
      'crossEntropy',
      [CONVOLUTION, '{ kind: maxPool2d, size: 2 }', '{ kind: avgPool2d, size: 2 }', FLATTEN],
      '0.activation',
      'sigmoid',
    ],
    [
      'crossEntropy',
      [DENSE, `{ kind: residual, layers: [${DENSE}, ${SOFTMAX}] }`],
      '1.layers.1.function',
      'softmax',
    ],
    [
      'crossEntropy',
      [DENSE, `{ kind: residual, layers: [${DENSE}], shortcut: [${DENSE}, ${SOFTMAX}] }`, DROPOUT],
      '1.shortcut.1.function',
      'softmax',
    ],
  ])(
    'a model whose last activation is part of the loss is refused, under %s: %j',
    async (loss, layers, place, name) => {
      const kind = /\w*[cC]rossEntropy/.exec(loss)?.[0] ?? '';
      const inner = kind === 'crossEntropy' ? 'softmax' : 'the sigmoid';
      const change = place.endsWith('activation') ? 'set it to linear' : 'remove the layer';
      const text = await errorText(loadText(modelText(layers.join(', '), loss)));
      expect(text.replace(/\n {2}--> .*/, '')).toBe(
        `error[E_CONFIG_INVALID]: model.layers.${place}: ${kind} takes the last layer's outputs as they are, ` +
          `not through ${name}\n  help: ${change}; ${inner} is part of the loss`,
      );
    },
  );

  it.each([
    ['mse', ['{ kind: dense, units: 1 }', SIGMOID]],
    ['crossEntropy', [DENSE, SOFTMAX, DENSE]],
    ['crossEntropy', [DENSE, SOFTMAX, '{ kind: layerNorm }']],
    [
      'crossEntropy',
      ['{ kind: conv2d, filters: 3, kernelSize: 1, activation: relu }', '{ kind: globalAvgPool2d }'],
    ],
    ['crossEntropy', [DENSE, '{ kind: residual, layers: [{ kind: dense, units: 3, activation: relu }] }']],
    ['crossEntropy', [DENSE, FLATTEN, DROPOUT]],
  ])(
    'a model is accepted with another layer in between, or with another loss: %s, %j',
    async (loss, layers) => {
      await expect(loadText(modelText(layers.join(', '), loss))).resolves.toHaveProperty('config.name', 't');
    },
  );
});
