// A small regression problem in a temporary directory: for tests of whole runs.
import fs from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import type { ConfigInput } from '../../src/config/schema.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const NUM_ROWS = 1000;
const NUM_FEATURES = 8;

/** 800 rows to train on, 100 to validate, 100 to test; the target is a curved function of eight columns. */
export function tableText(): string {
  const names = Array.from({ length: NUM_FEATURES }, (_, column) => `x${column}`);
  const lines = [[...names, 'y'].join()];
  for (let row = 0; row < NUM_ROWS; row++) {
    const values = names.map((_, column) => (((row + 1) * (column + 3) * 7919) % 1009) / 1009);
    const [a, b, c, d] = values as [number, number, number, number];
    lines.push([...values, a * b + c * c - d].map((value) => value.toFixed(5)).join());
  }
  return `${lines.join('\n')}\n`;
}

export const TABLE_CONFIG = {
  name: 'table',
  seed: 7,
  data: { file: 'table.csv', target: 'y' },
  model: {
    layers: [
      { kind: 'dense', units: 64, activation: 'relu' },
      { kind: 'dense', units: 1 },
    ],
  },
  loss: 'mse',
  optimizer: { learningRate: 0.003 },
  batchSize: 64,
  shards: 8,
  epochs: 2,
  // Drawing them takes longer than the run.
  plots: false,
} satisfies ConfigInput;

/** A directory with `table.csv` and `table.yaml`, whose values are replaced as told. */
export function tableRun(values: Partial<ConfigInput> = {}, table = tableText()): string {
  const directory = temporaryDirectory();
  writeTableRun(directory, values, table);
  return directory;
}

/** Writes the files of `tableRun` into an existing directory. */
export function writeTableRun(
  directory: string,
  values: Partial<ConfigInput> = {},
  table = tableText(),
): void {
  fs.writeFileSync(path.join(directory, 'table.csv'), table);
  fs.writeFileSync(path.join(directory, 'table.yaml'), stringify({ ...TABLE_CONFIG, ...values }));
}

/** 48 rows, of which 12 have a feature with which the prediction of a logarithmic target overflows. */
export function infiniteTable(): string {
  const rows = Array.from({ length: 48 }, (_, row) => {
    const [a, b] = [((row * 7) % 13) / 13, row % 4 === 3 ? 1e5 : (row % 5) / 5];
    return [a, b, 1 + a].join();
  });
  return `a,b,y\n${rows.join('\n')}\n`;
}

/** A training on `infiniteTable` that monitors an error in the target's own unit, which is infinite. */
export const INFINITE_RUN = {
  // A seed that draws weights with large predictions, not small ones.
  seed: 1,
  model: {
    layers: [
      { kind: 'dense' as const, units: 8, activation: 'relu' as const },
      { kind: 'dense' as const, units: 1 },
    ],
  },
  data: {
    file: 'table.csv',
    target: 'y',
    targetTransform: ['log' as const],
    standardize: false,
    split: { validation: 0.25, test: 0.25 },
  },
  batchSize: 8,
  epochs: 3,
  earlyStopping: { monitor: 'rmse', patience: 10 },
} satisfies Partial<ConfigInput>;
