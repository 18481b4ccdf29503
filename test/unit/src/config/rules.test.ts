// Rules between fields, on configs whose fields are each valid.
import { describe, expect, it } from 'vitest';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

interface Parts {
  readonly data?: string;
  readonly layer?: string;
  readonly loss?: string;
}

/** A config in which line 2 is data, line 3 the one layer, and line 4 the loss. */
function configText({ data = 'file: a.csv, target: y', layer = 'units: 1', loss = 'mse' }: Parts): string {
  return `name: t\ndata: { ${data} }\nmodel: { layers: [{ kind: dense, ${layer} }] }\nloss: ${loss}\n`;
}

const IMAGES = 'train: { images: i, labels: l }';
const ce = { loss: 'crossEntropy' };
const logits = { layer: 'units: 10', ...ce };

describe('a config that is refused', () => {
  it.each<[Parts, string, string, string?]>([
    [
      { data: 'target: y' },
      'data: no source of samples',
      '2:7',
      'give file (one table that split divides) or train',
    ],
    [
      { data: 'file: a, train: b, target: y' },
      'data.train: does not go with data.file, which split divides',
      '2:25',
      'remove file or train',
    ],
    [
      { data: 'file: a, validation: b, target: y' },
      'data.validation: does not go with data.file, which split divides',
      '2:30',
      'remove file or validation',
    ],
    [
      { data: 'file: a, test: b, target: y' },
      'data.test: does not go with data.file, which split divides',
      '2:24',
      'remove file or test',
    ],
    [
      { data: `${IMAGES}, test: b`, ...logits },
      'data.test: is a table, but data.train is images',
      '2:48',
      'all splits are of one kind',
    ],
    [
      { data: 'train: a, target: y, validation: { images: i, labels: l }' },
      'data.validation: is images, but data.train is a table',
      '2:42',
      'all splits are of one kind',
    ],
    [{ data: 'file: a.csv' }, 'data.target: missing, expected the column of the table to predict', '2:7'],
    [
      { data: `${IMAGES}, target: y`, ...logits },
      'data.target: is for tables, but data.train is images',
      '2:50',
      'remove it',
    ],
    [
      { data: `${IMAGES}, features: [a]`, ...logits },
      'data.features: is for tables, but data.train is images',
      '2:52',
      'remove it',
    ],
    [
      { data: `${IMAGES}, drop: [a]`, ...logits },
      'data.drop: is for tables, but data.train is images',
      '2:48',
      'remove it',
    ],
    [
      { data: `${IMAGES}, categorical: [a]`, ...logits },
      'data.categorical: is for tables, but data.train is images',
      '2:55',
      'remove it',
    ],
    [
      { data: `${IMAGES}, missing: mean`, ...logits },
      'data.missing: is for tables, but data.train is images',
      '2:51',
      'remove it',
    ],
    [
      { data: `${IMAGES}, delimiter: ";"`, ...logits },
      'data.delimiter: is for tables, but data.train is images',
      '2:53',
      'remove it',
    ],
    [
      { data: `${IMAGES}, decimal: ","`, ...logits },
      'data.decimal: is for tables, but data.train is images',
      '2:51',
      'remove it',
    ],
    [
      { data: `${IMAGES}, header: false`, ...logits },
      'data.header: is for tables, but data.train is images',
      '2:50',
      'remove it',
    ],
    [
      { data: IMAGES },
      'loss: "mse" needs numbers to predict, images have class labels',
      '4:7',
      'use crossEntropy',
    ],
    [
      { data: 'file: a, target: y, classes: 3' },
      'data.classes: only goes with loss crossEntropy',
      '2:38',
      'remove it',
    ],
    [
      { data: 'file: a, target: y, targetTransform: [log]', ...logits },
      'data.targetTransform: only goes with loss mse, mae or huber',
      '2:46',
      'remove it',
    ],
    [
      { data: 'file: a, target: [y, z]', ...logits },
      'data.target: crossEntropy takes one column of class labels',
      '2:26',
      'name one column, or use mse',
    ],
    [
      { data: 'file: a, target: [y, z]' },
      'model.layers.0.units: the last layer has 1 unit, data.target has 2 columns',
      '3:41',
      'set units to 2',
    ],
    [
      { layer: 'units: 3' },
      'model.layers.0.units: the last layer has 3 units, data.target has 1 column',
      '3:41',
      'set units to 1',
    ],
    [
      { data: 'file: a, target: y, classes: 3', ...logits },
      'model.layers.0.units: the last layer has 10 units, data.classes is 3',
      '3:41',
      'set units to 3',
    ],
    [ce, 'model.layers.0.units: crossEntropy needs one unit per class, at least 2', '3:41'],
    [
      { layer: 'units: 2, activation: relu', ...ce },
      "model.layers.0.activation: crossEntropy takes the last layer's outputs as they are, not through relu",
      '3:56',
      'set it to linear; softmax is part of the loss',
    ],
    [
      { data: 'file: a, target: y, split: { train: 0.9, test: 0.2 }' },
      'data.split: train 0.9, validation 0.1 and test 0.2 sum to 1.2, more than 1',
      '2:36',
    ],
    [
      { data: 'file: a, target: y, split: { train: 0.9 }' },
      'data.split: train 0.9, validation 0.1 and test 0.1 sum to 1.1, more than 1',
      '2:36',
    ],
    [
      { data: 'file: a, target: y, split: { validation: 0.5, test: 0.5 }' },
      'data.split: validation 0.5 and test 0.5 leave nothing to train on',
      '2:36',
    ],
    [
      { data: 'file: a, target: y, split: { train: 0 }' },
      'data.split.train: expected number > 0, got 0',
      '2:45',
    ],
    [
      { data: 'train: a, test: b, target: y, split: { test: 0.2 }' },
      'data.split.test: does not go with data.test, which has the samples',
      '2:54',
      'remove it',
    ],
    [{ data: 'file: a, target: y, features: [a, b, a]' }, 'data.features.2: "a" is also item 0', '2:46'],
    [{ data: 'file: a, target: y, drop: [a, a]' }, 'data.drop.1: "a" is also item 0', '2:39'],
    [{ data: 'file: a, target: y, categorical: [a, a]' }, 'data.categorical.1: "a" is also item 0', '2:46'],
    [
      { data: 'file: a, target: y, targetTransform: [log, log]' },
      'data.targetTransform.1: "log" is also item 0',
      '2:52',
    ],
    [{ data: 'file: a, target: [y, y]', layer: 'units: 2' }, 'data.target.1: "y" is also item 0', '2:30'],
    [{ data: 'file: a, target: y, features: [a, y]' }, 'data.features.1: "y" is also in data.target', '2:43'],
    [{ data: 'file: a, target: y, drop: [y]' }, 'data.drop.0: "y" is also in data.target', '2:36'],
    [
      { data: 'file: a, target: y, categorical: [y]' },
      'data.categorical.0: "y" is also in data.target',
      '2:43',
    ],
    [
      { data: 'file: a, target: y, features: [a], drop: [a]' },
      'data.drop.0: "a" is also in data.features',
      '2:51',
    ],
    [
      { data: 'file: a, target: y, drop: [a], categorical: [a]' },
      'data.categorical.0: "a" is also in data.drop',
      '2:54',
    ],
  ])('a broken rule between fields has its own message: %j', async (parts, message, place, help) => {
    const lines = [`error[E_CONFIG_INVALID]: ${message}`, `  --> house.yaml:${place}`];
    if (help !== undefined) lines.push(`  help: ${help}`);
    await expect(errorText(loadText(configText(parts)))).resolves.toBe(lines.join('\n'));
  });

  it('the error shows all broken rules at once', async () => {
    const text = configText({ data: `${IMAGES}, target: y, classes: 2`, layer: 'units: 2' });
    await expect(errorText(loadText(text))).resolves.toBe(
      [
        'error[E_CONFIG_INVALID]: 4 problems in house.yaml',
        '    house.yaml:2:50: data.target: is for tables, but data.train is images (remove it)',
        '    house.yaml:2:62: data.classes: only goes with loss crossEntropy (remove it)',
        '    house.yaml:3:41: model.layers.0.units: the last layer has 2 units, data.target has 1 column (set units to 1)',
        '    house.yaml:4:7: loss: "mse" needs numbers to predict, images have class labels (use crossEntropy)',
      ].join('\n'),
    );
  });
});

