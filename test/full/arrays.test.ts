// A training on arrays in memory, by a program as users write them: the same bits as from the table in a
// file.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { runCli } from '../helpers/cli.ts';
import { runProgram } from '../helpers/program.ts';
import { readBits } from '../helpers/run-records.ts';
import { TABLE_CONFIG, tableRun } from '../helpers/table-run.ts';

/** Trains on the file, on its arrays, and on its arrays with two workers; then evaluates and predicts. */
const PROGRAM = `
import fs from 'node:fs';
import { evaluate, loadModel, LockstepError, train } from 'lockstep';

const rows = fs.readFileSync('table.csv', 'utf8').trimEnd().split('\\n').slice(1).map((line) => line.split(',').map(Number));
const samples = {
  features: Float64Array.from(rows.flatMap((row) => row.slice(0, -1))),
  shape: [rows.length, 8],
  targets: rows.map((row) => row.at(-1)),
};
const config = ${JSON.stringify(TABLE_CONFIG)};
await train(config, { runDirectory: 'file' });
const inMemory = { ...config, data: { train: samples, target: 'y' } };
const { summary } = await train(inMemory, { runDirectory: 'arrays' });
await train(inMemory, { runDirectory: 'workers', workers: 2 });

const codeOf = (error) => (error instanceof LockstepError ? error.code : String(error));
const model = await loadModel('arrays');
const fromFile = await loadModel('file');
const named = rows.map((row) => Object.fromEntries(row.map((value, at) => ['x' + at, value])));
const all = await evaluate(model, { data: samples });
console.log(JSON.stringify({
  isTestSame: JSON.stringify(await evaluate(model, { arrays: [samples] })) === JSON.stringify(summary.test),
  isAllSame: JSON.stringify(all) === JSON.stringify(await evaluate(fromFile, { data: 'table.csv' })),
  arePredictionsSame:
    JSON.stringify(model.predict(rows.map((row) => row.slice(0, -1)))) === JSON.stringify(fromFile.predict(named)),
  errors: [
    await evaluate(model).catch(codeOf),
    await evaluate(model, { data: 'table.csv' }).catch(codeOf),
    await evaluate(model, { data: { ...samples, shape: [rows.length, 2, 4] } }).catch(codeOf),
    await train({ ...inMemory, data: { train: { ...samples, targets: [1] } } }).catch(codeOf),
    await train({ ...inMemory, data: undefined }).catch(codeOf),
  ],
}));
`;

it('training on arrays gives the same bits as on the table in a file, for any number of workers', async () => {
  const cwd = tableRun();
  const found: unknown = JSON.parse(await runProgram(PROGRAM, cwd));
  expect(found).toEqual({
    isTestSame: true,
    isAllSame: true,
    arePredictionsSame: true,
    errors: ['E_DATA_ARRAYS', 'E_DATA_FORMAT', 'E_DATA_SHAPE', 'E_DATA_ARRAYS', 'E_CONFIG_INVALID'],
  });
  const bitsOf = (run: string): unknown => readBits(path.join(cwd, run));
  expect(bitsOf('arrays')).toEqual(bitsOf('file'));
  expect(bitsOf('workers')).toEqual(bitsOf('file'));

  const { data } = parse(fs.readFileSync(path.join(cwd, 'arrays/config.yaml'), 'utf8')) as { data: object };
  expect(data).toMatchObject({
    train: { arrays: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
    target: 'y',
    standardize: true,
  });
  const { arrays } = (data as { train: { arrays: string } }).train;
  expect(await runCli(['evaluate', 'arrays'], { cwd })).toMatchObject({
    exitCode: 3,
    stderr:
      `error[E_DATA_ARRAYS]: the samples with SHA-256 ${arrays} were arrays in a program; no file holds them\n` +
      '  help: pass them again: train(config) with the arrays, or evaluate(run, { arrays: [samples] })\n',
  });
  expect(await runCli(['evaluate', 'arrays', '--data', 'table.csv'], { cwd })).toMatchObject({ exitCode: 3 });
  expect(await runCli(['predict', 'arrays', 'table.csv'], { cwd })).toMatchObject({
    exitCode: 3,
    stderr: expect.stringMatching(
      /^error\[E_DATA_FORMAT\]: table\.csv is no \.npy file that can be read/,
    ) as string,
  });
});
