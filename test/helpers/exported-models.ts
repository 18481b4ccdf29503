// Trained models of several kinds, which tests export and compare with Lockstep's own predictions.
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { train, type TrainConfig } from '../../api/train.ts';
import type { Samples } from '../../src/data/array/arrays.ts';
import type { TrainedModel } from '../../src/predict/trained-model.ts';
import { ROOT, runCli } from './cli.ts';

export const NUM_SAMPLES = 64;

const PAGE = fs.readFileSync(path.join(ROOT, 'docs/using-a-model.md'), 'utf8');

/** A training that takes a moment, and the type of its input as ONNX. */
export interface Example {
  readonly config: TrainConfig;
  readonly type: 'uint8' | 'float32' | 'int64';
}

const targets = Array.from({ length: NUM_SAMPLES }, (_, row) => (row * row) % 3);
/** A class at each position, or padding. */
const tags = Array.from({ length: NUM_SAMPLES * 6 }, (_, at) => (at % 11 === 0 ? -100 : (at * at) % 3));
const common = { loss: 'crossEntropy', batchSize: 16, shards: 2, epochs: 2, plots: false } as const;

const ids = Float32Array.from({ length: NUM_SAMPLES * 8 }, (_, at) => (at * 7 + (at >> 3)) % 20);
const waves = Float32Array.from({ length: NUM_SAMPLES * 18 }, (_, at) => Math.sin(at * (1 + (at % 5))));
const pixels = Uint8Array.from({ length: NUM_SAMPLES * 128 }, (_, at) => (at * 31 + (at >> 5)) % 256);

/** Models of samples in memory. */
export const EXAMPLES: Record<string, Example> = {
  convolutional: {
    type: 'uint8',
    config: {
      name: 'convolutional',
      ...common,
      data: { train: { features: pixels, shape: [NUM_SAMPLES, 2, 8, 8], targets }, classes: 3 },
      model: {
        layers: [
          { kind: 'conv2d', filters: 4, kernelSize: 4, stride: 3, padding: 'same', bias: false },
          { kind: 'batchNorm' },
          { kind: 'activation', function: 'silu' },
          {
            kind: 'residual',
            layers: [{ kind: 'conv2d', filters: 6, kernelSize: 3, padding: 1, activation: 'relu' }],
            shortcut: [{ kind: 'conv2d', filters: 6, kernelSize: 1 }],
          },
          { kind: 'avgPool2d', size: 2, stride: 1 },
          { kind: 'maxPool2d', size: 2, padding: 1 },
          { kind: 'dense', units: 8, activation: 'leakyRelu' },
          { kind: 'dense', units: 3 },
        ],
      },
    },
  },
  recurrent: {
    type: 'float32',
    config: {
      name: 'recurrent',
      ...common,
      data: { train: { features: waves, shape: [NUM_SAMPLES, 6, 3], targets }, classes: 3 },
      model: {
        layers: [
          { kind: 'lstm', units: 6, returnSequences: true },
          { kind: 'dropout', rate: 0.2 },
          { kind: 'gru', units: 5 },
          { kind: 'dense', units: 3 },
        ],
      },
    },
  },
  tagger: {
    type: 'float32',
    config: {
      name: 'tagger',
      ...common,
      data: {
        train: { features: waves, shape: [NUM_SAMPLES, 6, 3], targets: tags },
        classes: 3,
        ignoreIndex: -100,
      },
      model: {
        layers: [
          { kind: 'gru', units: 6, returnSequences: true },
          { kind: 'dense', units: 3 },
        ],
      },
    },
  },
  transformer: {
    type: 'int64',
    config: {
      name: 'transformer',
      ...common,
      data: {
        train: { features: ids, shape: [NUM_SAMPLES, 8], targets },
        classes: 3,
        standardize: false,
      },
      model: {
        layers: [
          { kind: 'embedding', vocabulary: 20, units: 12 },
          { kind: 'positionalEmbedding' },
          {
            kind: 'residual',
            layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 3, causal: true }],
          },
          {
            kind: 'residual',
            layers: [
              { kind: 'layerNorm' },
              { kind: 'dense', units: 24, activation: 'geluTanh' },
              { kind: 'dense', units: 12 },
            ],
          },
          { kind: 'flatten' },
          { kind: 'dense', units: 3 },
        ],
      },
    },
  },
};

