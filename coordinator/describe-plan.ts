// What a run would take, in words: for `--dry-run`.
import { numBatches } from '../src/data/batches.ts';
import { countOf } from '../src/data/data-error.ts';
import { blobByteLength } from '../src/data/dataset.ts';
import { formatShape } from '../src/layers/layer.ts';
import { formatBytes } from '../src/memory.ts';
import { describeModel } from '../src/model/model.ts';
import { optimizerBytes } from '../src/optimizer/optimizer.ts';
import type { PreparedRun } from './prepare.ts';

/** Data, model, steps and memory of a prepared run, ending in a newline. */
export function describePlan({ config, data, model, plan }: PreparedRun): string {
  const { splits, dataset } = data;
  const { train, validation, test } = splits;
  const steps = numBatches(train.length, config.batchSize);
  const count = (value: number): string => value.toLocaleString('en-US');
  const { weights, packedWeights, gradients, activations, scratch } = plan.bytes;
  const datasetBytes = blobByteLength(dataset.layout);
  const worker = weights + packedWeights + gradients + activations + scratch + datasetBytes;
  return [
    `data     ${count(train.length)} training, ${count(validation.length)} validation, ${count(test.length)} test rows`,
    `         samples of ${formatShape(dataset.layout.featureShape)}, dataset ${formatBytes(datasetBytes)}, sha256 ${dataset.sha256.slice(0, 16)}`,
    ...describeModel(model).map((line, index) => `${index === 0 ? 'model    ' : '         '}${line}`),
    `steps    ${count(steps)} an epoch, ${count(config.epochs)} epochs, batch ${count(config.batchSize)} in ${countOf(config.shards, 'shard')}`,
    `worker   ${formatBytes(worker)}: weights ${formatBytes(weights)}, packed weights ${formatBytes(packedWeights)}, gradients ${formatBytes(gradients)},`,
    `         activations ${formatBytes(activations)}, scratch ${formatBytes(scratch)}, dataset ${formatBytes(datasetBytes)} (one thread)`,
    `here     optimizer state ${formatBytes(optimizerBytes(model.numParameters, config.optimizer))}, ${count(model.pieces.length)} pieces on the wire`,
    '',
  ].join('\n');
}
