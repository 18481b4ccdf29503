// 20 steps of every optimizer, with decay and clipping, against PyTorch 1.13.1. scripts/golden/optimizers.py
// wrote the values; Lion's are from the paper's formula in float64.
import { beforeAll, describe, expect, it } from 'vitest';
import { TrainingState } from '../../coordinator/training/training-state.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import type { KernelModule } from '../../src/kernels/kernels.ts';
import { Memory } from '../../src/memory.ts';
import type { EmaConfig } from '../../src/optimizer/average.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { flatModel } from '../helpers/flat-model.ts';
import type { FlatTensor } from '../helpers/flat-model.ts';
import { Golden, expectNear, readRecorded } from '../helpers/golden.ts';

interface Variant {
  readonly optimizer: object;
  readonly clip?: { readonly norm?: number; readonly value?: number };
}

interface Recorded {
  readonly divisor: number;
  readonly tensors: readonly FlatTensor[];
  /** Norm of each step's mean gradient. */
  readonly norms: readonly number[];
  readonly variants: Readonly<Record<string, Variant>>;
}

const recorded = readRecorded<Recorded>('optimizers');
const golden = new Golden('optimizers');

/** The second cut is within a tensor. */
const MODEL = flatModel(recorded.tensors, [14, 12, 23]);
const STEPS = recorded.norms.length;

/** Rounding differences of 20 steps, each of a few 2^-25. Measured: 2.9e-7 and less. */
const TOLERANCE = 1e-6;

let kernelModule: KernelModule;
beforeAll(async () => {
  kernelModule = await loadKernelModule();
});

interface Training {
  readonly state: TrainingState;
  /** Takes the recorded step of this index; returns the norm of its gradient. */
  step(index: number): number;
  weights(): Float32Array;
}

async function start({ optimizer, clip = {} }: Variant, ema?: EmaConfig): Promise<Training> {
  const memory = new Memory();
  const kernels = await instantiateKernels(kernelModule, memory.wasm);
  const state = new TrainingState({
    kernels,
    memory,
    model: MODEL,
    config: { optimizer: optimizerSchema.parse(optimizer), clip, ema },
    initialize: (address) => memory.f32(address, MODEL.numParameters).set(golden.values('start')),
  });
  const gradient = memory.allocate(4 * MODEL.numParameters, 'gradients');
  const step = (index: number): number => {
    const sums = golden
      .values('gradientSums')
      .subarray(index * MODEL.numParameters, (index + 1) * MODEL.numParameters);
    memory.f32(gradient, MODEL.numParameters).set(sums);
    MODEL.buckets.forEach(({ offset }, bucket) =>
      state.finishBucket(bucket, gradient + 4 * offset, recorded.divisor),
    );
    return state.commit().gradNorm;
  };
  return { step, weights: () => memory.f32(state.parameters, MODEL.numParameters).slice(), state };
}

describe(`${STEPS} steps`, () => {
  it.each(Object.entries(recorded.variants))('the steps of %s agree with PyTorch', async (name, variant) => {
    const { step, weights } = await start(variant);
    for (let index = 0; index < STEPS; index++) {
      const norm = step(index);
      expect(Math.abs(norm / (recorded.norms[index] as number) - 1)).toBeLessThan(1e-12);
      if (index === 0) expectNear(weights(), golden.values(`${name}.first`), TOLERANCE / 4, 'first step');
    }
    expectNear(weights(), golden.values(`${name}.last`), TOLERANCE, 'last step');
  });

  it('the moving average of the weights agrees with PyTorch', async () => {
    const { step, weights, state } = await start(recorded.variants['sgd'] as Variant, {
      decay: 0.9,
      warmup: false,
    });
    for (let index = 0; index < STEPS; index++) step(index);
    expectNear(weights(), golden.values('sgd.last'), TOLERANCE, 'weights');
    expect(state.setCurrent('average')).toBe(true);
    expectNear(weights(), golden.values('sgd.averaged'), TOLERANCE, 'averages');
  });
});
