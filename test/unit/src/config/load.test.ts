// Loading a config: defaults, precedence, paths, locations, and files that cannot be read at all.
import { chmod, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configJsonSchema } from '../../../../src/config/expectation.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { LockstepError } from '../../../../src/errors.ts';
import { configDirectory, errorText, loadText } from '../../../helpers/config-directory.ts';

const HOUSE = `name: house
seed: 7
data: { file: house.csv, target: price, targetTransform: [log, standardize] }
model:
  init: start.safetensors
  layers:
    - { kind: dense, units: 8, activation: relu }
    - kind: dense
      units: 1
loss: mse
`;

const DIGITS = {
  name: 'digits',
  data: {
    train: { images: 'train-images', labels: 'train-labels' },
    test: { images: '/abs/test-images', labels: '../test-labels' },
  },
  model: { layers: [{ kind: 'dense', units: 10 }] },
  loss: 'crossEntropy',
};

describe('a loaded config', () => {
  it('a loaded config has every default, and paths resolved against the config file rather than the working directory', async () => {
    const cwd = await configDirectory({ 'other.yaml': '' });
    const directory = await configDirectory({ 'house.yaml': HOUSE });
    const loaded = await loadConfig({ path: join(directory, 'house.yaml'), env: {}, cwd });
    expect(loaded.baseDirectory).toBe(directory);
    expect(loaded.path).toBe(join(directory, 'house.yaml'));
    expect(loaded.config).toEqual({
      name: 'house',
      seed: 7,
      data: {
        file: join(directory, 'house.csv'),
        target: 'price',
        targetTransform: ['log', 'standardize'],
        drop: [],
        categorical: [],
        columns: {},
        missing: 'error',
        standardize: true,
        stream: false,
        decimal: '.',
        header: true,
        split: { validation: 0.1 },
        shuffle: true,
      },
      model: {
        init: join(directory, 'start.safetensors'),
        layers: [
          { kind: 'dense', units: 8, activation: 'relu', bias: true },
          { kind: 'dense', units: 1, activation: 'linear', bias: true },
        ],
      },
      loss: { kind: 'mse' },
      metrics: {},
      optimizer: {
        kind: 'adam',
        learningRate: 0.001,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0,
        decay: 'weights',
      },
      schedule: { kind: 'constant' },
      clip: {},
      batchSize: 256,
      shards: 8,
      numerics: 'strict',
      wire: { gradients: 'f32' },
      audit: { share: 0, onLie: 'rollback' },
      epochs: 10,
      checkpoint: { everyEpochs: 1, everySeconds: 300, keep: 3 },
      plots: true,
      tracking: { csv: false, tensorboard: false },
    });
  });

  it('a config may be JSON that names its schema, and has the paths of images resolved', async () => {
    const text = JSON.stringify({ $schema: './lockstep.schema.json', ...DIGITS }, null, '\t');
    const { config, baseDirectory } = await loadText(text, {}, 'digits.json');
    expect(config.data.train).toEqual({
      images: join(baseDirectory, 'train-images'),
      labels: join(baseDirectory, 'train-labels'),
    });
    expect(config.data.test).toEqual({
      images: '/abs/test-images',
      labels: join(baseDirectory, '../test-labels'),
    });
    expect('$schema' in config).toBe(false);
  });

  it('a config may start with a byte order mark and hold aliases', async () => {
    const text = `\uFEFF${HOUSE}`
      .replace('- { kind', '- &hidden { kind')
      .replace('- kind', '- *hidden\n    - kind');
    const { config } = await loadText(text);
    expect(config.model.layers).toMatchObject([{ units: 8 }, { units: 8 }, { units: 1 }]);
  });

  it('flags take precedence over the environment, the environment over the file, and the file over defaults', async () => {
    const env = { LOCKSTEP_SEED: '11', LOCKSTEP_EPOCHS: '12', LOCKSTEP_BATCH_SIZE: '', LOCKSTEP_OTHER: 'x' };
    const { config } = await loadText(`${HOUSE}epochs: 2\n`, {
      env,
      overrides: ['seed=13', 'shards=2', 'shards=4'],
    });
    expect(config).toMatchObject({ seed: 13, epochs: 12, batchSize: 256, shards: 4 });
  });

  it('a loaded config locates each value: at a value, the key of a block, the nearest parent, a flag or a variable', async () => {
    const env = { LOCKSTEP_EPOCHS: '12' };
    const { locate } = await loadText(HOUSE, { env, overrides: ['data.split={test: 0.2}'] });
    const file = 'house.yaml';
    expect(locate(['seed'])).toEqual({ file, line: 2, column: 7 });
    expect(locate(['data', 'target'])).toEqual({ file, line: 3, column: 34 });
    expect(locate(['model', 'layers'])).toEqual({ file, line: 6, column: 3 });
    expect(locate(['model', 'layers', 1, 'units'])).toEqual({ file, line: 9, column: 14 });
    expect(locate(['model', 'layers', 0, 'bias'])).toEqual({ file, line: 7, column: 7 });
    expect(locate(['data', 'split', 'test'])).toEqual({ file: '--set data.split={test: 0.2}' });
    expect(locate(['epochs'])).toEqual({ file: 'LOCKSTEP_EPOCHS=12' });
    expect(locate(['optimizer'])).toEqual({ file, line: 1, column: 1 });
  });

  it('the JSON Schema of a config requires the fields without a default', () => {
    const schema = configJsonSchema();
    expect(schema.required).toEqual(['name', 'data', 'model', 'loss']);
    expect(Object.keys(schema.properties ?? {})).toContain('$schema');
    expect(schema.additionalProperties).toBe(false);
  });
});

