// `--set` flags and environment variables: their syntax, and the places that errors name.
import { describe, expect, it } from 'vitest';
import { applyAssignments } from '../../../../src/config/load.ts';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

const HOUSE = `name: house
data: { file: house.csv, target: price }
model: { layers: [&hidden { kind: dense, units: 8 }, *hidden, { kind: dense, units: 1 }] }
loss: mse
`;

describe('--set', () => {
  it('--set reads values as YAML and creates missing mappings', async () => {
    const overrides = [
      'optimizer.learningRate=1e-2',
      'data.target=[price]',
      'data.split={validation: 0.2, test: 0.2}',
      'data.delimiter=";"',
      'data.file=a=b.csv',
      'tracking.wandb.project=houses',
    ];
    const { config } = await loadText(HOUSE, { overrides });
    expect(config.optimizer.learningRate).toBe(0.01);
    expect(config.data).toMatchObject({
      target: ['price'],
      split: { validation: 0.2, test: 0.2 },
      delimiter: ';',
    });
    expect(config.data.file).toMatch(/\/a=b\.csv$/);
    expect(config.tracking.wandb).toEqual({ project: 'houses', tags: [] });
  });

  it('--set changes one item of a list, even if an alias shares it', async () => {
    const { config } = await loadText(HOUSE, { overrides: ['model.layers.0.units=32'] });
    expect(config.model.layers).toMatchObject([{ units: 32 }, { units: 8 }, { units: 1 }]);
  });

  it.each([
    [
      { loss: 'crossEntropy' },
      ['loss', 'labelSmoothing'],
      { loss: { kind: 'crossEntropy', labelSmoothing: 1 } },
    ],
    [{ audit: 0.1 }, ['audit', 'onLie'], { audit: { share: 0.1, onLie: 1 } }],
    [
      { data: { missing: 'mean' } },
      ['data', 'missing', 'columns', 'a'],
      { data: { missing: { default: 'mean', columns: { a: 1 } } } },
    ],
  ])('--set expands a plain value into the mapping that it abbreviates: %j', (root, keyPath, expected) => {
    const location = { file: '--set' };
    expect(applyAssignments(root, [{ path: keyPath, value: 1, location }])).toEqual({
      value: expected,
      problems: [],
    });
  });

  it('applying assignments leaves the original value unchanged', () => {
    const root = { a: [{ b: 1 }] };
    const { value } = applyAssignments(root, [
      { path: ['a', 0, 'b'], value: 2, location: { file: '--set' } },
    ]);
    expect([root, value]).toEqual([{ a: [{ b: 1 }] }, { a: [{ b: 2 }] }]);
  });

  it.each([
    ['epochz=3', 'unknown key "epochz"', 'did you mean "epochs"?'],
    ['optimizer.learning_rate=3', 'unknown key "learning_rate" in optimizer', 'did you mean "learningRate"?'],
    ['epochs=many', 'epochs: expected integer >= 1, got "many" (string)', undefined],
    ['epochs="10"', 'epochs: expected integer >= 1, got "10" (string)', 'remove the quotes'],
    ['name=12', 'name: expected string, got 12 (number)', 'quote it: "12"'],
    [
      'loss=',
      'loss: expected one of "mse", "mae", "huber", "binaryCrossEntropy", "crossEntropy" or mapping with kind, got nothing (null)',
      undefined,
    ],
    ['epochs', 'expected key.path=value', 'such as --set optimizer.learningRate=0.01'],
    ['=1', 'expected key.path=value', 'such as --set optimizer.learningRate=0.01'],
    ['data..file=x', 'expected key.path=value', 'such as --set optimizer.learningRate=0.01'],
    [
      'data.decimal=,',
      'data.decimal: plain value cannot start with flow indicator character ,',
      'quote the value if it is text',
    ],
    ['data=file: x', 'data: expected one value', 'write lists as [a, b], mappings as {key: value}'],
    ['seed=.nan', 'seed: .nan is not a finite number', 'quote the value if it is text'],
    ['model.layers.3.units=1', 'model.layers has no item "3"; it has 3, counted from 0', undefined],
    ['model.layers.last.units=1', 'model.layers has no item "last"; it has 3, counted from 0', undefined],
    ['optimizer.0=1', 'optimizer is not a list and has no item 0', undefined],
    ['name.first=x', 'name is not a mapping and has no key "first"', undefined],
    ['data.__proto__.x=1', 'the key "__proto__" is not allowed', undefined],
    [
      'data.toString.x=1',
      'unknown key "toString" in data',
      'valid keys: file, train, validation, test, target, targetTransform, targetUnit, features, drop, categorical, columns, missing, missingTokens, standardize, stream, delimiter, decimal, thousands, header, classes, imageSize, channels, context, stride, weights, ignoreIndex, split, shuffle',
    ],
  ])('the flag --set %s is refused by name', async (flag, message, help) => {
    await expect(loadText(HOUSE, { overrides: [flag] })).rejects.toMatchObject({
      code: 'E_CONFIG_INVALID',
      message,
      help,
      location: { file: `--set ${flag}` },
    });
  });
});

describe('environment variables', () => {
  it('an environment variable is named if its value is wrong', async () => {
    await expect(errorText(loadText(HOUSE, { env: { LOCKSTEP_SEED: '-1' } }))).resolves.toBe(
      'error[E_CONFIG_INVALID]: seed: expected integer >= 0, got -1\n  --> LOCKSTEP_SEED=-1',
    );
  });

  it('problems of environment variables and flags are listed after those of the file', async () => {
    const loading = loadText(HOUSE.replace('mse', 'msee'), {
      env: { LOCKSTEP_BATCH_SIZE: 'big', LOCKSTEP_EPOCHS: '[' },
      overrides: ['shards=0', 'nothing'],
    });
    await expect(errorText(loading)).resolves.toBe(
      [
        'error[E_CONFIG_INVALID]: 5 problems in house.yaml',
        '    house.yaml:4:7: loss: expected one of "mse", "mae", "huber", "binaryCrossEntropy", "crossEntropy" or mapping with kind, got "msee" (did you mean "mse"?)',
        '    LOCKSTEP_BATCH_SIZE=big: batchSize: expected integer >= 1, got "big" (string)',
        '    --set shards=0: shards: expected integer >= 1, got 0',
        `    LOCKSTEP_EPOCHS=[: epochs: flow sequence must end with a ] (quote the value if it is text)`,
        '    --set nothing: expected key.path=value (such as --set optimizer.learningRate=0.01)',
      ].join('\n'),
    );
  });
});
