// The files of a trained model: any file that differs from what a training wrote is refused, with the reason.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readModel } from '../../../../src/predict/load-model.ts';
import { errorText, saveRun, type SavedRun } from '../../../helpers/saved-run.ts';

function saveSmall(): Promise<SavedRun> {
  return saveRun(
    { 'table.csv': `x,y\n${[1, 2, 3, 4].map((x) => `${x},${x * x}\n`).join('')}` },
    {
      data: { file: 'table.csv', target: 'y', split: { validation: 0, test: 0 } },
      model: { layers: [{ kind: 'dense', units: 1 }] },
      loss: 'mse',
      batchSize: 2,
      shards: 2,
    },
  );
}

/** Applies a change to the description in `config.json`. */
function describeAs(run: SavedRun, change: (description: Record<string, unknown>) => void): void {
  const file = path.join(run.directory, 'model/config.json');
  const description = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
  change(description);
  fs.writeFileSync(file, JSON.stringify(description));
}

const NO_MODEL_HELP = '\n  help: name the directory of a run that has finished an epoch, such as runs/latest';

describe('a saved model', () => {
  it('a saved model is read from the directory of its run and from its own', async () => {
    const run = await saveSmall();
    const own = path.join(run.directory, 'model');
    const saved = await readModel(run.directory);
    expect(saved.directory).toBe(own);
    expect(await readModel(own)).toMatchObject({ weights: saved.weights, description: saved.description });
    const { data, config, model } = run.prepared;
    expect(saved.description).toMatchObject({
      name: 'saved',
      layers: config.model.layers,
      loss: config.loss,
      numerics: 'strict',
      inputShape: model.inputShape,
      transforms: data.transforms,
      table: { decimal: '.', header: true, missing: 'error' },
    });
  });

  it('a saved model may have fields that a later version added', async () => {
    const run = await saveSmall();
    describeAs(run, (description) => (description['novelty'] = 1));
    await expect(readModel(run.directory)).resolves.toBeDefined();
  });

  it('a model that is missing in runs/latest is reported without that path as an example', async () => {
    const { cwd } = await saveSmall();
    expect(await errorText(cwd, () => readModel(path.join(cwd, 'runs/latest')))).toBe(
      'error[E_MODEL_NOT_FOUND]: no trained model at runs/latest: no such directory\n' +
        '  help: name the directory of a run that has finished an epoch',
    );
  });

  it.each<[string, (run: SavedRun) => void, string]>([
    [
      'whose directory is not there',
      ({ directory }) => fs.rmSync(directory, { recursive: true }),
      `error[E_MODEL_NOT_FOUND]: no trained model at run: no such directory${NO_MODEL_HELP}`,
    ],
    [
      'that no training has written yet',
      ({ directory }) => fs.rmSync(path.join(directory, 'model'), { recursive: true }),
      `error[E_MODEL_NOT_FOUND]: no trained model at run: no model/config.json in it${NO_MODEL_HELP}`,
    ],
    [
      'without weights',
      ({ directory }) => fs.rmSync(path.join(directory, 'model/model.safetensors')),
      'error[E_MODEL_NOT_FOUND]: cannot read run/model/model.safetensors: no such file',
    ],
    [
      'whose description is of something else',
      ({ directory }) => fs.writeFileSync(path.join(directory, 'model/config.json'), '{"architectures":[]}'),
      'error[E_MODEL_INVALID]: run/model/config.json describes no trained model: lockstep: ' +
        'Invalid input: expected string, received undefined\n  help: it was not written by Lockstep',
    ],
    [
      'whose description is cut',
      ({ directory }) => fs.truncateSync(path.join(directory, 'model/config.json'), 10),
      'error[E_MODEL_INVALID]: run/model/config.json is not JSON',
    ],
    [
      'of a version with other losses',
      (run) =>
        describeAs(run, (description) => {
          description['lockstep'] = '9.0.0';
          description['numerics'] = 'exact';
        }),
      'error[E_MODEL_INVALID]: run/model/config.json describes no trained model: numerics: ' +
        'Invalid option: expected one of "strict"|"fused"\n' +
        '  help: it was written by Lockstep "9.0.0", this is 0.1.0',
    ],
    [
      'whose layers are not those of its weights',
      (run) => describeAs(run, (description) => (description['layers'] = [{ kind: 'dense', units: 2 }])),
      'error[E_MODEL_INVALID]: run/model/config.json: the layers give 2 outputs, the targets need 1',
    ],
    [
      'with a layer that its weights lack',
      (run) =>
        describeAs(run, (description) => {
          description['layers'] = [
            { kind: 'dense', units: 1 },
            { kind: 'dense', units: 1 },
          ];
        }),
      'error[E_MODEL_WEIGHTS]: run/model/model.safetensors: "1.weight" is not there; the model needs 1x1',
    ],
    [
      'whose input is not what its transforms give',
      (run) => describeAs(run, (description) => (description['inputShape'] = [3])),
      'error[E_MODEL_INVALID]: run/model/config.json: the transforms give 1 features, inputShape is 3',
    ],
    [
      'with another hash than its weights',
      (run) => describeAs(run, (description) => (description['weightsSha256'] = '0'.repeat(64))),
      'error[E_MODEL_WEIGHTS]: run/model/model.safetensors: the weights have SHA-256 ',
    ],
    [
      'with one bit of its weights changed',
      ({ directory }) => {
        const file = path.join(directory, 'model/model.safetensors');
        const bytes = fs.readFileSync(file);
        bytes[bytes.length - 3] = (bytes[bytes.length - 3] as number) ^ 1;
        fs.writeFileSync(file, bytes);
      },
      'error[E_MODEL_WEIGHTS]: run/model/model.safetensors: the weights have SHA-256 ',
    ],
  ])('a saved model %s is refused', async (_, spoil, message) => {
    const run = await saveSmall();
    spoil(run);
    expect(await errorText(run.cwd, () => readModel(run.directory))).toContain(message);
  });
});
