// Metrics in the target's own unit against scikit-learn's, by every way that leads to them. The
// targets are numbers as read: those of the dataset have been through a transform and float32.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../../api/model.ts';
import type { Samples } from '../../../src/data/array/arrays.ts';
import { scalarMetrics, type SplitMetrics } from '../../../src/metrics/definitions.ts';
import { encodeSafetensors } from '../../../src/safetensors.ts';
import { saveRun, type SavedRun } from '../../helpers/saved-run.ts';

interface GoldenTable {
  readonly x: readonly number[];
  /** The targets, column by column. */
  readonly y: readonly (readonly number[])[];
  readonly weight: readonly number[];
}

interface GoldenCase {
  readonly name: string;
  readonly targetTransform: ('log' | 'standardize')[];
  readonly isWeighted: boolean;
  readonly train: GoldenTable;
  readonly validation: GoldenTable;
  readonly expected: Readonly<Record<string, number>>;
}

const golden = JSON.parse(
  fs.readFileSync(path.resolve(import.meta.dirname, '../../golden/own-unit-metrics.json'), 'utf8'),
) as { readonly bias: number; readonly cases: readonly GoldenCase[] };

function csvOf({ x, y, weight }: GoldenTable): string {
  const header = ['x', ...y.map((_, column) => `y${column}`), 'weight'].join();
  const rows = x.map((value, row) => [value, ...y.map((column) => column[row]), weight[row]].join());
  return `${[header, ...rows].join('\n')}\n`;
}

function samplesOf({ x, y, weight }: GoldenTable, isWeighted: boolean): Samples {
  return {
    features: x.map((value) => [value]),
    targets: x.map((_, row) => y.map((column) => column[row] as number)),
    ...(isWeighted && { weights: weight }),
  };
}

/**
 * The setting of the script that measured: every column of the transformed target
 * is predicted as x + bias.
 */
function initialWeights(numColumns: number): Uint8Array {
  const values = (value: number): Float32Array => new Float32Array(numColumns).fill(value);
  return encodeSafetensors([
    { name: '0.weight', shape: [numColumns, 1], values: values(1) },
    { name: '0.bias', shape: [numColumns], values: values(golden.bias) },
  ]);
}

function saveCase({ train, targetTransform, ...rest }: GoldenCase, isFromFiles: boolean): Promise<SavedRun> {
  const { isWeighted, validation } = rest;
  const names = train.y.map((_, column) => `y${column}`);
  const sources = isFromFiles
    ? { train: 'train.csv', validation: 'validation.csv', ...(!isWeighted && { drop: ['weight'] }) }
    : { train: samplesOf(train, isWeighted), validation: samplesOf(validation, isWeighted) };
  return saveRun(
    {
      'train.csv': csvOf(train),
      'validation.csv': csvOf(validation),
      'init.safetensors': initialWeights(names.length),
    },
    {
      data: {
        ...sources,
        target: names,
        ...(isWeighted && { weights: 'weight' }),
        targetTransform,
        standardize: false,
        split: { test: 0 },
      },
      model: { layers: [{ kind: 'dense', units: names.length }], init: 'init.safetensors' },
      loss: 'mse',
      batchSize: 8,
    },
  );
}

/** Allows for last bits of means, deviations and exponentials, which is far less than float32 differs by. */
function expectGolden(metrics: SplitMetrics | undefined, { expected }: GoldenCase): void {
  const scalars = metrics ? scalarMetrics(metrics) : {};
  const own = ['rmse', 'mae', 'r2', 'mape', 'mapeZeros'].filter((name) => name in scalars);
  expect(own.sort()).toEqual(Object.keys(expected).sort());
  for (const [name, value] of Object.entries(expected)) {
    expect(Math.abs((scalars[name] as number) - value), name).toBeLessThanOrEqual(1e-11 * Math.abs(value));
  }
}

describe("metrics in the target's own unit", () => {
  const warn = (): void => undefined;

  it.each(golden.cases)(
    "metrics in the target's own unit agree with scikit-learn for $name: of a run and its evaluation, from files",
    async (golden) => {
      const run = await saveCase(golden, true);
      expectGolden(await run.measure('validation'), golden);
      expectGolden(await evaluate(run.directory, { split: 'validation', warn }), golden);
      const data = path.join(run.cwd, 'validation.csv');
      expectGolden(await evaluate(run.directory, { data, warn }), golden);
    },
  );

  it.each(golden.cases)(
    "metrics in the target's own unit agree with scikit-learn for $name: of samples in memory",
    async (golden) => {
      const run = await saveCase(golden, false);
      expectGolden(await run.measure('validation'), golden);
      const data = samplesOf(golden.validation, golden.isWeighted);
      expectGolden(await evaluate(run.directory, { data, warn }), golden);
    },
  );
});
