// The loss of examples/engine/focal-loss.mjs, as a user writes one: against PyTorch's values, and its gradient
// through a whole model by central differences.
import { expect, it } from 'vitest';
import { createEngine, type LossLike } from '../../api/engine.ts';
import { dense, sequential } from '../../api/layers.ts';
import { hostMath } from '../../src/kernels/host-math.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { expectNear, Golden } from '../helpers/golden.ts';
import { relativeError } from '../helpers/twins/central-differences.ts';
import { randomValues, randomWords } from '../helpers/twins/samples.ts';
// @ts-expect-error the example is JavaScript
import { focalLoss as untyped } from '../../examples/engine/focal-loss.mjs';

const focalLoss = untyped as (gamma: number) => LossLike<'crossEntropy'>;
const golden = new Golden('focal-loss');

it.each([0, 1, 2])('the focal loss of the examples agrees with PyTorch for gamma %s', async (gamma) => {
  const kernels = await instantiateKernels(await loadKernelModule(), new Memory().wasm);
  const { values: y, shape } = golden.tensor(`gamma${gamma}.y`);
  const [numRows, outputWidth] = shape as [number, number];
  const labels = Uint32Array.from(golden.values(`gamma${gamma}.target`));
  const rows = { numRows, outputWidth, math: hostMath(kernels) };
  const { losses, gradient } = focalLoss(gamma).compute(y, labels, rows);
  // Both are computed in float64: what is left is the rounding of the logits and of what was recorded.
  expectNear(losses, golden.values(`gamma${gamma}.losses`), 1e-6, 'losses');
  expectNear(gradient, golden.values(`gamma${gamma}.dY`), 1e-6, 'gradient');
});

it('the gradient of a model by a loss of your own is that of central differences', async () => {
  const [rows, classes] = [9, 3];
  using engine = await createEngine({
    model: sequential([dense({ units: 5, activation: 'tanh' }), dense({ units: classes })]),
    inputShape: [4],
    loss: focalLoss(2),
    batchSize: rows,
    seed: 3,
  });
  const batch = {
    features: randomValues(1, 4 * rows),
    targets: randomWords(2, rows).map((word) => word % classes),
    weights: randomValues(3, rows).map(Math.abs),
  };
  for (const { name } of engine.parameters) {
    engine.backward(batch);
    const gradient = engine.gradient(name);
    const values = engine.parameter(name);
    const differences = values.map((value, i) => {
      const lossAt = (step: number): number => {
        engine.setParameter(name, values.with(i, value + step));
        return engine.backward(batch).loss;
      };
      // In float32 outputs have errors of 1e-7: over steps of 1e-2 they are 1e-5, and truncation is as small.
      const difference = (lossAt(1e-2) - lossAt(-1e-2)) / 2e-2;
      engine.setParameter(name, values);
      return difference;
    });
    expect(relativeError(gradient, differences), name).toBeLessThan(2e-3);
  }
});
