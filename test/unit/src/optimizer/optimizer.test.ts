// The life of a step: bucket by bucket, committed or abandoned, and its treatment of parameters of
// each role. The arithmetic is tested with the kernels.
import { beforeEach, describe, expect, it } from 'vitest';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import type { Kernels } from '../../../../src/kernels/kernels.ts';
import { Memory } from '../../../../src/memory.ts';
import type { Model } from '../../../../src/model/model.ts';
import { WeightAverage, emaDecay } from '../../../../src/optimizer/average.ts';
import { Optimizer, optimizerBytes, cutRanges } from '../../../../src/optimizer/optimizer.ts';
import { optimizerSchema, STEP_LENGTH } from '../../../../src/optimizer/registry.ts';
import { flatModel } from '../../../helpers/flat-model.ts';
import { single } from '../../../helpers/twins/arithmetic.ts';
import { optimizerStep, towardsMean } from '../../../helpers/twins/optimizer.ts';
import { randomValues } from '../../../helpers/twins/samples.ts';

const DIVISOR = 16;
const MODEL = flatModel(
  [
    { name: '0.weight', role: 'weight', length: 9 },
    { name: '0.bias', role: 'bias', length: 3 },
    { name: '1.weight', role: 'norm', length: 3 },
    { name: '1.mean', role: 'statistic', length: 3, momentum: 0.1 },
    { name: '2.weight', role: 'weight', length: 6 },
  ],
  [10, 8, 6],
);
const LENGTH = MODEL.numParameters;
/** The one tensor of the flat vector that no gradient moves. */
const STATISTIC = [15, 18] as const;

const KINDS = [
  { kind: 'adam' },
  { kind: 'adamW', weightDecay: 0.1 },
  { kind: 'sgd' },
  { kind: 'sgd', momentum: 0.9 },
  { kind: 'rmsprop', centered: true, momentum: 0.9, weightDecay: 0.1, decay: 'all' },
  { kind: 'lion', weightDecay: 0.1 },
].map((config) => [JSON.stringify(config), optimizerSchema.parse(config)] as const);

let kernels: Kernels;
let memory: Memory;
let gradient: number;

beforeEach(async () => {
  memory = new Memory();
  kernels = await instantiateKernels(await loadKernelModule(), memory.wasm);
  gradient = memory.allocate(4 * LENGTH, 'gradients');
});

function optimizerOf(config = optimizerSchema.parse({}), model: Model = MODEL): Optimizer {
  const optimizer = new Optimizer({ kernels, memory, model, config });
  memory.f32(optimizer.parameters, LENGTH).set(randomValues(1, LENGTH));
  return optimizer;
}

/** Applies buckets of a gradient drawn from `seed`, without committing. */
function apply(optimizer: Optimizer, seed: number, buckets: readonly number[] = [0, 1, 2]): void {
  memory.f32(gradient, LENGTH).set(randomValues(seed, LENGTH));
  for (const bucket of buckets) {
    const sum = gradient + 4 * (MODEL.buckets[bucket]?.offset ?? 0);
    optimizer.applyBucket(bucket, { sum, divisor: DIVISOR });
  }
}

function vector(address: number): Float32Array {
  return memory.f32(address, LENGTH).slice();
}

/** The result of the twins for gradients drawn from `seeds`, a step each. */
function expectedAfter(seeds: readonly number[], config = optimizerSchema.parse({})): Float32Array {
  const roles = MODEL.tensors.flatMap(({ role, length }) => Array.from({ length }, () => role));
  let states = Array.from(randomValues(1, LENGTH), (value): number[] => [value, 0, 0, 0]);
  seeds.forEach((seed, index) => {
    const sums = randomValues(seed, LENGTH);
    states = states.map((state, i) => {
      const sum = sums[i] as number;
      if (roles[i] === 'statistic') return [towardsMean(single, state[0] as number, sum, DIVISOR, 0.1)];
      const isDecayed = config.decay === 'all' || roles[i] === 'weight';
      const weightDecay = isDecayed ? config.weightDecay : 0;
      const step = { divisor: DIVISOR, scale: 1, limit: Infinity, weightDecay, step: index + 1 };
      return optimizerStep(single, config, { ...step, learningRate: config.learningRate }, sum, state);
    });
  });
  return Float32Array.from(states, ([value]) => value as number);
}

describe.each(KINDS)('the optimizer %s', (_, config) => {
  it('an optimizer takes steps bucket by bucket, in any order, to the bits of its twin', () => {
    const optimizer = optimizerOf(config);
    for (const seed of [10, 11, 12]) {
      apply(optimizer, seed, seed === 11 ? [2, 0, 1] : [0, 1, 2]);
      optimizer.commit();
    }
    expect(vector(optimizer.parameters)).toEqual(expectedAfter([10, 11, 12], config));
    expect(optimizer.numSteps).toBe(3);
  });

  it('an optimizer shows the next parameters of the buckets applied, and keeps the committed ones until commit', () => {
    const optimizer = optimizerOf(config);
    const before = vector(optimizer.parameters);
    apply(optimizer, 10);
    expect(vector(optimizer.parameters)).toEqual(before);
    const next = vector(optimizer.nextParameters);
    optimizer.commit();
    expect(vector(optimizer.parameters)).toEqual(next);
  });

  it('an optimizer forgets an abandoned step, in whole or in part, of numbers or of NaN', () => {
    const optimizer = optimizerOf(config);
    apply(optimizer, 10);
    optimizer.commit();
    apply(optimizer, 99, [0]);
    apply(optimizer, 98);
    memory.f32(gradient, LENGTH).fill(Number.NaN);
    for (const bucket of [0, 1, 2]) optimizer.applyBucket(bucket, { sum: gradient, divisor: 1 });
    apply(optimizer, 11);
    optimizer.commit();
    expect(vector(optimizer.parameters)).toEqual(expectedAfter([10, 11], config));
  });

  it('an optimizer allocates the memory that optimizerBytes gives, and the record of a step', () => {
    const model = flatModel([{ name: '0.weight', role: 'weight', length: 1600 }], [1600]);
    const before = memory.usedBytes;
    new Optimizer({ kernels, memory, model, config });
    const record = memory.allocate(4 * STEP_LENGTH, 'a test');
    const recordBytes = memory.usedBytes - record;
    expect(record - before).toBe(optimizerBytes(1600, config) + recordBytes);
  });
});

