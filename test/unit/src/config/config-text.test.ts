// A resolved config as YAML, which must load back to the same config.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatConfigYaml, parseConfigText } from '../../../../src/config/config-text.ts';
import { resolveConfigPaths } from '../../../../src/config/resolve-paths.ts';
import { validateConfig } from '../../../../src/config/validate.ts';
import { configSchema, type ConfigInput } from '../../../../src/config/schema.ts';
import { ACTIVATIONS } from '../../../../src/layers/activation.ts';
import { INITIALIZERS } from '../../../../src/layers/initializer.ts';
import { loadText } from '../../../helpers/config-directory.ts';

// Names and paths: any text that a UTF-8 file can hold, with what YAML might misread.
const text = fc.oneof(
  fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }).filter((s) => !/\0|\p{Surrogate}/u.test(s)),
  fc.constantFrom(
    'null',
    '~',
    'yes',
    '1e3',
    '0x10',
    '- a',
    'a: b',
    '#',
    ' x ',
    '*a',
    '---',
    '1:2',
    '.inf',
    '<<',
  ),
);
const columns = fc.uniqueArray(text, { minLength: 1, maxLength: 5 });
const positive = fc.double({ min: 1e-300, max: 1e300, noNaN: true });
const belowOne = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const layer = fc.record(
  {
    kind: fc.constant('dense' as const),
    units: fc.integer({ min: 1, max: 1_048_576 }),
    activation: fc.constantFrom(...ACTIVATIONS),
    bias: fc.boolean(),
    initializer: fc.constantFrom(...INITIALIZERS),
  },
  { requiredKeys: ['kind', 'units'] },
);

/** Tables with targets, transforms and columns that break no rule. */
const config: fc.Arbitrary<ConfigInput> = fc
  .record({
    names: columns,
    paths: fc.record({ train: text, validation: text }),
    delimiter: fc.constantFrom(';', '|', ',', '\t', '#', ':', '"', "'", 'spaces'),
    missing: fc.constantFrom('error', 'mean', 'drop-row'),
    layers: fc.array(layer, { maxLength: 4 }),
    optimizer: fc.record({ learningRate: positive, epsilon: positive, beta1: belowOne, beta2: belowOne }),
    seed: fc.integer({ min: 0, max: 4_294_967_295 }),
    wandb: fc.option(fc.record({ project: text, tags: columns }), { nil: undefined }),
  })
  .map(({ names, paths, delimiter, missing, layers, optimizer, seed, wandb }) => ({
    name: 'any-0.1_x',
    seed,
    data: { ...paths, target: names.slice(0, 1), drop: names.slice(1), delimiter, missing },
    model: { layers: [...layers, { kind: 'dense', units: 1 }], init: paths.train },
    loss: 'mse',
    optimizer,
    tracking: { wandb },
  }));

describe('formatConfigYaml', () => {
  it('formatConfigYaml prints any config such that it reads back to the same config', () => {
    fc.assert(
      fc.property(config, (input) => {
        const resolved = resolveConfigPaths(configSchema.parse(input), '/base');
        const printed = formatConfigYaml(resolved);
        expect(validateConfig(parseConfigText(printed, 'config.yaml').value)).toEqual({ config: resolved });
      }),
      { numRuns: 300 },
    );
  });

  it('formatConfigYaml prints every default, and lists and layers on one line each', async () => {
    const text =
      'name: t\ndata: { file: /d/a.csv, target: [y] }\nmodel: { layers: [{ kind: dense, units: 1 }] }\nloss: mse\n';
    const { config } = await loadText(text);
    expect(formatConfigYaml(config)).toBe(`name: t
seed: 0
data:
  file: /d/a.csv
  target: [ y ]
  targetTransform: []
  drop: []
  categorical: []
  columns: {}
  missing: error
  standardize: true
  stream: false
  decimal: .
  header: true
  split:
    validation: 0.1
  shuffle: true
model:
  layers:
    - { kind: dense, units: 1, activation: linear, bias: true }
loss:
  kind: mse
metrics: {}
optimizer:
  kind: adam
  learningRate: 0.001
  beta1: 0.9
  beta2: 0.999
  epsilon: 1e-8
  weightDecay: 0
  decay: weights
schedule:
  kind: constant
clip: {}
batchSize: 256
shards: 8
numerics: strict
wire:
  gradients: f32
audit:
  share: 0
  onLie: rollback
epochs: 10
checkpoint:
  everyEpochs: 1
  everySeconds: 300
  keep: 3
plots: true
tracking:
  csv: false
  tensorboard: false
`);
    const reloaded = await loadText(formatConfigYaml(config));
    expect(reloaded.config).toEqual(config);
  });
});
