// The programs in examples/engine, run from the installed package, and the memory of many engines.
import { expect, it } from 'vitest';
import { runExample } from '../helpers/example-run.ts';
import { runProgram } from '../helpers/program.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

it('examples/engine/same-bits.mjs results in the weights of train by a loop of its own', async () => {
  const stdout = (await runExample('engine/same-bits.mjs', ['2'], temporaryDirectory())).toString();
  const hashes = [...stdout.matchAll(/weights sha256 ([0-9a-f]{64})$/gm)].map(([, hash]) => hash);
  expect(hashes).toHaveLength(2);
  expect(hashes[0]).toBe(hashes[1]);
});

it('examples/engine/train.mjs finds the rare class by a loss of its own, and saves a model', async () => {
  const stdout = (await runExample('engine/train.mjs', [], temporaryDirectory())).toString();
  expect(stdout).toMatch(/^epoch 30 {2}loss 0\.00\d\d {2}accuracy 0\.9\d\d {2}found 0\.[89]\d\d$/m);
  // The same on every machine: the loss computes with nothing that differs between them.
  expect(stdout).toContain(
    'weights sha256 7ba33ec82e2eebaf7ddc447663cb9d68b2c1978c5831140df15123268b86a415\n',
  );
  expect(stdout).toMatch(/^inside the disk: 1, outside: 0$/m);
});

it('engines that are disposed of leave no memory behind', { timeout: 120_000 }, async () => {
  // Each takes some 30 MB, which no collection of garbage gives back, as there is hardly any.
  const program = `
    import { createEngine, dense, sequential } from 'lockstep/engine';
    const model = sequential([dense({ units: 1000 }), dense({ units: 1 })]);
    const sizes = [];
    for (let round = 0; round < 40; round++) {
      const engine = await createEngine({ model, inputShape: [1000], loss: 'mse', batchSize: 64 });
      engine.backward({ features: new Float32Array(64_000).fill(1), targets: new Float32Array(64) });
      engine.step();
      engine.dispose();
      sizes.push(process.memoryUsage.rss());
    }
    console.log(Math.round((sizes.at(-1) - sizes[4]) / 2 ** 20));
  `;
  const grownMiB = Number(await runProgram(program, temporaryDirectory()));
  expect(grownMiB).toBeLessThan(200);
});