describe('a config that is accepted', () => {
  it.each<[string, Parts]>([
    [
      'shares that sum to 1 but for rounding',
      { data: 'file: a, target: y, split: { train: 0.7, validation: 0.2, test: 0.1 }' },
    ],
    ['shares that leave some rows unused', { data: 'file: a, target: y, split: { train: 0.1 }' }],
    ['no validation rows', { data: 'train: a, test: b, target: y, split: { train: 1, validation: 0 }' }],
    [
      'a validation file, whose share then does not count',
      { data: 'train: a, validation: b, target: y, split: { train: 0.9 }' },
    ],
    ['as many units as target columns', { data: 'file: a, target: [y, z]', layer: 'units: 2' }],
    ['an activation before mse', { layer: 'units: 1, activation: sigmoid' }],
    ['a table of labels', { data: 'file: a, target: y', layer: 'units: 3', ...ce }],
    ['one column in a list of labels', { data: 'file: a, target: [y]', layer: 'units: 3', ...ce }],
    ['images with a count of classes', { data: `${IMAGES}, classes: 10, standardize: false`, ...logits }],
    [
      'categorical columns among the features',
      { data: 'file: a, target: y, features: [a, b], categorical: [b]' },
    ],
  ])('a config may have %s', async (_, parts) => {
    await expect(loadText(configText(parts))).resolves.toHaveProperty('config.name', 't');
  });

  it('a config may have more shards than samples in a batch', async () => {
    const text = `${configText({})}batchSize: 4\nshards: 8\n`;
    await expect(loadText(text)).resolves.toHaveProperty('config.shards', 8);
  });
});
