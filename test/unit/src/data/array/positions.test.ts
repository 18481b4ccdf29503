// Samples with targets at each of their positions: how they are told from samples with several targets, and
// what becomes of them.
import { describe, expect, it } from 'vitest';
import type { TrainData } from '../../../../../api/train.ts';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { sampleWeightView, targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import { dump } from 'npyjs';
import path from 'node:path';
import { configOf, directoryOf, errorOf, load, loadSamples, NO_SPLIT } from '../fixtures.ts';

type Rest = Partial<ConfigInput>;

const perPosition = (units: number): ConfigInput['model'] => ({ layers: [{ kind: 'dense', units }] });
const CLASSES: Rest = { loss: 'crossEntropy', model: perPosition(3) };
const VALUES: Rest = { loss: 'mse', model: perPosition(1) };

/** Four sequences of three positions with two features each. */
const FEATURES = { features: Float32Array.from({ length: 24 }, (_, at) => at), shape: [4, 3, 2] };
const LABELS = [0, 1, 2, 1, 1, -100, 2, -100, -100, 0, 0, 1];

describe('targets at positions', () => {
  it('labels at positions are classes of their own, and ignored ones weigh nothing', async () => {
    const train = { ...FEATURES, targets: LABELS };
    const loaded = await loadSamples({ train, ignoreIndex: -100, ...NO_SPLIT }, CLASSES);
    const { dataset, classNames, targetNames, transforms } = loaded;
    expect(dataset.layout).toMatchObject({ targetKind: 'labels', targetWidth: 3, numClasses: 3 });
    expect([...targetView(dataset)]).toEqual([0, 1, 2, 1, 1, 0, 2, 0, 0, 0, 0, 1]);
    const weights = [1, 1, 1, 1, 1, 0, 1, 0, 0, 1, 1, 1];
    expect([...(sampleWeightView(dataset) ?? [])]).toEqual(weights);
    expect([...(loaded.sampleWeights ?? [])]).toEqual(weights);
    expect([classNames, targetNames]).toEqual([['0', '1', '2'], ['target']]);
    expect(transforms.target).toMatchObject({ kind: 'labels', column: 'target', positions: 3 });
    expect(loaded.warnings).toEqual([]);
  });

  it('weights of samples and balanced weights of classes are multiplied at each position', async () => {
    const train = { ...FEATURES, targets: LABELS, weights: [1, 2, 3, 4] };
    const data = { train, ignoreIndex: -100, ...NO_SPLIT };
    const { classWeights, dataset } = await loadSamples(data, { ...CLASSES, classWeights: 'balanced' });
    // Of 9 labels that count, 3, 4 and 2 are of the three classes.
    expect(classWeights).toEqual([1, 3 / 4, 3 / 2]);
    expect([...(sampleWeightView(dataset) ?? [])]).toEqual([
      ...[1, 0.75, 1.5],
      ...[1.5, 1.5, 0],
      ...[4.5, 0, 0],
      ...[4, 4, 3],
    ]);
  });

  it('numbers at positions are transformed together', async () => {
    const targets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    const train = { ...FEATURES, targets };
    const data: TrainData = { train, target: 'level', targetTransform: ['standardize'], ...NO_SPLIT };
    const { dataset, targetValues, transforms } = await loadSamples(data, VALUES);
    const scale = Math.sqrt(143 / 12);
    expect(transforms.target).toEqual({
      kind: 'values',
      columns: [{ column: 'level', steps: [{ kind: 'standardize', mean: 6.5, scale }] }],
      positions: 3,
    });
    expect(dataset.layout).toMatchObject({ targetKind: 'values', targetWidth: 3, numClasses: 0 });
    expect([...targetView(dataset)]).toEqual(targets.map((value) => Math.fround((value - 6.5) / scale)));
    expect(targetValues.map((values) => [...values])).toEqual([targets]);
  });

  it('several numbers at each position have names, and keep their places', async () => {
    const targets = Float64Array.from({ length: 24 }, (_, at) => at);
    const data = { train: { ...FEATURES, targets }, target: ['even', 'odd'], ...NO_SPLIT };
    const { dataset, targetValues, transforms } = await loadSamples(data, {
      ...VALUES,
      model: perPosition(2),
    });
    expect(transforms.target).toMatchObject({ positions: 3 });
    expect([...targetView(dataset)]).toEqual([...targets]);
    expect(targetValues[1]).toEqual(targets.filter((value) => value % 2 === 1));
  });

  it('as many names as values are several targets of a sample, without positions', async () => {
    const targets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    const { targetNames, transforms } = await loadSamples(
      { train: { ...FEATURES, targets }, ...NO_SPLIT },
      { loss: 'mse', model: { layers: [{ kind: 'flatten' }, { kind: 'dense', units: 3 }] } },
    );
    expect(targetNames).toEqual(['target1', 'target2', 'target3']);
    expect(transforms.target).not.toHaveProperty('positions');
  });

  it('labels need not be as many as the positions of the samples: several of an image', async () => {
    const train = {
      features: new Uint8Array(4 * 12),
      shape: [4, 1, 3, 4],
      targets: [0, 1, 2, 0, 1, 1, 0, 2],
    };
    const layers: ConfigInput['model']['layers'] = [
      { kind: 'dense', units: 6 },
      { kind: 'reshape', shape: [2, 3] },
    ];
    const { dataset } = await loadSamples({ train, ...NO_SPLIT }, { ...CLASSES, model: { layers } });
    expect(dataset.layout).toMatchObject({ targetWidth: 2, numClasses: 3 });
  });

  it('every split has the positions of its own samples', async () => {
    const targets = [0, 1, 2, 2, 1, 0, 0, 0, 1, 1, 2, 2];
    const data = { train: { ...FEATURES, targets }, split: { validation: 0.25, test: 0 }, shuffle: false };
    expect((await loadSamples(data, CLASSES)).warnings).toEqual([]);
    const only = [0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 2, 2];
    const found = await loadSamples({ ...data, train: { ...FEATURES, targets: only } }, CLASSES);
    expect(found.warnings).toEqual(['class 2 appears in validation, never in train']);
  });

  it('arrays in files have the positions that their shapes say', async () => {
    const save = (values: Float32Array | Int32Array, shape: number[]) => new Uint8Array(dump(values, shape));
    const labels = Int32Array.from(LABELS, (label) => Math.max(label, 0));
    const directory = await directoryOf({
      'x.npy': save(FEATURES.features, [4, 3, 2]),
      'y.npy': save(labels, [4, 3]),
      'one.npy': save(labels, [4, 3, 1]),
      'many.npy': save(
        Int32Array.from({ length: 36 }, (_, at) => Number(at % 3 === 0)),
        [4, 3, 3],
      ),
    });
    const file = (name: string): string => path.join(directory, name);
    const loadFrom = (targets: string, rest = CLASSES) =>
      load(configOf({ train: { features: file('x.npy'), targets: file(targets) }, ...NO_SPLIT }, rest));
    const { dataset } = await loadFrom('y.npy');
    expect(dataset.layout).toMatchObject({ targetWidth: 3, numClasses: 3 });
    expect((await loadFrom('one.npy')).dataset.sha256).toBe(dataset.sha256);
    expect(await errorOf(loadFrom('many.npy'))).toBe(
      'error[E_DATA_ARRAYS]: data.train.targets has 3 values at each of 3 positions, data.target has 1 name\n' +
        '  help: give class indices, such as numpy.argmax(y, axis=-1)',
    );
  });
});

describe('targets at positions that are refused', () => {
  it.each<[string, object, Rest, string]>([
    [
      'a label that is no class, by sample and position',
      { train: { ...FEATURES, targets: LABELS } },
      CLASSES,
      'error[E_DATA_LABEL]: label -100; valid 0..65535 (at most 65,536 classes)\n' +
        '  --> data.train, row 1, position 2\n' +
        '  help: number the classes from 0, or give them names; one that is not to count is data.ignoreIndex: -100',
    ],
    [
      'another number of positions in a set of its own',
      {
        train: { ...FEATURES, targets: LABELS.map(Math.abs) },
        test: { ...FEATURES, targets: LABELS.slice(0, 8) },
        split: { validation: 0 },
      },
      CLASSES,
      'error[E_DATA_ARRAYS]: data.test.targets has 2 values a sample, data.train.targets has 3',
    ],
    [
      'numbers that are not as many as positions, under one name',
      { train: { ...FEATURES, targets: LABELS.slice(0, 8) }, target: 'y' },
      VALUES,
      'error[E_DATA_ARRAYS]: data.train.targets has 2 values a sample, data.target has 1 name\n' +
        '  help: name each; or, where they are those of positions, give samples of [positions, features]',
    ],
    [
      'a split by shares of classes',
      { train: { ...FEATURES, targets: LABELS }, ignoreIndex: -100, split: { stratify: true } },
      CLASSES,
      'error[E_CONFIG_SPLIT]: data.split.stratify takes one label a sample, the data has one at each position\n' +
        '  help: remove it',
    ],
    [
      'weights of two classes where a sample has one weight',
      { train: { ...FEATURES, targets: LABELS.map((label) => label & 1) }, target: 'y' },
      { ...VALUES, loss: 'binaryCrossEntropy', classWeights: 'balanced' },
      'error[E_CONFIG_CLASS_WEIGHTS]: classWeights weigh labels at positions with crossEntropy only\n' +
        '  help: remove it, or set loss: crossEntropy',
    ],
  ])('targets at positions are refused: %s', async (_, data, rest, message) => {
    expect(await errorOf(loadSamples({ ...NO_SPLIT, ...data }, rest))).toBe(message);
  });
});
