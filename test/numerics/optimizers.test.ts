// 20 steps of every optimizer, with decay and clipping, against PyTorch 1.13.1. scripts/golden/optimizers.py wrote
// the values; Lion's are from the paper's formula in float64.
import fs from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { TrainingState } from '../../coordinator/training-state.ts';
import { instantiateKernels, loadKernelModule } from '../../src/kernels/kernels.ts';
import type { KernelModule } from '../../src/kernels/kernels.ts';
import { Memory } from '../../src/memory.ts';
import type { EmaConfig } from '../../src/optimizer/average.ts';
import { optimizerSchema } from '../../src/optimizer/registry.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import { flatModel } from '../helpers/flat-model.ts';
import type { FlatTensor } from '../helpers/flat-model.ts';

interface Variant {
  readonly optimizer: object;
  readonly clip?: { readonly norm?: number; readonly value?: number };
}

interface Recorded {
  readonly divisor: number;
  readonly tensors: readonly FlatTensor[];
  /** Of each step's mean gradient. */
  readonly norms: readonly number[];
  readonly variants: Readonly<Record<string, Variant>>;
}

const GOLDEN = path.resolve(import.meta.dirname, '../golden');
const recorded = JSON.parse(fs.readFileSync(path.join(GOLDEN, 'optimizers.json'), 'utf8')) as Recorded;
const file = decodeSafetensors(fs.readFileSync(path.join(GOLDEN, 'optimizers.safetensors')), 'optimizers');

function golden(name: string): Float32Array {
  const tensor = file.tensors.get(name);
  if (!tensor) throw new Error(`optimizers.safetensors has no ${name}`);
  return tensor.values;
}

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
  const kernels = await instantiateKernels(kernelModule.module, memory.wasm);
  const state = new TrainingState({
    kernels,
    memory,
    model: MODEL,
    config: { optimizer: optimizerSchema.parse(optimizer), clip, ema },
    initialize: (address) => memory.f32(address, MODEL.numParameters).set(golden('start')),
  });
  const gradient = memory.allocate(4 * MODEL.numParameters, 'gradients');
  const step = (index: number): number => {
    const sums = golden('gradientSums').subarray(
      index * MODEL.numParameters,
      (index + 1) * MODEL.numParameters,
    );
    memory.f32(gradient, MODEL.numParameters).set(sums);
    MODEL.pieces.forEach(({ offset }, piece) =>
      state.finishPiece(piece, gradient + 4 * offset, recorded.divisor),
    );
    return state.commit().gradNorm;
  };
  return { step, weights: () => memory.f32(state.parameters, MODEL.numParameters).slice(), state };
}

/** The largest difference, relative to the largest golden value. */
function expectNear(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  const largest = Math.max(...expected.map(Math.abs));
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - (actual[i] as number))));
  expect(actual.length).toBe(expected.length);
  expect(worst / largest).toBeLessThan(tolerance);
}

describe(`${STEPS} steps agree with PyTorch`, () => {
  it.each(Object.entries(recorded.variants))('of %s', async (name, variant) => {
    const { step, weights } = await start(variant);
    for (let index = 0; index < STEPS; index++) {
      const norm = step(index);
      expect(Math.abs(norm / (recorded.norms[index] as number) - 1)).toBeLessThan(1e-12);
      if (index === 0) expectNear(weights(), golden(`${name}.first`), TOLERANCE / 4);
    }
    expectNear(weights(), golden(`${name}.last`), TOLERANCE);
  });

  it('of the moving average of the weights', async () => {
    const { step, weights, state } = await start(recorded.variants['sgd'] as Variant, {
      decay: 0.9,
      warmup: false,
    });
    for (let index = 0; index < STEPS; index++) step(index);
    expectNear(weights(), golden('sgd.last'), TOLERANCE);
    expect(state.show('average')).toBe(true);
    expectNear(weights(), golden('sgd.averaged'), TOLERANCE);
  });
});
