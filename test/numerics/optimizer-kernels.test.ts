// The optimizer kernels against their twins: to the bit in float32, and the formulas themselves in float64.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createRule, optimizerSchema, STEP_LENGTH, writeStep } from '../../src/optimizer/registry.ts';
import type { OptimizerConfig, UpdateRule } from '../../src/optimizer/registry.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { optimizerStep, towardsMean } from '../helpers/twins/optimizer.ts';
import type { StepSettings } from '../helpers/twins/optimizer.ts';
import { FINITE_EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257];
const CONFIGS = [
  { kind: 'adam' },
  { kind: 'adam', beta1: 0, beta2: 0.5, epsilon: 1e-3 },
  { kind: 'adamW' },
  { kind: 'sgd' },
  { kind: 'sgd', momentum: 0.9 },
  { kind: 'sgd', momentum: 0.9, nesterov: true },
  { kind: 'rmsprop' },
  { kind: 'rmsprop', centered: true },
  { kind: 'rmsprop', momentum: 0.9 },
  { kind: 'rmsprop', centered: true, momentum: 0.5 },
  { kind: 'lion' },
];
const CASES = CONFIGS.map((config) => [JSON.stringify(config), optimizerSchema.parse(config)] as const);
const PLAIN: StepSettings = {
  divisor: 37,
  scale: 1,
  limit: Infinity,
  learningRate: 0.003,
  weightDecay: 0,
  step: 3,
};
/** Every setting in use: a divisor that is not an integer, clipping, decay. */
const FULL: StepSettings = { ...PLAIN, divisor: 36.7, scale: 0.81, limit: 0.6, weightDecay: 0.04, step: 7 };

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

/** Parameters, then state. */
type Vectors = readonly Float32Array[];

/** Addresses of parameters and state as a record has them: 0 for a vector that is not kept. */
function inRecord({ vectorNames }: UpdateRule, [parameters = 0, ...kept]: readonly number[]): number[] {
  return [parameters, ...vectorNames.map((name) => (name === undefined ? 0 : (kept.shift() ?? 0)))];
}

/** Runs the kernel and asserts that it left the state it read untouched. */
function runKernel(
  config: OptimizerConfig,
  settings: StepSettings,
  sums: Float32Array,
  state: Vectors,
): Vectors {
  const { length } = sums;
  const rule = createRule(config);
  const current = state.map((values) => arena.put(values));
  const next = state.map(() => arena.room(4 * length));
  const gradientSum = arena.put(sums);
  const record = arena.room(4 * STEP_LENGTH);
  writeStep(arena.memory, record, rule, {
    ...settings,
    length,
    gradientSum,
    current: inRecord(rule, current),
    next: inRecord(rule, next),
  });
  arena.kernels[rule.kernel](record);
  state.forEach((values, i) =>
    expectSameBits(arena.f32(current[i] as number, length), values, 'state before'),
  );
  const result = next.map((address) => arena.f32(address, length));
  arena.reset();
  return result;
}

function checkStep(
  config: OptimizerConfig,
  settings: StepSettings,
  sums: Float32Array,
  state: Vectors,
): Vectors {
  const next = runKernel(config, settings, sums, state);
  const expected = Array.from(sums, (sum, i) =>
    optimizerStep(
      single,
      config,
      settings,
      sum,
      state.map((values) => values[i] as number),
    ),
  );
  next.forEach((values, vector) =>
    expectSameBits(
      values,
      expected.map((parameter) => parameter[vector] as number),
      `vector ${vector}`,
    ),
  );
  return next;
}

/** Means may have any sign, mean squares may not. */
function randomState(config: OptimizerConfig, length: number): Float32Array[] {
  const numVectors = createRule(config).vectorNames.filter((name) => name !== undefined).length;
  const vectors = Array.from({ length: 1 + numVectors }, (_, vector) =>
    randomValues(length + vector, length),
  );
  const squares = config.kind === 'rmsprop' ? 1 : 2;
  return vectors.map((values, vector) => (vector === squares ? values.map(Math.abs) : values));
}

function zeroState(config: OptimizerConfig, parameters: Float32Array): Float32Array[] {
  const numVectors = createRule(config).vectorNames.filter((name) => name !== undefined).length;
  return [parameters, ...Array.from({ length: numVectors }, () => new Float32Array(parameters.length))];
}

function gradientSums(seed: number, length: number): Float32Array {
  return randomValues(seed, length).map((value) => 100 * value);
}

