// Whole runs with weights of rows and classes: the same bits for any workforce, and rows that count for
// nothing.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { inPairs, runCli } from '../helpers/cli.ts';
import { readBits, readSummary } from '../helpers/run-records.ts';
import { tableRun, tableText } from '../helpers/table-run.ts';

/** Trains in `cwd` with each number of workers; the records of each. */
function trainWith(cwd: string, numWorkers: readonly number[]): Promise<ReturnType<typeof readBits>[]> {
  return inPairs(numWorkers, async (workers) => {
    const directory = path.join(cwd, `workers-${workers}`);
    const flags = ['--workers', String(workers), '--run-dir', directory];
    expect(await runCli(['train', 'table.yaml', ...flags], { cwd })).toMatchObject({ exitCode: 0 });
    return readBits(directory);
  });
}

/** The table with a column of weights and one of classes, the third of their texts being rare. */
function weightedTable(weightOf: (row: number) => number): string {
  const [header, ...rows] = tableText().trimEnd().split('\n');
  const lines = rows.map((line, row) => {
    const y = Number(line.split(',').at(-1));
    return [line, y > 0.6 ? 'high' : y > 0 ? 'middle' : 'low', weightOf(row)].join();
  });
  return `${[`${header},class,w`, ...lines].join('\n')}\n`;
}

const CLASSES: Partial<ConfigInput> = {
  data: { file: 'table.csv', target: 'class', drop: ['y'], weights: 'w', split: { test: 0 } },
  model: {
    layers: [
      { kind: 'dense', units: 16, activation: 'relu' },
      { kind: 'dense', units: 3 },
    ],
  },
  loss: 'crossEntropy',
  classWeights: 'balanced',
  metrics: { topK: 2 },
  epochs: 1,
};

describe('a run with weights', () => {
  it('a run with weights has the same bits for any number of workers and measures by the weights of rows alone', async () => {
    const cwd = tableRun(
      CLASSES,
      weightedTable((row) => (row % 7) / 2),
    );
    const [inProcess, cluster] = await trainWith(cwd, [0, 3]);
    expect(cluster).toEqual(inProcess);
    const { validation } = readSummary(path.join(cwd, 'workers-3'));
    expect(validation).toMatchObject({ topK: { k: 2 }, macro: {}, logLoss: expect.any(Number) as number });
  });

  it('a run with weights skips the step of a batch in which all rows have weight 0', async () => {
    const data = { file: 'table.csv', target: 'y', drop: ['class'], weights: 'w' };
    const alike = { standardize: false, shuffle: false, split: { validation: 0, test: 0 } } as const;
    const isCounted = (row: number): boolean => row < 64 || row >= 128;
    const table = weightedTable((row) => (isCounted(row) ? 1.5 : 0));
    const cwd = tableRun({ data: { ...data, ...alike }, epochs: 1 }, table);
    const [header, ...rows] = table.trimEnd().split('\n');
    const without = tableRun(
      { data: { ...data, ...alike }, epochs: 1 },
      `${[header, ...rows.filter((_, row) => isCounted(row))].join('\n')}\n`,
    );
    const [inProcess, cluster] = await trainWith(cwd, [0, 2]);
    const [shorter] = await trainWith(without, [0]);
    expect(cluster).toEqual(inProcess);
    expect(inProcess?.weightsSha256).toBe(shorter?.weightsSha256);
    expect(inProcess?.metrics.at(-1)?.['train/loss']).toBe(shorter?.metrics.at(-1)?.['train/loss']);
  });
});

describe('a run with binary cross-entropy', () => {
  it('a run with binary cross-entropy has the same bits for any number of workers and draws a ROC curve', async () => {
    const cwd = tableRun(
      {
        data: { file: 'table.csv', target: 'class', drop: ['y', 'w'], split: { test: 0 } },
        loss: 'binaryCrossEntropy',
        epochs: 1,
        plots: true,
      },
      weightedTable(() => 1).replaceAll('middle', 'low'),
    );
    const [inProcess, cluster] = await trainWith(cwd, [0, 2]);
    expect(cluster).toEqual(inProcess);
    const { validation } = readSummary(path.join(cwd, 'workers-2'));
    expect(validation).toMatchObject({ rocAuc: expect.any(Number) as number, perClass: [{}, {}] });
    expect(fs.readdirSync(path.join(cwd, 'workers-2', 'plots'))).toContain('validation-roc.png');
  });
});