/** The table of docs/api.md, with more kinds of columns, of which some cells are missing. */
function areas(): string {
  const lines = Array.from({ length: 200 }, (_, i) => {
    const [width, height, shape] = [i % 20, i % 7, i % 3 ? 'box' : 'roof'];
    const area = 1 + (shape === 'box' ? width * height : (width * height) / 2);
    return [width, height, shape, area].join();
  });
  return `width,height,shape,area\n${lines.join('\n')}\n`;
}

/** A table with a column of every kind. */
function lots(): string {
  const lines = Array.from({ length: 90 }, (_, i) => {
    const isMissing = i % 6 === 5;
    const grade = ['low', 'mid', 'high'][i % 3] as string;
    const day = `${String(1 + (i % 28)).padStart(2, '0')}.0${1 + (i % 9)}.${1950 + i}`;
    const time = `2024-03-0${1 + (i % 9)}T${String(i % 24).padStart(2, '0')}:30:00+02:00`;
    const cells = [
      1e4 + 7.5 * i,
      i % 4 ? 'yes' : 'No',
      grade,
      `street ${i % 11}`,
      day,
      time,
      `town ${i % 40}`,
    ];
    return [...cells.map((cell) => (isMissing ? 'NA' : cell)), i % 2, 100 + ((i * 13) % 37)].join();
  });
  return `size,pool,grade,street,built,sold,town,side,price\n${lines.join('\n')}\n`;
}

/** Models of tables, whose files have their names. */
export const TABLES: Record<string, TrainConfig> = {
  areas: {
    name: 'areas',
    ...common,
    loss: 'mse',
    data: { file: 'areas.csv', target: 'area', targetTransform: ['log', 'standardize'] },
    model: {
      layers: [
        { kind: 'dense', units: 8, activation: 'gelu' },
        { kind: 'dense', units: 1 },
      ],
    },
  },
  lots: {
    name: 'lots',
    ...common,
    loss: 'mse',
    data: {
      file: 'lots.csv',
      target: 'price',
      missing: 'mean',
      columns: {
        grade: { kind: 'ordinal', order: ['low', 'mid', 'high'] },
        street: { kind: 'hash', buckets: 5 },
        town: { kind: 'embedding', units: 3 },
        pool: 'boolean',
        built: { kind: 'date', format: 'dmy' },
      },
    },
    model: {
      layers: [
        { kind: 'dense', units: 8, activation: 'elu' },
        { kind: 'dense', units: 1 },
      ],
    },
  },
};

/** Writes the tables, and trains models into `runs` below a directory. */
export async function trainAll(cwd: string, configs: readonly TrainConfig[]): Promise<void> {
  fs.writeFileSync(path.join(cwd, 'areas.csv'), areas());
  fs.writeFileSync(path.join(cwd, 'lots.csv'), lots());
  for (const config of configs) {
    const runDirectory = path.join(cwd, 'runs', config.name);
    await train(config, { runDirectory, baseDirectory: cwd, threads: 1, logLevel: 'silent' });
  }
}

/** Exports a run, and asserts that it worked. */
export async function exportRun(cwd: string, name: string, ...flags: readonly string[]): Promise<void> {
  const result = await runCli(['export', `runs/${name}`, ...flags], { cwd });
  expect(result).toMatchObject({ exitCode: 0, stdout: '' });
}

/** The samples that a model was trained on. */
export function samplesOf({ config }: Example): Float32Array | Uint8Array {
  return (config.data.train as Samples).features as Float32Array | Uint8Array;
}

/** Lockstep's probabilities of all classes, sample after sample, position after position. */
export function probabilitiesOf(model: TrainedModel, samples: Float32Array | Uint8Array): number[] {
  return model
    .predict(samples)
    .flatMap((prediction) => (prediction.kind === 'positions' ? prediction.positions : [prediction]))
    .flatMap((prediction) => (prediction.kind === 'class' ? [...prediction.probabilities] : []));
}

/** The first block of a language on the page about using a model. */
export function blockOf(language: string): string {
  return new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(PAGE)?.[1] as string;
}

/** The numbers that `lockstep predict` prints for a table of a regression. */
export async function predicted(cwd: string, run: string, table: string): Promise<number[]> {
  const { exitCode, stdout, stderr } = await runCli(['predict', run, table], { cwd });
  expect(exitCode, stderr).toBe(0);
  return stdout.trimEnd().split('\n').slice(1).map(Number);
}
