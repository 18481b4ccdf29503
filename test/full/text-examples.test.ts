// The programs of the text example and its second config, on little data.
import path from 'node:path';
import { expect, it } from 'vitest';
import { loadModel } from '../../src/predict/load-model.ts';
import type { TrainedModel } from '../../src/predict/trained-model.ts';
import { installedFile, runExample, runInstalled } from '../helpers/example-run.ts';
import { readRecords } from '../helpers/run-records.ts';
import { saveRun } from '../helpers/saved-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const CONTEXT = 8;
const PROMPT = 'To be';
const NUM_BYTES = 12;

function write(run: string, ...flags: readonly string[]): Promise<Buffer> {
  const args = [run, PROMPT, '--bytes', String(NUM_BYTES), ...flags];
  return runExample('text/write.mjs', args, temporaryDirectory());
}

/** The likeliest byte, again and again: each by the outputs at the last position of its window. */
function likeliestBytes(model: TrainedModel): Buffer {
  const text = [...Buffer.from(PROMPT)];
  for (let written = 0; written < NUM_BYTES; written++) {
    const window = text.slice(-CONTEXT);
    const padded = Uint8Array.from({ length: CONTEXT }, (_, at) => window[at] ?? 255);
    const logits = [...model.outputs(padded).subarray((window.length - 1) * 256, window.length * 256)];
    text.push(logits.indexOf(Math.max(...logits)));
  }
  return Buffer.from([...text, 10]);
}

it('write.mjs continues a prompt by the outputs of the model, the same for one seed', async () => {
  const text = 'To be, or not to be, that is the question. '.repeat(8);
  const { directory } = await saveRun(
    { 'play.txt': text },
    {
      data: { train: { text: 'play.txt' }, context: CONTEXT },
      model: {
        layers: [
          { kind: 'embedding', vocabulary: 256, units: 6 },
          { kind: 'attention', heads: 2, causal: true },
          { kind: 'lstm', units: 5, returnSequences: true },
          { kind: 'dense', units: 256 },
        ],
      },
      loss: 'crossEntropy',
      batchSize: 4,
    },
  );
  const likeliest = await write(directory, '--temperature', '0');
  expect(likeliest).toEqual(likeliestBytes(await loadModel(directory)));

  const drawn = await write(directory, '--seed', '3', '--temperature', '1.5');
  expect(drawn).toHaveLength(PROMPT.length + NUM_BYTES + 1);
  expect(drawn.subarray(0, PROMPT.length).toString()).toBe(PROMPT);
  expect(await write(directory, '--seed', '3', '--temperature', '1.5')).toEqual(drawn);
  expect(await write(directory, '--seed', '4', '--temperature', '1.5')).not.toEqual(drawn);
});

it('text-lstm.yaml learns even from a fiftieth of the text', async () => {
  const config = installedFile('examples/text/text-lstm.yaml');
  const cwd = temporaryDirectory();
  const settings = [
    'data.split={train: 0.02, validation: 0.003, test: 0}',
    ...['epochs=3', 'batchSize=8', 'schedule.warmup.steps=5'],
  ];
  const flags = settings.flatMap((setting) => ['--set', setting]);
  const args = ['train', config, '--workers', '0', '--run-dir', 'run', ...flags];
  expect(await runInstalled(args, { cwd })).toMatchObject({ exitCode: 0 });
  const losses = readRecords(path.join(cwd, 'run'), 'metrics.jsonl').flatMap(
    (record) => record['val/loss'] ?? [],
  ) as number[];
  expect(losses).toHaveLength(3);
  expect(losses).toEqual(losses.toSorted((a, b) => b - a));
  // The frequencies of the bytes alone reach 3.3.
  expect(losses.at(-1)).toBeLessThan(3.2);
});
