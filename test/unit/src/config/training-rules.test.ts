// Rules between the fields of training, on configs whose fields are each valid.
import { describe, expect, it } from 'vitest';
import { errorText, loadText } from '../../../helpers/config-directory.ts';

const HEAD = 'name: t\nmodel: { layers: [{ kind: dense, units: 1 }] }\nloss: mse\n';
const DATA = 'data: { file: a.csv, target: y }\n';
const NO_VALIDATION = 'data: { file: a.csv, target: y, split: { validation: 0 } }\n';

/** A config in which line 4 is data and line 5 the field under test. */
function configText(lines: string, data = DATA): string {
  return `${HEAD}${data}${lines}\n`;
}

describe('a config that is refused', () => {
  it.each<[string, string, string, string, string?]>([
    [
      'optimizer: { kind: sgd, nesterov: true }',
      'optimizer.nesterov: needs a momentum above 0',
      '5:35',
      'set optimizer.momentum, such as 0.9',
    ],
    [
      'schedule: { kind: step }',
      'schedule: kind "step" takes either every or milestones',
      '5:11',
      'give one of them',
    ],
    [
      'schedule: { kind: step, every: 3, milestones: [4] }',
      'schedule: kind "step" takes either every or milestones',
      '5:11',
      'give one of them',
    ],
    [
      'tracking: { mlflow: { uri: "http://me:secret@127.0.0.1:5000" } }',
      'tracking.mlflow.uri: has a name or password, which a config shows to others',
      '5:28',
      'set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD',
    ],
    [
      'schedule: { kind: cosine, multiplier: 2 }',
      'schedule.multiplier: needs periods that it can lengthen',
      '5:39',
      'set schedule.period, the epochs of the first one',
    ],
    [
      'schedule: { kind: polynomial, min: 0.1 }',
      'schedule.min: 0.1 is above optimizer.learningRate, 0.001',
      '5:36',
      'it is where the learning rate comes down to',
    ],
    [
      'schedule: { warmup: { from: 0.1 } }',
      'schedule.warmup: takes either steps or epochs',
      '5:21',
      'give one of them',
    ],
    [
      'schedule: { warmup: { steps: 10, epochs: 1 } }',
      'schedule.warmup: takes either steps or epochs',
      '5:21',
      'give one of them',
    ],
    ['wire: { groups: 4 }', 'wire.groups: only goes with wire.gradients: bf16', '5:17', 'remove it'],
    [
      'wire: { gradients: bf16, groups: 16 }',
      'wire.groups: must be a power of two, and at most the 8 shards',
      '5:34',
      'use 8, or another of 1, 2, 4, 8 and so on',
    ],
    [
      'wire: { gradients: bf16, groups: 3 }',
      'wire.groups: must be a power of two, and at most the 8 shards',
      '5:34',
      'use 8, or another of 1, 2, 4, 8 and so on',
    ],
    [
      'schedule: { kind: plateau }',
      'schedule: kind "plateau" needs the validation loss, but there are no validation rows',
      '5:11',
      'give data.validation, or data.split.validation above 0',
      NO_VALIDATION,
    ],
    [
      'earlyStopping: { patience: 3 }',
      'earlyStopping: needs a validation metric, but there are no validation rows',
      '5:16',
      'give data.validation, or data.split.validation above 0',
      NO_VALIDATION,
    ],
  ])('a broken rule of training has its own message: %s', async (lines, message, place, help, data) => {
    await expect(errorText(loadText(configText(lines, data)))).resolves.toBe(
      `error[E_CONFIG_INVALID]: ${message}\n  --> house.yaml:${place}\n  help: ${help}`,
    );
  });
});

describe('a config that is accepted', () => {
  it.each([
    ['momentum of Nesterov', 'optimizer: { kind: sgd, nesterov: true, momentum: 0.9 }'],
    ['an optimizer without a kind, which is Adam', 'optimizer: { beta1: 0.8 }'],
    ['a schedule without a kind, which is constant', 'schedule: { warmup: { steps: 5 } }'],
    ['both limits of the gradient', 'clip: { norm: 1, value: 0.5 }'],
    [
      'a plateau and early stopping on the validation split',
      'schedule: { kind: plateau }\nearlyStopping: {}',
    ],
  ])('a config may have %s', async (_, lines) => {
    await expect(loadText(configText(lines))).resolves.toHaveProperty('config.name', 't');
  });
});