describe('an optimizer with statistics', () => {
  it('an optimizer neither clips nor scales a statistic', () => {
    const config = optimizerSchema.parse({ kind: 'sgd', learningRate: 1 });
    const optimizer = new Optimizer({ kernels, memory, model: MODEL, config, clipValue: 0.001 });
    memory.f32(gradient, LENGTH).fill(8);
    for (const [bucket, { offset }] of MODEL.buckets.entries()) {
      optimizer.applyBucket(bucket, { sum: gradient + 4 * offset, divisor: 2, scale: 0.5 });
    }
    const next = vector(optimizer.nextParameters);
    expect([...next.subarray(...STATISTIC)]).toEqual(Array(3).fill(Math.fround(Math.fround(0.1) * 4)));
    expect(next[0]).toBe(Math.fround(-0.001));
  });

  it('an optimizer divides a statistic by the number of samples, whatever they weigh', () => {
    const optimizer = new Optimizer({ kernels, memory, model: MODEL, config: optimizerSchema.parse({}) });
    memory.f32(gradient, LENGTH).fill(8);
    for (const [bucket, { offset }] of MODEL.buckets.entries()) {
      optimizer.applyBucket(bucket, { sum: gradient + 4 * offset, divisor: 0.7, numSamples: 4 });
    }
    const next = vector(optimizer.nextParameters);
    expect([...next.subarray(...STATISTIC)]).toEqual(Array(3).fill(Math.fround(Math.fround(0.1) * 2)));
  });

  it('an optimizer leaves statistics out of the sum of squares, but not out of the search for NaN', () => {
    const optimizer = optimizerOf();
    const values = memory.f32(gradient, LENGTH).fill(2);
    const sumOf = (bucket: number): number | undefined =>
      optimizer.sumSquares(bucket, gradient + 4 * (MODEL.buckets[bucket]?.offset ?? 0));
    expect([0, 1, 2].map(sumOf)).toEqual([28, 32, 24]);
    values[STATISTIC[0]] = Number.NaN;
    expect([0, 1, 2].map(sumOf)).toEqual([undefined, 32, 24]);
  });
});

describe('cutRanges', () => {
  it('cutRanges cuts where treatment changes, and keeps together parameters that are treated alike', () => {
    const ranges = (isDecayed: (role: string) => boolean): object[] =>
      MODEL.buckets.flatMap((bucket) => cutRanges(bucket, MODEL.tensors, isDecayed));
    const plain = { isDecayed: false, momentum: undefined };
    expect(ranges(() => false)).toEqual([
      { offset: 14, length: 1, ...plain },
      { offset: 15, length: 3, isDecayed: false, momentum: 0.1 },
      { offset: 18, length: 6, ...plain },
      { offset: 6, length: 8, ...plain },
      { offset: 0, length: 6, ...plain },
    ]);
    expect(ranges((role) => role === 'weight').slice(2)).toEqual([
      { offset: 18, length: 6, isDecayed: true, momentum: undefined },
      { offset: 6, length: 3, isDecayed: true, momentum: undefined },
      { offset: 9, length: 5, ...plain },
      { offset: 0, length: 6, isDecayed: true, momentum: undefined },
    ]);
  });
});

describe('the average of the weights', () => {
  it('the average follows the weights by the decay of each step, and copies statistics', () => {
    const config = { decay: 0.9, warmup: true };
    const average = new WeightAverage(kernels, memory, MODEL, config);
    const weights = memory.allocate(4 * LENGTH, 'weights');
    memory.f32(weights, LENGTH).set(randomValues(1, LENGTH));
    average.start(weights);
    expect(vector(average.parameters)).toEqual(randomValues(1, LENGTH));
    const expected = randomValues(1, LENGTH);
    for (let step = 1; step <= 5; step++) {
      const values = randomValues(1 + step, LENGTH);
      memory.f32(weights, LENGTH).set(values);
      average.update(weights, step);
      const share = 1 - emaDecay(config, step);
      values.forEach((value, i) => {
        const isStatistic = i >= STATISTIC[0] && i < STATISTIC[1];
        expected[i] = isStatistic ? value : towardsMean(single, expected[i] as number, value, 1, share);
      });
    }
    expect(vector(average.parameters)).toEqual(expected);
  });

  it('the average keeps less of its past in its first steps, unless told not to', () => {
    const keeps = (warmup: boolean): number[] =>
      [1, 8, 890, 1e6].map((step) => emaDecay({ decay: 0.999, warmup }, step));
    expect(keeps(true)).toEqual([2 / 11, 0.5, 891 / 900, 0.999]);
    expect(keeps(false)).toEqual([0.999, 0.999, 0.999, 0.999]);
  });
});
