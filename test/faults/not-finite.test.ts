// A run whose metrics overflow: it says so, in its records too, and can be resumed.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { readBits, readRecords } from '../helpers/run-records.ts';
import { INFINITE_RUN, infiniteTable, tableRun } from '../helpers/table-run.ts';

const WARNING =
  'the validation of epoch 1 gives rmse Infinity, mae Infinity, r2 -Infinity, mape Infinity; an epoch whose rmse is ' +
  'not finite does not count as an improvement, and its weights are kept only until an epoch has a finite one';

it('metrics that are not finite are recorded as they are, cause one warning, and do not prevent resuming', async () => {
  const cwd = tableRun(INFINITE_RUN, infiniteTable());
  const train = (...args: string[]) => runCli(['train', 'table.yaml', '--workers', '0', ...args], { cwd });
  const whole = await train('--run-dir', 'whole', '--json');
  expect(whole.exitCode).toBe(0);
  expect(whole.stderr.split(WARNING).length).toBe(2);
  expect(whole.stderr.match(/WARN: .* gives .*Infinity/g)?.length).toBe(1);
  const summary = fs.readFileSync(path.join(cwd, 'whole/summary.json'), 'utf8');
  expect(whole.stdout).toBe(summary);
  expect(JSON.parse(summary)).toMatchObject({
    best: { epoch: 3 },
    test: {
      rmse: 'Infinity',
      mae: 'Infinity',
      r2: '-Infinity',
      transformed: { r2: expect.any(Number) as number },
    },
  });
  const ends = readRecords(path.join(cwd, 'whole'), 'metrics.jsonl').filter(
    (record) => 'train/loss' in record,
  );
  expect(ends.map((record) => record['val/rmse'])).toEqual(['Infinity', 'Infinity', 'Infinity']);

  const evaluated = await runCli(['evaluate', 'whole', '--json'], { cwd });
  expect(JSON.parse(evaluated.stdout)).toEqual((JSON.parse(summary) as { test: unknown }).test);

  expect(await train('--run-dir', 'resumed', '--set', 'epochs=2')).toMatchObject({ exitCode: 0 });
  expect(await train('--run-dir', 'resumed', '--resume', 'last')).toMatchObject({ exitCode: 0 });
  // Only the evaluation of the test split is left, which decides nothing.
  const tested = await train('--run-dir', 'resumed', '--resume', 'last');
  expect(tested.stderr).toMatch(
    /WARN: the test gives rmse Infinity, mae Infinity, r2 -Infinity, mape Infinity\n/,
  );
  expect(readBits(path.join(cwd, 'resumed'))).toEqual(readBits(path.join(cwd, 'whole')));
});
