// Trains a model as the golden scripts do in PyTorch, and compares the results.
import { expect } from 'vitest';
import { numBatches } from '../../src/data/dataset/split.ts';
import { totalSampleWeight } from '../../src/data/dataset/packed-dataset.ts';
import type { PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import { loadWeights } from '../../src/model/initialize.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import type { LossInput } from '../../src/losses/registry.ts';
import type { Model } from '../../src/model/model.ts';
import { Optimizer } from '../../src/optimizer/optimizer.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import type { SafetensorsFile } from '../../src/safetensors.ts';

export interface GoldenTraining {
  readonly model: Model;
  readonly loss: LossInput;
  readonly dataset: PackedDataset;
  readonly initial: SafetensorsFile;
  readonly batchSize: number;
  readonly shards: number;
  readonly learningRate: number;
  readonly numSteps: number;
}

export interface TrainedModel {
  readonly model: Model;
  /** Mean loss of each step. */
  readonly losses: readonly number[];
  /** The flat vector of weights. */
  readonly weights: Float32Array;
  /** The engine with the trained weights. */
  readonly engine: LocalEngine;
}

/** Steps of Adam with its defaults, on epochs in file order, whose last batch may be short. */
export async function trainGolden(training: GoldenTraining): Promise<TrainedModel> {
  const { model, dataset, initial, batchSize, learningRate, numSteps } = training;
  const engine = await LocalEngine.create({ ...training, kernelModule: await loadKernelModule(), seed: 0 });
  const { kernels, memory } = engine;
  const { numRows } = dataset.layout;
  const config = optimizerSchema.parse({ learningRate });
  const adam = new Optimizer({ kernels, memory, model, config });
  loadWeights(kernels, memory, model, initial, 'golden weights', adam.parameters);
  const losses = Array.from({ length: numSteps }, (_, step) => {
    const start = (step % numBatches(numRows, batchSize)) * batchSize;
    const indices = Uint32Array.from({ length: Math.min(batchSize, numRows - start) }, (__, i) => start + i);
    const divisor = totalSampleWeight(dataset, indices);
    engine.setWeights(adam.parameters);
    const lossSum = engine.trainBatch(indices, step, ({ bucket, address }) => {
      adam.applyBucket(bucket, { sum: address, divisor, numSamples: indices.length });
    });
    adam.commit();
    return lossSum / divisor;
  });
  engine.setWeights(adam.parameters);
  return { model, losses, weights: memory.f32(adam.parameters, model.numParameters).slice(), engine };
}

/** Asserts that each loss is near the recorded one, relative to it. */
export function expectLosses(
  { losses }: TrainedModel,
  expected: readonly number[] | undefined,
  tolerance: number,
): void {
  expect(losses.length).toBe(expected?.length);
  losses.forEach((loss, step) => {
    expect(Math.abs(loss / (expected?.[step] as number) - 1), `step ${step}`).toBeLessThan(tolerance);
  });
}

/**
 * Asserts that each weight is within `tolerance` of the one that PyTorch ended with, by the names of tensors.
 */
export function expectWeights(
  { model, weights }: TrainedModel,
  final: ReadonlyMap<string, Float32Array>,
  tolerance: number,
): void {
  expect(model.tensors.map(({ name }) => name).sort()).toEqual([...final.keys()].sort());
  for (const { name, offset, length } of model.tensors) {
    const expected = final.get(name) as Float32Array;
    expect(expected.length, name).toBe(length);
    const worst = Math.max(...expected.map((value, i) => Math.abs(value - (weights[offset + i] as number))));
    expect(worst, name).toBeLessThan(tolerance);
  }
}
