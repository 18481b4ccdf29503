// Fields that are wrong by themselves: the message, the place and the advice.
import { describe, expect, it } from 'vitest';
import { ACTIVATIONS } from '../../../../src/layers/activation.ts';
import { layerSchema } from '../../../../src/layers/registry.ts';
import { suggest } from '../../../../src/config/suggest.ts';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

function inQuotes(words: readonly string[]): string {
  return words.map((word) => `"${word}"`).join(', ');
}

const FIELDS = {
  name: 'house',
  data: '{ file: house.csv, target: price }',
  model: '{ layers: [{ kind: dense, units: 1 }] }',
  loss: 'mse',
};

const LAYER_KINDS = layerSchema.options.map(({ shape }) => JSON.stringify(shape.kind.value)).join(', ');

/** A valid config with some fields replaced, one to a line: name is line 1, data 2, model 3, loss 4. */
function withFields(fields: Readonly<Record<string, string>>): string {
  return Object.entries({ ...FIELDS, ...fields })
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');
}

describe('a field of a config', () => {
  it.each([
    [{ epochs: '"10"' }, 'epochs: expected integer >= 1, got "10" (string)', '5:9', 'remove the quotes'],
    [{ epochs: 'ten' }, 'epochs: expected integer >= 1, got "ten" (string)', '5:9'],
    [{ epochs: '0' }, 'epochs: expected integer >= 1, got 0', '5:9'],
    [{ epochs: '1.5' }, 'epochs: expected integer >= 1, got 1.5', '5:9'],
    [{ epochs: '500001' }, 'epochs: expected integer <= 500000, got 500001', '5:9'],
    [{ epochs: '' }, 'epochs: expected integer >= 1, got nothing (null)', '5:9'],
    [{ epochs: '[1]' }, 'epochs: expected integer >= 1, got a list of 1', '5:9'],
    [{ seed: '4294967296' }, 'seed: expected integer <= 4294967295, got 4294967296', '5:7'],
    [
      { optimizer: '{ learningRate: -0.1 }' },
      'optimizer.learningRate: expected number > 0, got -0.1',
      '5:28',
    ],
    [{ optimizer: '{ beta1: 1 }' }, 'optimizer.beta1: expected number < 1, got 1', '5:21'],
    [
      { optimizer: '{ kind: adan }' },
      'optimizer.kind: expected one of "adam", "adamW", "sgd", "rmsprop", "lion", got "adan"',
      '5:20',
      'did you mean "adam"?',
    ],
    [{ optimizer: 'adam' }, 'optimizer: expected mapping, got "adam" (string)', '5:12'],
    [{ data: '[a]' }, 'data: expected mapping, got a list of 1', '2:7'],
    [
      { data: '{ file: x, target: y, shuffle: yes }' },
      'data.shuffle: expected true or false, got "yes" (string)',
      '2:38',
    ],
    [
      { data: '{ file: x, target: y, delimiter: "||" }' },
      'data.delimiter: expected "spaces" or single character, got "||"',
      '2:40',
    ],
    [
      { data: '{ file: x, target: 3 }' },
      'data.target: expected non-empty string or list of at least 1, got 3 (number)',
      '2:26',
      'quote it: "3"',
    ],
    [
      { data: '{ file: x, target: [] }' },
      'data.target: expected non-empty string or list of at least 1, got a list of 0',
      '2:26',
    ],
    [
      { data: '{ file: x, target: y, drop: [a, 1] }' },
      'data.drop.1: expected non-empty string, got 1 (number)',
      '2:39',
      'quote it: "1"',
    ],
    [
      { data: '{ file: "", target: y }' },
      'data.file: expected non-empty string or list of at least 1, got ""',
      '2:15',
    ],
    [
      { data: '{ train: 3, target: y }' },
      'data.train: expected non-empty string or list of at least 1 or mapping with images, labels or mapping with folder or mapping with text or mapping with features, targets or mapping with arrays or mapping with rows, got 3 (number)',
      '2:16',
      'quote it: "3"',
    ],
    [
      { data: '{ train: { images: x } }', loss: 'crossEntropy' },
      'data.train.labels: missing, expected non-empty string',
      '2:16',
    ],
    [
      { data: `{ file: ${'x'.repeat(5000)}, target: y }` },
      `data.file: expected string of at most 4096 characters or list of at most 10000, got "${'x'.repeat(38)}…`,
      '2:15',
    ],
    [{ model: '{ layers: [] }' }, 'model.layers: expected list of at least 1, got a list of 0', '3:18'],
    [
      { model: '{ layers: [{ kind: dens, units: 1 }] }' },
      `model.layers.0.kind: expected one of ${LAYER_KINDS}, got "dens"`,
      '3:27',
      'did you mean "dense"?',
    ],
    [
      { model: '{ layers: [{ units: 1 }] }' },
      `model.layers.0.kind: missing, expected one of ${LAYER_KINDS}`,
      '3:19',
    ],
    [
      { model: '{ layers: [dense] }' },
      'model.layers.0: expected mapping with kind, got "dense" (string)',
      '3:19',
    ],
    [
      { model: '{ layers: [{ kind: dense, units: 1, activation: Relu }] }' },
      `model.layers.0.activation: expected one of ${inQuotes(ACTIVATIONS)}, got "Relu"`,
      '3:56',
      'did you mean "relu"?',
    ],
    [
      { loss: 'crossentropy' },
      'loss: expected one of "mse", "mae", "huber", "binaryCrossEntropy", "crossEntropy" or mapping with kind, got "crossentropy"',
      '4:7',
      'did you mean "crossEntropy"?',
    ],
    [
      { name: '../x' },
      'name: expected letters, digits, ".", "_" and "-" only, at most 64, got "../x"',
      '1:7',
    ],
    [{ epocs: '3' }, 'unknown key "epocs"', '5:1', 'did you mean "epochs"?'],
    [
      { optimizer: '{ learningrate: 1 }' },
      'unknown key "learningrate" in optimizer',
      '5:14',
      'did you mean "learningRate"?',
    ],
    [
      { optimizer: '{ lr: 1 }' },
      'unknown key "lr" in optimizer',
      '5:14',
      'valid keys: kind, learningRate, beta1, beta2, epsilon, weightDecay, decay',
    ],
    [
      { optimizer: '{ kind: sgd, beta1: 0.9 }' },
      'unknown key "beta1" in optimizer',
      '5:25',
      'valid keys: kind, learningRate, momentum, nesterov, weightDecay, decay',
    ],
    [
      { optimizer: '{ kind: rmsprop, momentun: 0.9 }' },
      'unknown key "momentun" in optimizer',
      '5:29',
      'did you mean "momentum"?',
    ],
    [{ optimizer: '{ kind: lion, beta2: 2 }' }, 'optimizer.beta2: expected number < 1, got 2', '5:33'],
    [
      { schedule: '{ kind: cosine, gamma: 0.1 }' },
      'unknown key "gamma" in schedule',
      '5:27',
      'valid keys: kind, period, multiplier, min, warmup',
    ],
    [
      { schedule: '{ kind: oneCycle, anneal: sine }' },
      'schedule.anneal: expected one of "cos", "linear", got "sine"',
      '5:37',
    ],
    [{ earlyStopping: '{ patience: 0 }' }, 'earlyStopping.patience: expected integer >= 1, got 0', '5:28'],
    [
      { model: '{ layers: [{ kind: dense, units: 1, act: tanh }] }' },
      'unknown key "act" in model.layers.0',
      '3:44',
      'valid keys: kind, units, activation, bias, initializer',
    ],
    [
      {
        model:
          '{ layers: [{ kind: dense, units: 1 }, { kind: residual, layers: [{ kind: layerNorm }, { kind: dense, units: 0 }] }] }',
      },
      'model.layers.1.layers.1.units: expected integer >= 1, got 0',
      '3:116',
    ],
    [
      { model: '{ layers: [{ kind: residual, layers: [{ kind: attention }] }] }' },
      'model.layers.0.layers.0.heads: missing, expected integer >= 1',
      '3:46',
    ],
    [
      { model: '{ layers: [{ kind: conv2d, filters: 4, kernelSize: [3, 0] }] }' },
      'model.layers.0.kernelSize.1: expected integer >= 1, got 0',
      '3:63',
    ],
    [
      { model: '{ layers: [{ kind: maxPool2d, size: 2, strides: 2 }] }' },
      'unknown key "strides" in model.layers.0',
      '3:47',
      'did you mean "stride"?',
    ],
    [{ tracking: '{ wandb: {} }' }, 'tracking.wandb.project: missing, expected non-empty string', '5:20'],
  ])('a field with a wrong value has its own message: %j', async (fields, message, place, help?: string) => {
    const lines = [`error[E_CONFIG_INVALID]: ${message}`, `  --> house.yaml:${place}`];
    if (help !== undefined) lines.push(`  help: ${help}`);
    await expect(errorText(loadText(withFields(fields as Record<string, string>)))).resolves.toBe(
      lines.join('\n'),
    );
  });

  it('a missing field is reported at the start of the file', async () => {
    await expect(errorText(loadText(withFields({}).replace('loss: mse\n', '')))).resolves.toBe(
      'error[E_CONFIG_INVALID]: loss: missing, expected one of "mse", "mae", "huber", "binaryCrossEntropy", "crossEntropy" or mapping with kind\n  --> house.yaml:1:1',
    );
  });
});

