// Sequences with a label at each position, from a file of NumPy to predictions in one, on the command line.
import fs from 'node:fs';
import path from 'node:path';
import { unzipSync } from 'fflate';
import { parse } from 'npyjs';
import { expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { readSummary } from '../helpers/run-records.ts';
import { IGNORED, NUM_SAMPLES, POSITIONS, taggedRun, taggedSamples } from '../helpers/tagged-run.ts';

it('labels at positions are learnt from the config that init drafts, and predicted into arrays', async () => {
  const cwd = taggedRun();
  const run = async (...args: string[]) => {
    const result = await runCli(args, { cwd });
    expect(result, result.stderr).toMatchObject({ exitCode: 0 });
    return result.stdout;
  };
  await run('init', 'tags.npz', '--output', 'drafted.yaml');
  expect(await run('train', 'drafted.yaml', '--dry-run')).toContain('dense 12x48 -> 12x4');
  await run('train', 'drafted.yaml', '--run-dir', 'run');
  const { test } = readSummary(path.join(cwd, 'run'));
  // The label follows from the next token too: whoever sees only what came before is right about half the time.
  expect(test?.accuracy).toBeGreaterThan(0.9);
  expect(test?.perClass).toHaveLength(4);
  expect(fs.readdirSync(path.join(cwd, 'run/plots'))).toContain('test-confusion.svg');

  const { tokens, labels } = taggedSamples();
  const counts = [0, 1, 2, 3].map((label) => labels.filter((other) => other === label).length);
  const inspected = JSON.parse(await run('inspect', 'drafted.yaml', '--json')) as { classes: object[] };
  expect(inspected.classes).toEqual(counts.map((count, label) => ({ value: String(label), count })));

  const members = unzipSync(fs.readFileSync(path.join(cwd, 'tags.npz')));
  for (const name of ['x', 'y'])
    fs.writeFileSync(path.join(cwd, `${name}.npy`), members[`${name}.npy`] as Uint8Array);
  await run('predict', 'run', 'x.npy', '--format', 'npz', '--output', 'found.npz');
  const arrays = unzipSync(fs.readFileSync(path.join(cwd, 'found.npz')));
  const { data, shape } = parse((arrays['class.npy'] as Uint8Array).slice().buffer);
  expect(shape).toEqual([NUM_SAMPLES, POSITIONS]);
  const counted = [...labels.keys()].filter((at) => labels[at] !== IGNORED);
  const numRight = counted.filter((at) => (data as Int32Array)[at] === labels[at]).length;
  const measured = JSON.parse(
    await run('evaluate', 'run', '--data', 'x.npy', '--labels', 'y.npy', '--json'),
  ) as { accuracy: number };
  expect(measured.accuracy).toBe(numRight / counted.length);
  const lines = (await run('predict', 'run', 'x.npy')).trimEnd().split('\n');
  expect(lines).toHaveLength(1 + tokens.length);
  expect(lines.slice(1).map((line) => Number(line.split(',')[2]))).toEqual([...(data as Int32Array)]);

  expect(await runCli(['predict', 'run', 'x.npy', '--format', 'npz'], { cwd })).toMatchObject({
    exitCode: 2,
    stderr:
      'error[E_PREDICT_FORMAT]: --format npz writes a file\n  help: name it: --output predictions.npz\n',
  });
});
