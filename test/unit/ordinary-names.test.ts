// Names that every JavaScript object inherits are ordinary names: of columns, of classes, and in a config.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { monitoredValue } from '../../coordinator/training/early-stopping.ts';
import { evaluateRun } from '../../coordinator/commands/evaluate.ts';
import { parseConfigText } from '../../src/config/config-text.ts';
import { validateConfig } from '../../src/config/validate.ts';
import { formatPredictions } from '../../src/predict/predictions.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import { readEncodedBlocks } from '../../src/predict/table-blocks.ts';
import { configOf, loadText, modelOf } from './src/data/fixtures.ts';
import { saveRun } from '../helpers/saved-run.ts';

const NAMES = ['constructor', 'valueOf', '__proto__', 'toString'];
const NO_SPLIT = { split: { validation: 0, test: 0 }, shuffle: false } as const;

async function predictionsOf(directory: string, file: string): Promise<string[]> {
  const model = await loadModel(directory, { warn: () => undefined });
  const lines: string[] = [];
  const request = { input: file, description: model.description, keep: [], warn: () => undefined };
  for await (const { samples } of readEncodedBlocks(request)) {
    lines.push(...formatPredictions(model.predictEach(samples), model.description));
  }
  return lines.join('').split('\n');
}

describe('names of classes', () => {
  const table = `x,y\n${Array.from({ length: 12 }, (_, row) => `${row},${NAMES[row % 4]}\n`).join('')}`;

  it('the names of classes may be any words in the table, in class weights, metrics and predictions', async () => {
    const run = await saveRun(
      { 'table.csv': table },
      {
        data: { file: 'table.csv', target: 'y', ...NO_SPLIT },
        model: modelOf(4),
        loss: 'crossEntropy',
        classWeights: { constructor: 2, valueOf: 3 },
        batchSize: 4,
      },
    );
    expect(run.prepared.data.classNames).toEqual(['__proto__', 'constructor', 'toString', 'valueOf']);
    expect(run.prepared.data.classWeights).toEqual([1, 2, 1, 3]);
    const [header, first] = await predictionsOf(run.directory, path.join(run.cwd, 'table.csv'));
    expect(header).toBe(
      'class,probability___proto__,probability_constructor,probability_toString,probability_valueOf',
    );
    expect(NAMES).toContain(first?.split(',')[0]);
    const metrics = await evaluateRun(run.directory, { split: 'train', warn: () => undefined });
    expect(metrics).toEqual(await run.measure('train'));
  });

  it('a class without a weight weighs 1, even if every object has a property of its name', async () => {
    const { classWeights } = await loadText(
      table,
      {},
      {
        loss: 'crossEntropy',
        model: modelOf(4),
        classWeights: { valueOf: 5 },
      },
    );
    expect(classWeights).toEqual([1, 1, 1, 5]);
  });
});

describe('names of columns', () => {
  const rows = Array.from(
    { length: 6 },
    (_, row) => `${row},${row % 2},${'ab'[row % 2]},${row + 1},${row * 3}\n`,
  );
  const table = `${NAMES.join()},2020\n${rows.join('')}`;

  it('the names of columns may be any words from the config to predictions, of a file and of rows', async () => {
    const run = await saveRun(
      { 'table.csv': table },
      {
        data: {
          file: 'table.csv',
          target: ['toString', '2020'],
          categorical: ['valueOf'],
          missing: { columns: { constructor: 'mean' as const } },
          ...NO_SPLIT,
        },
        model: modelOf(2),
        loss: 'mse',
        batchSize: 4,
      },
    );
    expect(run.prepared.data.featureNames).toEqual([
      ...['constructor', 'valueOf=0', 'valueOf=1', '__proto__=a', '__proto__=b'],
    ]);
    const [header, first] = await predictionsOf(run.directory, path.join(run.cwd, 'table.csv'));
    expect(header).toBe('toString,2020');
    const model = await loadModel(run.directory);
    const [prediction] = model.predict([{ constructor: 0, valueOf: 0, ['__proto__']: 'a' }]);
    expect(
      prediction?.kind === 'values' && [prediction.values['toString'], prediction.values['2020']].join(),
    ).toBe(first);
    expect(model.predict([{ constructor: null, valueOf: 0, ['__proto__']: 'a' }])).toHaveLength(1);
    expect(() => model.predict([{ valueOf: 0, ['__proto__']: 'a' }])).toThrow(
      'row 0 has no column "constructor"',
    );
  });

  it('a column has no rule for missing cells unless the config gives it one', async () => {
    const config = configOf({
      file: 'a.csv',
      target: 'y',
      missing: { columns: { valueOf: 'drop-row' as const } },
    });
    expect(config.data.missing).toEqual({ default: 'error', columns: { valueOf: 'drop-row' } });
    const { warnings } = await loadText('constructor,y\n,1\n2,2\n', { missing: { default: 'mean' } });
    expect(warnings.filter((text) => text.includes('left out'))).toEqual([]);
  });
});

describe('keys of a config', () => {
  it.each(['constructor', 'valueOf', 'toString', 'hasOwnProperty', 'prototype'])(
    'the key %s is unknown like any other',
    (key) => {
      const { value } = parseConfigText(
        `name: a\n${key}: 1\ndata: {file: a, target: y, ${key}: 1}`,
        'c.yaml',
      );
      const validation = validateConfig(value);
      const messages = 'findings' in validation ? validation.findings.map(({ message }) => message) : [];
      expect(messages).toContain(`unknown key "${key}"`);
      expect(messages).toContain(`unknown key "${key}" in data`);
    },
  );

  it("the name of an object's property is not a metric", () => {
    expect(() => monitoredValue({ loss: 1 } as never, { monitor: 'constructor', minDelta: 0 })).toThrow(
      'earlyStopping.monitor: validation measures no "constructor"',
    );
  });
});
