// Accuracy of networks with batch normalization on small and on uneven batches, with the default number of
// shards: the same as in PyTorch (scripts/golden/batch_norm.py wrote data and scores).
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { readRecorded } from '../helpers/golden.ts';
import { trainInProcess } from '../helpers/in-process-training.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

interface Recorded {
  readonly batchSize: number;
  readonly epochs: number;
  /** Mean of the scores. */
  readonly mean: number;
  /** Accuracy or R² on the test rows, by seed from 0. */
  readonly scores: readonly number[];
}

/** Difference allowed between two means of six seeds, whose order of samples and draws differ. */
const TOLERANCE = 0.005;

const GOLDEN = path.resolve(import.meta.dirname, '../golden');
const recorded = readRecorded<Readonly<Record<string, Recorded>>>('batch-norm-accuracy');

/** A config that does not set the number of shards. */
function configOf(data: string, target: string, outputs: number): object {
  const layers = [
    { kind: 'dense', units: data === 'digits' ? 64 : 32 },
    { kind: 'batchNorm' },
    { kind: 'activation', function: 'relu' },
    { kind: 'dense', units: outputs },
  ];
  const files = {
    train: path.join(GOLDEN, `${data}-train.csv.gz`),
    test: path.join(GOLDEN, `${data}-test.csv.gz`),
  };
  return { name: data, data: { ...files, target, split: { validation: 0 } }, model: { layers } };
}

const DIGITS = { ...configOf('digits', 'digit', 10), loss: 'crossEntropy' };
const regression = configOf('regression-208', 'y', 1) as { readonly data: object };
const REGRESSION = {
  ...regression,
  data: { ...regression.data, targetTransform: ['standardize'] },
  loss: 'mse',
};

describe('batchNorm with the default shards', () => {
  it.each([
    { name: 'digits16', what: 'an accuracy on digits in batches of 16', config: DIGITS },
    { name: 'digits32', what: 'an accuracy on digits in batches of 32', config: DIGITS },
    { name: 'regression', what: 'an R² on 208 rows in batches of 100, 100 and 8', config: REGRESSION },
  ])(
    'six seeds with batchNorm reach $what within 0.005 of PyTorch',
    { timeout: 60_000 },
    async ({ name, config }) => {
      const { batchSize, epochs, mean, scores } = recorded[name] as Recorded;
      const cwd = temporaryDirectory();
      const own: number[] = [];
      for (const seed of scores.keys()) {
        fs.writeFileSync(path.join(cwd, 'table.yaml'), stringify({ ...config, seed, batchSize, epochs }));
        const { result } = await trainInProcess(cwd);
        const metrics = result.test?.metrics;
        own.push((metrics?.accuracy ?? metrics?.r2) as number);
      }
      const ownMean = own.reduce((sum, score) => sum + score, 0) / own.length;
      expect(Math.abs(ownMean - mean), `${ownMean} of ${own.join(', ')}`).toBeLessThan(TOLERANCE);
    },
  );
});

it('running variances of 208 standardized rows in batches of 100, 100 and 8 are 1 on average', async () => {
  const cwd = temporaryDirectory();
  const variances: number[] = [];
  for (const seed of [0, 1, 2, 3, 4, 5]) {
    const layers = [{ kind: 'batchNorm' }, { kind: 'dense', units: 1 }];
    const values = { seed, model: { layers }, batchSize: 100, epochs: 40 };
    fs.writeFileSync(path.join(cwd, 'table.yaml'), stringify({ ...REGRESSION, ...values }));
    const { saved } = await trainInProcess(cwd, { isSaving: true });
    variances.push(...(saved.at(-1)?.tensors.get('0.running_var')?.values ?? []));
  }
  expect(variances).toHaveLength(24);
  // In PyTorch one of them deviates by 0.055, so the mean of 24 by 0.011; with a 0 for each short batch it
  // would be 0.64.
  const mean = variances.reduce((sum, variance) => sum + variance, 0) / variances.length;
  expect(Math.abs(mean - 1)).toBeLessThan(0.04);
});