describe('a config', () => {
  it.each([
    ['# nothing\n', 'got nothing (null)', '1:1'],
    ['just words', 'got "just words" (string)', '1:1'],
    ['- 1\n- 2', 'got a list of 2', '1:1'],
  ])('a config that is not a mapping is refused: %j', async (text, got, place) => {
    await expect(errorText(loadText(text))).resolves.toBe(
      `error[E_CONFIG_INVALID]: config: expected mapping with name, data, model, loss, ${got}\n  --> house.yaml:${place}`,
    );
  });

  it('a refused config shows its first ten problems in order of place, and counts the others', async () => {
    const unknown = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`unknown${i}`, '1']));
    const text = withFields({ name: '3', epochs: '-1', ...unknown });
    const training =
      'optimizer, schedule, clip, ema, earlyStopping, batchSize, shards, numerics, wire, audit, epochs, checkpoint, plots';
    const keys = `name, data, model, loss, classWeights, metrics, ${training}, tracking`;
    const valid = `valid keys: ${keys.replace('name, ', 'name, seed, ')}`;
    await expect(errorText(loadText(text))).resolves.toBe(
      [
        'error[E_CONFIG_INVALID]: 12 problems in house.yaml',
        '    house.yaml:1:7: name: expected string, got 3 (number) (quote it: "3")',
        '    house.yaml:5:9: epochs: expected integer >= 1, got -1',
        ...Array.from(
          { length: 8 },
          (_, i) => `    house.yaml:${6 + i}:1: unknown key "unknown${i}" (${valid})`,
        ),
        '    and 2 more',
      ].join('\n'),
    );
  });
});

describe('suggest', () => {
  it.each([
    ['batch_size', 'batchSize'],
    ['BATCHSIZE', 'batchSize'],
    ['epcohs', 'epochs'],
    ['lr', undefined],
    ['x', undefined],
    ['', undefined],
  ])('suggest maps %j to %j', (word, expected) => {
    expect(suggest(word, ['epochs', 'batchSize', 'a', 'bb'])).toBe(expected);
  });
});
