// Losses, weights and metrics in the config: their forms, and what goes with what.
import { describe, expect, it } from 'vitest';
import { errorText, loadText } from '../helpers/config-directory.ts';

interface Parts {
  readonly data?: string;
  readonly layer?: string;
  readonly loss?: string;
  readonly rest?: string;
}

/** Line 2 is data, line 3 the one layer, line 4 the loss, line 5 what else there is. */
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
  ])('may be written %s', async (loss, resolved) => {
    const { config } = await loadText(configText({ loss }));
    expect(config.loss).toEqual(resolved);
  });

  it('of classes smooths no label unless told to', async () => {
    const { config } = await loadText(configText(classes));
    expect(config.loss).toEqual({ kind: 'crossEntropy', labelSmoothing: 0 });
  });
});

describe('weights of classes', () => {
  it.each([
    ['balanced', 'balanced'],
    ['[1, 2, 0.5]', [1, 2, 0.5]],
    ['{ cat: 2, dog: 0 }', { cat: 2, dog: 0 }],
  ])('may be %s', async (text, expected) => {
    const { config } = await loadText(configText({ ...classes, rest: `classWeights: ${text}` }));
    expect(config.classWeights).toEqual(expected);
  });
});

describe('a config that is refused', () => {
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
  ])('has its own message: %j', async (parts, message, place, help) => {
    const expected = `error[E_CONFIG_INVALID]: ${message}\n  --> house.yaml:${place}`;
    const text = await errorText(loadText(configText(parts)));
    expect(text).toBe(help === undefined ? expected : `${expected}\n  help: ${help}`);
  });

  it('names an option of another loss as unknown', async () => {
    expect(await errorText(loadText(configText({ loss: '{ kind: mae, delta: 2 }' })))).toMatch(
      /^error\[E_CONFIG_INVALID\]: unknown key "delta" in loss\n/,
    );
  });
});