describe.each(CASES)('the kernel of %s', (optimizer, config) => {
  it.each([
    ['without options', PLAIN],
    ['with clipping and decay', FULL],
  ])(`the kernel of ${optimizer} matches its twin bit for bit at every length %s`, (_name, settings) => {
    for (const length of LENGTHS) {
      checkStep(config, settings, gradientSums(99, length), randomState(config, length));
    }
  });

  it(`the kernel of ${optimizer} matches its twin bit for bit over 50 steps from a state of zeros`, () => {
    let state: Vectors = zeroState(config, randomValues(1, 37));
    for (let step = 1; step <= 50; step++) {
      state = checkStep(config, { ...FULL, step }, gradientSums(100 + step, 37), state);
    }
  });

  it(`the kernel of ${optimizer} gives every element the same bits wherever it lies`, () => {
    const sums = gradientSums(5, 23);
    const state = randomState(config, 23);
    const whole = runKernel(config, FULL, sums, state);
    for (const start of [1, 2, 3, 20]) {
      const part = runKernel(
        config,
        FULL,
        sums.slice(start),
        state.map((values) => values.slice(start)),
      );
      part.forEach((values, vector) =>
        expectSameBits(values, (whole[vector] as Float32Array).slice(start), `from ${start}`),
      );
    }
  });

  it(`the kernel of ${optimizer} treats extreme gradients as its twin does`, () => {
    const sums = Float32Array.from(FINITE_EXTREMES);
    checkStep(config, { ...PLAIN, divisor: 1 }, sums, zeroState(config, new Float32Array(sums.length)));
  });

  it(`the kernel of ${optimizer} leaves parameters without gradient, state and decay unchanged`, () => {
    const parameters = Float32Array.from([...randomValues(1, 9), 0, -0, 2 ** -149]);
    const zeros = new Float32Array(parameters.length);
    const [next] = runKernel(config, PLAIN, zeros, zeroState(config, parameters));
    expectSameBits(next as Float32Array, parameters, 'parameters');
  });

  it(`the kernel of ${optimizer} follows the float64 formula over 100 steps`, () => {
    const parameters = randomValues(1, 16);
    let state: Vectors = zeroState(config, parameters);
    let exact = Array.from(parameters, (_value, i) => state.map((values) => values[i] as number));
    for (let step = 1; step <= 100; step++) {
      const settings = { ...FULL, learningRate: 0.001, step };
      const sums = gradientSums(100 + step, 16);
      exact = exact.map((values, i) => optimizerStep(double, config, settings, sums[i] as number, values));
      state = runKernel(config, settings, sums, state);
    }
    // A step rounds the parameter once (2^-25 of about 1), its move of some 0.001 a few times, and the
    // differences of the moments in between: measured 1e-6 and less.
    (state[0] as Float32Array).forEach((value, i) =>
      expect(Math.abs(value - (exact[i]?.[0] as number))).toBeLessThan(100 * 2 ** -25),
    );
  });
});

describe('adam', () => {
  it('adam moves each parameter by the learning rate in the first step, whatever the gradient', () => {
    const sums = Float32Array.of(1e-3, -1, 1e3, -1e10, 5);
    const config = optimizerSchema.parse({});
    const settings = { ...PLAIN, divisor: 1, step: 1 };
    const [moved] = runKernel(config, settings, sums, zeroState(config, new Float32Array(5)));
    moved?.forEach((value, i) => {
      const expected = -settings.learningRate * Math.sign(sums[i] as number);
      // Epsilon is 1e-5 of the smallest gradient; float32 rounds about 8 times.
      expect(Math.abs(value / expected - 1)).toBeLessThan(1e-5 + 8 * 2 ** -24);
    });
  });
});

describe('rmsprop, centered', () => {
  it('centered rmsprop gives finite weights for a constant gradient, whose variance rounds to below 0', () => {
    const config = optimizerSchema.parse({ kind: 'rmsprop', centered: true, alpha: 0.5 });
    const sums = randomValues(3, 64);
    let state: Vectors = zeroState(config, randomValues(1, 64));
    for (let step = 1; step <= 100; step++)
      state = checkStep(config, { ...PLAIN, divisor: 1, step }, sums, state);
    const [, squares, means] = state as [Float32Array, Float32Array, Float32Array];
    const variances = squares.map((square, i) => square - Math.fround((means[i] as number) ** 2));
    expect(variances.some((variance) => variance < 0)).toBe(true);
    expect(state[0]?.every(Number.isFinite)).toBe(true);
  });
});

describe('moveTowardsMean', () => {
  it('moveTowardsMean matches its twin bit for bit at every length, in place or not', () => {
    for (const length of LENGTHS) {
      const [x, sums] = [randomValues(1, length), gradientSums(2, length)];
      const expected = Array.from(x, (value, i) => towardsMean(single, value, sums[i] as number, 12.5, 0.1));
      const next = arena.room(4 * length);
      const inPlace = arena.put(x);
      arena.kernels.moveTowardsMean(length, arena.put(x), arena.put(sums), 12.5, 0.1, next);
      arena.kernels.moveTowardsMean(length, inPlace, arena.put(sums), 12.5, 0.1, inPlace);
      expectSameBits(arena.f32(next, length), expected, `length ${length}`);
      expectSameBits(arena.f32(inPlace, length), expected, `length ${length}, in place`);
      arena.reset();
    }
  });
});