describe('a config file that cannot be read', () => {
  it('the refusal of a missing file names the working directory and a similar file', async () => {
    const cwd = await configDirectory({ 'house.yaml': HOUSE, 'house.csv': 'a\n' });
    await expect(errorText(loadConfig({ path: 'hause.yaml', cwd }))).resolves.toBe(
      `error[E_CONFIG_NOT_FOUND]: cannot read hause.yaml: no such file (cwd ${cwd})\n  help: did you mean house.yaml?`,
    );
    await expect(errorText(loadConfig({ path: './house.json', cwd }))).resolves.toBe(
      `error[E_CONFIG_NOT_FOUND]: cannot read ./house.json: no such file (cwd ${cwd})\n  help: did you mean house.yaml?`,
    );
    await expect(errorText(loadConfig({ path: 'no/such.yaml', cwd }))).resolves.toBe(
      `error[E_CONFIG_NOT_FOUND]: cannot read no/such.yaml: no such file (cwd ${cwd})\n  help: check the path`,
    );
  });

  it('a directory or another kind of file is refused as a config', async () => {
    const cwd = await configDirectory({ 'house.csv': 'a,b\n' });
    await mkdir(join(cwd, 'runs.yaml'));
    await expect(errorText(loadConfig({ path: 'runs.yaml', cwd }))).resolves.toBe(
      'error[E_CONFIG_UNREADABLE]: cannot read runs.yaml: it is a directory\n  help: name the config file inside it',
    );
    await expect(errorText(loadConfig({ path: 'house.csv', cwd }))).resolves.toBe(
      'error[E_CONFIG_UNREADABLE]: house.csv is not a config file\n  help: its name must end in .yaml, .yml, .json',
    );
  });

  it.skipIf(process.getuid?.() === 0)(
    'the refusal of a forbidden file names its owner and mode',
    async () => {
      const cwd = await configDirectory({ 'house.yaml': HOUSE });
      await chmod(join(cwd, 'house.yaml'), 0o000);
      await expect(errorText(loadConfig({ path: 'house.yaml', cwd }))).resolves.toBe(
        `error[E_CONFIG_UNREADABLE]: cannot read house.yaml: permission denied (owner uid ${process.getuid?.()}, mode 0000)`,
      );
    },
  );

  const latin1 = Buffer.from('name: h\u00e4user\n', 'latin1');
  it.each([
    [
      'is empty',
      '',
      'house.yaml is empty (0 bytes)\n  help: a config needs at least name, data, model and loss',
    ],
    [
      'is too large',
      `#${' '.repeat(1024 * 1024)}`,
      'house.yaml has 1048577 bytes; a config may have 1048576',
    ],
    [
      'is UTF-16 with its mark',
      Buffer.from('\uFEFFname: x', 'utf16le'),
      'house.yaml starts with bytes FF FE: UTF-16, expected UTF-8\n  help: iconv -f utf-16 -t utf-8 house.yaml',
    ],
    [
      'holds a NUL',
      'name: \0',
      'house.yaml has a NUL byte at offset 6, expected UTF-8 text\n  help: iconv -f utf-16 -t utf-8 house.yaml',
    ],
    ['is Latin-1', latin1, 'house.yaml has byte E4 at offset 7: not UTF-8\n  help: save the file as UTF-8'],
  ])('a config file is refused if it %s', async (_, content, expected) => {
    await expect(errorText(loadText(content))).resolves.toBe(`error[E_CONFIG_UNREADABLE]: ${expected}`);
  });

  it('a config file that is a link to itself is refused with an error of our own', async () => {
    const cwd = await configDirectory({});
    await symlink('loop.yaml', join(cwd, 'loop.yaml'));
    await expect(errorText(loadConfig({ path: 'loop.yaml', cwd }))).resolves.toBe(
      'error[E_CONFIG_UNREADABLE]: cannot read loop.yaml: a link leads back to itself',
    );
  });

  it('a config file that cannot be read is an error of usage', async () => {
    const error = await loadText('').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(LockstepError);
    expect(error).toMatchObject({ category: 'usage', exitCode: 2 });
  });
});
