// A tiny seeded run of our own at full precision: any change of these numbers is a change of the bits that
// every user gets, and must be intended. Covers draws, all activations, both losses, short batches and Adam.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { epochOrder, numBatches } from '../../src/data/dataset/split.ts';
import { drawWeights } from '../../src/model/initialize.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { LossKind } from '../../src/losses/registry.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { packSamples, randomSamples } from '../helpers/twins/samples.ts';

const NUM_ROWS = 90;
const BATCH_SIZE = 20;
const EPOCHS = 4;

interface Outcome {
  /** Mean loss of each step. */
  readonly losses: number[];
  readonly weightsSha256: string;
}

/** 4 epochs of 5 steps, the last one of each epoch with 10 rows. */
async function run(loss: LossKind): Promise<Outcome> {
  const layers = [
    { kind: 'dense', units: 17, activation: 'relu', bias: true, initializer: 'heUniform' },
    { kind: 'dense', units: 13, activation: 'tanh', bias: false, initializer: 'glorotNormal' },
    { kind: 'dense', units: 11, activation: 'leakyRelu', bias: true, initializer: 'heNormal' },
    { kind: 'dense', units: 9, activation: 'sigmoid', bias: true, initializer: 'glorotUniform' },
    { kind: 'dense', units: 3, activation: 'linear', bias: true },
  ] as const;
  const model = resolveModel({ layers }, [7]);
  const isClassification = loss === 'crossEntropy';
  const dataset = packSamples(
    randomSamples(1, { numRows: NUM_ROWS, featureWidth: 7, outputWidth: 3, isClassification }),
  );
  const engine = await LocalEngine.create({
    kernelModule: await loadKernelModule(),
    model,
    loss,
    seed: 7,
    dataset,
    batchSize: BATCH_SIZE,
    shards: 6,
  });
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 0.01 });
  const adam = new Optimizer({ kernels, memory, model, config });
  drawWeights(kernels, memory, model, 7, adam.parameters);
  const rows = Uint32Array.from({ length: NUM_ROWS }, (_, i) => i);
  const losses: number[] = [];
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const order = epochOrder(rows, { seed: 7, epoch, shuffle: true });
    for (let batch = 0; batch < numBatches(NUM_ROWS, BATCH_SIZE); batch++) {
      const indices = order.subarray(batch * BATCH_SIZE, (batch + 1) * BATCH_SIZE);
      engine.setWeights(adam.parameters);
      const lossSum = engine.trainBatch(indices, adam.numSteps, ({ bucket, address }) => {
        adam.applyBucket(bucket, { sum: address, divisor: indices.length });
      });
      adam.commit();
      losses.push(lossSum / indices.length);
    }
  }
  const weights = memory.bytes(adam.parameters, 4 * model.numParameters).slice();
  return { losses, weightsSha256: createHash('sha256').update(weights).digest('hex') };
}

describe('a tiny seeded run', () => {
  // After an intended change of the bits, `npx vitest run -u` writes the new ones.
  it.each(['mse', 'crossEntropy'] as const)(
    'a tiny seeded run gives the recorded losses and weights with %s',
    async (loss) => {
      const outcome = `${JSON.stringify(await run(loss), null, 2)}\n`;
      await expect(outcome).toMatchFileSnapshot(`../golden/tiny-run-${loss}.json`);
    },
  );
});
