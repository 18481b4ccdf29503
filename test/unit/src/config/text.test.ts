// Configs whose data is a text: their fields, the rules of these, and their names in messages.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

interface Parts {
  readonly data?: string;
  readonly units?: number;
  readonly loss?: string;
}

/** A config in which line 2 is data, line 3 the last layer, and line 4 the loss. */
function configText({ data = '', units = 256, loss = 'crossEntropy' }: Parts): string {
  return `name: t\ndata: { ${data} }\nmodel: { layers: [{ kind: dense, units: ${units} }] }\nloss: ${loss}\n`;
}

const TEXT = 'train: { text: a }, context: 8';
const IMAGES = 'train: { images: i, labels: l }';

describe('a config of a text', () => {
  it('a config of a text has its paths resolved', async () => {
    const data = 'train: { text: a.txt }, test: { text: /abs/b.txt }, context: 8, stride: 4';
    const { config, baseDirectory } = await loadText(configText({ data }));
    expect(config.data).toMatchObject({
      train: { text: join(baseDirectory, 'a.txt') },
      test: { text: '/abs/b.txt' },
      context: 8,
      stride: 4,
    });
  });

  it.each<[Parts, string, string, string?]>([
    [
      { data: 'train: { text: a }' },
      'data.context: missing, expected the number of bytes of a sample',
      '2:7',
    ],
    [{ data: 'train: { text: a }, context: 1' }, 'data.context: expected integer >= 2, got 1', '2:38'],
    [
      { data: `${TEXT}, stride: 9` },
      'data.stride: 9 is more than data.context, 8: bytes between samples would never be read',
      '2:49',
      'set it to 8 or less',
    ],
    [
      { data: `${TEXT}, test: b.csv` },
      'data.test: is a table, but data.train is a text',
      '2:47',
      'all splits are of one kind',
    ],
    [
      { data: `${IMAGES}, test: { text: b }`, units: 10 },
      'data.test: is a text, but data.train is images',
      '2:48',
      'all splits are of one kind',
    ],
    [
      { data: `${TEXT}, target: y` },
      'data.target: is for tables, but data.train is a text',
      '2:49',
      'remove it',
    ],
    [
      { data: `${IMAGES}, context: 8`, units: 10 },
      'data.context: is for texts, but data.train is images',
      '2:51',
      'remove it',
    ],
    [
      { data: 'file: a.csv, target: y, stride: 8', units: 10 },
      'data.stride: is for texts, but data.file is a table',
      '2:41',
      'remove it',
    ],
    [
      { data: `${TEXT}, classes: 256` },
      'data.classes: a text has 256, the values of a byte',
      '2:50',
      'remove it',
    ],
    [
      { data: `${TEXT}, ignoreIndex: 0` },
      'data.ignoreIndex: is for labels, and every byte of a text counts',
      '2:54',
      'remove it',
    ],
    [
      { data: TEXT, loss: 'mse' },
      'loss: "mse" does not go with a text, whose bytes are classes',
      '4:7',
      'use crossEntropy',
    ],
    [
      { data: TEXT, loss: 'crossEntropy\nclassWeights: balanced' },
      'classWeights: does not go with a text, whose bytes weigh alike',
      '5:15',
      'remove it',
    ],
    [
      { data: TEXT, units: 128 },
      'model.layers.0.units: the last layer has 128 units, a byte has 256 values',
      '3:41',
      'set units to 256',
    ],
    [
      { data: 'train: { text: a, encoding: utf8 }, context: 8' },
      'unknown key "encoding" in data.train',
      '2:27',
      'valid keys: images, labels, folder, text, npz, features, targets, weights, arrays, rows',
    ],
    [
      { data: 'train: { txt: a }, context: 8' },
      'data.train: expected non-empty string or list of at least 1 or mapping with images, labels or mapping with folder or mapping with text or mapping with features, targets or mapping with arrays or mapping with rows, got a mapping',
      '2:16',
    ],
  ])('an invalid config of a text is refused: %#', async (parts, message, place, help) => {
    const helpLine = help === undefined ? '' : `\n  help: ${help}`;
    const expected = `error[E_CONFIG_INVALID]: ${message}\n  --> house.yaml:${place}${helpLine}`;
    expect(await errorText(loadText(configText(parts)))).toBe(expected);
  });
});
