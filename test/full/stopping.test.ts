// A training that its program stops, on workers: the package as it is built.
import { expect, it } from 'vitest';
import { runProgram } from '../helpers/program.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const PROGRAM = `
import { dense, sequential, train } from 'lockstep';
const features = Array.from({ length: 100 }, (_, i) => [(i % 9) / 9, (i % 7) / 7]);
const config = {
  name: 'stopping',
  data: { train: { features, targets: features.map(([x, y]) => x - y) } },
  model: sequential([dense({ units: 4, activation: 'tanh' }), dense({ units: 1 })]),
  loss: 'mse',
  batchSize: 16,
  shards: 4,
  epochs: 9,
  plots: false,
};
for (const last of [5, 7]) {
  for (const workers of [0, 1, 3]) {
    const { summary } = await train(config, {
      workers,
      threads: 1,
      runDirectory: \`run-\${last}-\${workers}\`,
      onStep: ({ step }, { stop }) => step === last && stop(),
    });
    console.log(summary.steps, summary.stoppedEarly, summary.weightsSha256);
  }
}`;

it('a training stopped within or after an epoch ends with the same bits on any number of workers', async () => {
  const lines = (await runProgram(PROGRAM, temporaryDirectory())).trimEnd().split('\n');
  const [after, , , within] = lines;
  expect(after).toMatch(/^5 1 [0-9a-f]{64}$/);
  expect(within).toMatch(/^7 2 [0-9a-f]{64}$/);
  expect(lines).toEqual([after, after, after, within, within, within]);
});
