// Trains the house example in this one process, with the engine alone: no coordinator, no worker,
// no socket. The same config gives the same weights as `lockstep train`, bit for bit. node
// examples/in-process/train.mjs [EPOCHS]
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../dist/src/config/load.js';
import { epochOrder } from '../../dist/src/data/dataset/split.js';
import { hostMath } from '../../dist/src/kernels/host-math.js';
import { loadData } from '../../dist/src/data/load.js';
import { drawWeights } from '../../dist/src/model/initialize.js';
import { LocalEngine } from '../../dist/src/engine/local-engine.js';
import { instantiateKernels } from '../../dist/src/kernels/kernels.js';
import { loadKernelModule } from '../../dist/src/kernels/load-kernels.js';
import { Memory } from '../../dist/src/memory.js';
import { resolveModel } from '../../dist/src/model/model.js';
import { Optimizer } from '../../dist/src/optimizer/optimizer.js';

const { config } = await loadConfig({ path: fileURLToPath(new URL('../house/house.yaml', import.meta.url)) });
const { batchSize, loss, seed, shards } = config;
const numEpochs = Number(process.argv[2] ?? config.epochs);

const kernelModule = await loadKernelModule();
const memory = new Memory();
const kernels = await instantiateKernels(kernelModule, memory.wasm);
const math = hostMath(kernels);
const { dataset, splits } = await loadData({ config, math, warn: console.warn });

const model = resolveModel(config.model, dataset.layout.featureShape);
const engine = await LocalEngine.create({
  kernelModule,
  memory,
  model,
  loss,
  seed,
  dataset,
  batchSize,
  shards,
});
const optimizer = new Optimizer({ kernels, memory, model, config: config.optimizer });
drawWeights(kernels, memory, model, seed, optimizer.parameters);

for (let epoch = 0; epoch < numEpochs; epoch++) {
  const order = epochOrder(splits.train, { seed, epoch, shuffle: config.data.shuffle });
  let lossSum = 0;
  for (let start = 0; start < order.length; start += batchSize) {
    const batch = order.subarray(start, start + batchSize);
    engine.setWeights(optimizer.parameters);
    // Each bucket of the gradient is summed over the batch, and goes through the
    // optimizer as soon as it is there.
    lossSum += engine.trainBatch(batch, optimizer.numSteps, ({ bucket, address }) =>
      optimizer.applyBucket(bucket, { sum: address, divisor: batch.length }),
    );
    optimizer.commit();
  }
  console.log(`epoch ${epoch + 1}  loss ${(lossSum / order.length).toFixed(4)}`);
}
const weights = memory.bytes(optimizer.parameters, 4 * model.numParameters);
console.log(`weights sha256 ${createHash('sha256').update(weights).digest('hex')}`);
